"""No command but a download opens a connection, starts another program, or writes into the home folder."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import json, sys
seen = []
def hook(event, arguments):
    # A UNIX socket's address is a path; torch asks the system's own services by one.
    remote = event == "socket.connect" and not isinstance(arguments[1], (str, bytes))
    if remote or event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        seen.append([event, repr(arguments)[:200]])
sys.addaudithook(hook)
from fast_nst.cli.main import main
code = main(json.loads(sys.argv[1]))
print("SEEN", json.dumps(seen))
sys.exit(code)
"""
ENGINES = {"torch": "torch", "openvino": "openvino", "onnx": "onnxruntime"}


def engine(name: str) -> object:
    absent = importlib.util.find_spec(ENGINES[name]) is None
    return pytest.param(
        ["stylize", "a.png", "--style", "dots.safetensors", "--backend", name, "--out", "b.png"],
        marks=pytest.mark.skipif(absent, reason=f"{ENGINES[name]} is not installed"),
        id=name,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        *map(engine, ENGINES),
        pytest.param(["styles"], id="styles"),
        pytest.param(["upscale", "a.png"], id="upscale"),
        pytest.param(["export", "dots.safetensors", "--format", "pt2", "--fixed-size", "16x16"], id="export"),
        pytest.param("train", id="train"),
    ],
)
def test_a_command_stays_on_this_machine(arguments, style, quick, material, tmp_path):
    folder, home = tmp_path / "here", tmp_path / "home"
    shutil.copytree(material, folder)
    home.mkdir()
    shutil.copy(style, folder / "dots.safetensors")
    shutil.copy(folder / "the_waves.png", folder / "a.png")
    if arguments == "train":
        arguments = ["train", *quick, "--steps", "1"]
    environment = os.environ | {"HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name in ("XDG_CACHE_HOME", "FAST_NST_CACHE", "ORT_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    assert json.loads(line.removeprefix("SEEN ")) == []
    written = {path.relative_to(home).parts[:2] for path in home.rglob("*") if path.is_file()}
    assert written <= {(".cache", "fast_nst"), (".cache", "matplotlib"), (".config", "matplotlib")}


def test_the_hook_sees_a_connection(tmp_path):
    code = CHILD.replace(
        "from fast_nst.cli.main import main\ncode = main(json.loads(sys.argv[1]))",
        "import socket\ncode = 0\ntry:\n    socket.create_connection(('127.0.0.1', 9), timeout=1)\n"
        "except OSError:\n    pass",
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    events = {event for event, _ in json.loads(done.stdout.removeprefix("SEEN "))}
    assert events == {"socket.getaddrinfo", "socket.connect"}

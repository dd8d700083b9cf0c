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
for command in json.loads(sys.argv[1]):
    code, opened = main(command), list(seen)
    seen.clear()
    print("SEEN", json.dumps([code, opened]))
"""
ENGINES = {"torch": "torch", "openvino": "openvino", "onnx": "onnxruntime"}


@pytest.mark.slow
def test_no_command_leaves_this_machine(style: str, quick: list[str], material: Path, tmp_path: Path) -> None:
    """All in one process: what one of them imports would speak for all that follow."""
    folder, home = tmp_path / "here", tmp_path / "home"
    shutil.copytree(material, folder)
    home.mkdir()
    shutil.copy(style, folder / "dots.safetensors")
    shutil.copy(folder / "the_waves.png", folder / "a.png")
    engines = [name for name, module in ENGINES.items() if importlib.util.find_spec(module) is not None]
    stylize = ["stylize", "a.png", "--style", "dots.safetensors", "--overwrite", "--backend"]
    commands = [
        ["styles"],
        *([*stylize, name] for name in engines),
        ["upscale", "a.png"],
        ["export", "dots.safetensors", "--format", "onnx" if "onnx" in engines else "pt2"],
        ["train", *quick, "--steps", "1"],
    ]
    environment = os.environ | {"HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name in ("XDG_CACHE_HOME", "FAST_NST_CACHE", "ORT_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    found = [line.removeprefix("SEEN ") for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    assert [json.loads(line) for line in found] == [[0, []]] * len(commands), done.stderr
    written = {path.relative_to(home).parts[:2] for path in home.rglob("*") if path.is_file()}
    assert written <= {(".cache", "fast_nst"), (".cache", "matplotlib"), (".config", "matplotlib")}


def test_the_hook_sees_a_connection() -> None:
    hook = CHILD.partition("from fast_nst")[0]
    code = (
        hook
        + """
import socket
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except OSError:
    print(json.dumps(seen))
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    events = {event for event, _ in json.loads(done.stdout)}
    assert events == {"socket.getaddrinfo", "socket.connect"}

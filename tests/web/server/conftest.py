"""Servers: real ones, in processes of their own, with two styles that stylize in milliseconds."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from fast_nst.config import GalleryNetConfig, NetworkConfig
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.gallery_files import GalleryRow
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.transform_net import TransformNet


@dataclass
class Running:
    """A server that runs."""

    process: subprocess.Popen[str]
    url: str
    """with the token, if there is one"""
    folder: Path
    """its current folder and the folder of its temporary files"""
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.base, timeout=30, **options)

    def files(self) -> list[str]:
        """Everything that the server has written: names below its private folder, others whole."""
        found = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*"))
        private = [path for path in found if path.parts[0].startswith("fast-nst-web-")]
        others = [str(path) for path in found if path not in private]
        return others + [str(Path(*path.parts[1:])) for path in private if len(path.parts) > 1]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        assert self.process.stderr is not None
        self.said += self.process.stderr.read().splitlines()
        self.process.stderr.close()
        return code


def heed_interrupts() -> None:
    """A shell may have started us with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def styles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of two styles, ``dots`` and ``dashes``, that differ at a glance."""
    folder = tmp_path_factory.mktemp("styles")
    paths = []
    for seed, name in enumerate(("dots", "dashes")):
        torch.manual_seed(seed)
        network = TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1))
        with torch.no_grad():
            network.body.conv4.conv.bias.copy_(torch.tensor([0.8, 0.5, 0.2][:: 1 - 2 * seed]))
        paths.append(folder / f"{name}.safetensors")
        save_checkpoint(paths[-1], network, {"style": name, "steps": 1})
    return paths


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network of two styles, ``one`` and ``two``."""
    rows = [GalleryRow(None, 0.0)]
    rows += [GalleryRow(style, scale) for style in ("one", "two") for scale in (1.0, 2.0)]
    torch.manual_seed(3)
    config = GalleryNetConfig(widths=(4, 6, 8), blocks=1, rows=len(rows))
    network = GalleryNet(config).requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("gallery") / "many.safetensors"
    save_checkpoint(path, network, {"style": "many", "steps": 1, "rows": list(map(asdict, rows))})
    return path


@pytest.fixture(scope="session")
def launch(
    styles: list[Path], gallery: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Running]]:
    """Starts servers, and ends those that still run at the end."""
    started: list[Running] = []

    blank = tmp_path_factory.mktemp("page")
    (blank / "index.html").write_text("<!doctype html><title>page</title>")

    def start(flags: Sequence[str] = (), *, page: Path = blank, **environment: str) -> Running:
        folder = tmp_path_factory.mktemp("server")
        command = [sys.executable, "-m", "fast_nst", "web", "--port", "0", "--backend", "torch"]
        command += ["--device", "cpu", "--precision", "fp32", "--page", str(page)]
        command += ["--style", *map(str, styles), str(gallery), *flags]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), **environment},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        )
        assert process.stderr is not None
        said = [process.stderr.readline()]
        while (found := re.search(r"http://\S+", said[-1])) is None:
            assert said[-1], f"no address: {said}"
            said.append(process.stderr.readline())
        started.append(Running(process, found[0], folder, said))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.end()


@pytest.fixture(scope="session")
def server(launch: Callable[..., Running]) -> Running:
    """A server with small limits."""
    limits = ["--max-upload", "1MB", "--max-video", "20MB", "--max-pixels", "300000"]
    return launch(limits)


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def photo(seed: int = 0, height: int = 48, width: int = 64, format: str = "PNG") -> bytes:
    """A picture's file; smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, format)
    return file.getvalue()


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    return photo


@pytest.fixture(scope="session")
def submit() -> Callable[..., httpx.Response]:
    """Sends a picture or video with its parameters."""

    def send(
        client: httpx.Client, data: bytes, style: str = "dots", *, kind: str = "image", **more: Any
    ) -> httpx.Response:
        parameters = {"weights": {style: 1}, **more.pop("parameters", {})}
        name = more.pop("name", "holiday.png")
        files = {kind: (name, data), **more.pop("files", {})}
        path = {"image": "/api/pictures", "video": "/api/videos"}[kind]
        return client.post(path, files=files, data={"parameters": json.dumps(parameters), **more})

    return send


@pytest.fixture(scope="session")
def finished() -> Callable[..., dict[str, Any]]:
    """Waits until a job is over."""

    def wait(client: httpx.Client, job: str, seconds: float = 60) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while True:
            state: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
            if state["state"] not in ("queued", "running"):
                return state
            assert time.monotonic() < until, state
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def stylized(
    submit: Callable[..., httpx.Response], finished: Callable[..., dict[str, Any]]
) -> Callable[..., httpx.Response]:
    """Submits, waits and fetches the result."""

    def run(client: httpx.Client, data: bytes, style: str = "dots", **more: Any) -> httpx.Response:
        answer = submit(client, data, style, **more)
        assert answer.status_code == 202, answer.text
        job = answer.json()["job"]
        state = finished(client, job)
        assert state["state"] == "done", state
        return client.get(f"/api/jobs/{job}/result")

    return run

"""A written page, with an engine that is small enough to be made by the test."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fast_nst.web.engine_files import FILES
from fast_nst.web.export_page import write_page


@pytest.fixture(scope="session")
def engine_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with the names of the engine's."""
    folder = tmp_path_factory.mktemp("engine")
    for name in FILES:
        (folder / name).write_bytes(b"\0asm " * 400 if name.endswith(".wasm") else b"export default {};\n")
    return folder


@pytest.fixture(scope="session")
def engine_hashes(engine_folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in engine_folder.iterdir()}


@pytest.fixture
def engine_address(engine_folder: Path) -> Iterator[str]:
    """The engine's files on a server of this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(engine_folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def page(
    tmp_path_factory: pytest.TempPathFactory, engine_folder: Path, engine_hashes: dict[str, str]
) -> Path:
    """The folder that `write_page` makes."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("page")
    write_page(folder, engine=engine_folder, engine_files=engine_hashes)
    return folder


@pytest.fixture
def served_page() -> Iterator[Callable[[Path], str]]:
    """Starts ``serve.py`` of a page and gives its address."""
    running: list[subprocess.Popen[str]] = []

    def serve(folder: Path) -> str:
        command = [sys.executable, str(folder / "serve.py"), "0"]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout is not None
        return running[-1].stdout.readline().split()[0]

    yield serve
    for process in running:
        process.terminate()
        process.communicate()

"""Write the page as a folder of static files: any host serves it, and it works without a network.

index.html  page.css  *.js  icon.svg  manifest.webmanifest    the page; sw.js keeps it for later
ort/                                                          the engine, with its license
model/gallery.json  model/*.onnx  model/thumbnails/           the styles
_headers                                                      for hosts that read it
serve.py                                                      to try it: python serve.py
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from fast_nst.errors import InputError
from fast_nst.io.files import write_atomically
from fast_nst.models.model_files import file_digest
from fast_nst.web.engine_files import FILES, cached_engine, write_engine
from fast_nst.web.headers import SECURITY_HEADERS
from fast_nst.web.models import write_models

__all__ = ["new_page", "page_bytes", "page_files", "write_page"]

_PAGE = Path(__file__).with_name("page")
# Kept by the service worker from the first visit on; the rest once it was used.
_FIRST = {".html", ".css", ".js", ".svg", ".webmanifest", ".json", ".jpg"}


def page_files() -> list[Path]:
    """The files of the page itself, which come with the package."""
    return sorted(path for path in _PAGE.iterdir() if path.is_file())


def page_bytes(folder: Path) -> int:
    """Bytes of a written page."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def new_page(name: str, *, overwrite: bool) -> Path:
    """The folder of a page to be written.

    Raises:
        InputError: a file, or a folder that holds files, and `overwrite` is not given.
    """
    folder = Path(name).expanduser()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"{folder} holds files; give --overwrite or another folder")
    return folder


def write_page(folder: Path, *, engine: Path | None = None, engine_files: Mapping[str, str] = FILES) -> None:
    """Write the page, its engine and its networks into a folder, which is made where it is missing.

    Args:
        engine: a folder of the engine's files, for work without a network; None: those in the user's cache,
            which are downloaded once.
        engine_files: names and SHA-256 of the engine's files.

    Raises:
        DownloadError: the engine cannot be fetched.
        InputError: the engine's files are not the expected ones, or a package is missing.
        CheckpointError: a bundled style cannot be used.
    """
    engine = engine or cached_engine()
    folder.mkdir(parents=True, exist_ok=True)
    for path in page_files():
        shutil.copyfile(path, folder / path.name)
    write_engine(engine, folder / "ort", engine_files)
    write_models(folder / "model", folder / "ort")
    write_atomically(folder / "_headers", _headers_file().encode())
    _finish_service_worker(folder)


def _headers_file() -> str:
    """The headers of every answer, in the format that static hosts read."""
    lines = [f"  {name}: {value}" for name, value in SECURITY_HEADERS.items()]
    return "\n".join(["/*", *lines, ""])


def _finish_service_worker(folder: Path) -> None:
    """Write into ``sw.js`` what it keeps, and a version that changes with any file of the page."""
    parts = [folder / path.name for path in page_files()]
    parts += sorted(path for part in ("ort", "model") for path in (folder / part).rglob("*.*"))
    digest, first = hashlib.sha256(), ["./"]
    for path in parts:
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{file_digest(path)}\0".encode())
        if (path.suffix in _FIRST and path.name != "sw.js") or name.startswith("ort/ort.wasm"):
            first.append(name)
    script = (folder / "sw.js").read_text(encoding="utf-8")
    script = script.replace('"development"; //', f'"{digest.hexdigest()[:16]}"; //', 1)
    script = script.replace('["./"]; //', f"{json.dumps(first)}; //", 1)
    write_atomically(folder / "sw.js", script.encode())

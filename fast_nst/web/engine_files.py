"""The engine of the page, ONNX Runtime's build for browsers: downloaded once, checked, kept in the cache.

One pinned version, and of it four files whose SHA-256 are known. Compiled code goes into the page's folder
compressed, since many hosts send it as it lies.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fast_nst.errors import InputError
from fast_nst.io.files import write_atomically
from fast_nst.models.model_files import file_digest
from fast_nst.system.folders import UnusableFolderError, private_folder
from fast_nst.training.data.download import ProgressCallback, download

__all__ = ["ADDRESS", "BYTES", "FILES", "LICENSE", "VERSION", "cached_engine", "write_engine"]

_log = logging.getLogger(__name__)
_PATIENCE = 300  # seconds for npm

VERSION = "1.30.0"


PACKAGE = f"onnxruntime-web@{VERSION}"
ADDRESS = f"https://cdn.jsdelivr.net/npm/{PACKAGE}/dist"
# Name and SHA-256: the WebAssembly build, and the one that has WebGPU too (and needs JSPI in the browser).
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.jspi.bundle.min.mjs": "07ec090355e11b342c95436db54da2d0c2bd5b1d319745bfd3337e6bdcf170ac",
    "ort-wasm-simd-threaded.jspi.wasm": "a54c76f86b0f0d9572380cf1c6292a7b3903716ffcbcd6b0e5c7050bf430eb93",
}
BYTES = 31_187_368  # of all of them
LICENSE = f"""The files in this folder are ONNX Runtime Web {VERSION}, unchanged; .gz files are compressed.

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def cached_engine(
    files: Mapping[str, str] = FILES,
    *,
    address: str | None = None,
    progress: ProgressCallback | None = None,
) -> Path:
    """The folder of the engine's files in the user's cache; they are fetched where they are missing.

    Args:
        files: their names and SHA-256.
        address: where they are downloaded from; None: npm packs them from the registry it is configured
            for, or where it is not installed or cannot, they come from `ADDRESS`.
        progress: called with the bytes of all files received so far; the bytes in all are not known.

    Raises:
        DownloadError: a file cannot be fetched, or is not the expected one.
        InputError: the cache folder cannot be used.
    """
    try:
        folder = private_folder(f"onnxruntime-web-{VERSION}")
    except UnusableFolderError as error:
        raise InputError(str(error)) from None
    missing = {name: sha256 for name, sha256 in files.items() if _wrong(folder, {name: sha256})}
    if missing and progress:
        progress(0, None)
    if not missing or (address is None and _packed_by_npm(folder, missing)):
        return folder
    received = 0
    for name, sha256 in missing.items():
        target = folder / name
        target.unlink(missing_ok=True)
        told = partial(_told, progress, received) if progress else None
        download(f"{address or ADDRESS}/{name}", target, sha256=sha256, progress=told)
        received += target.stat().st_size
    return folder


def _told(progress: ProgressCallback, before: int, done: int, _: int | None) -> None:
    progress(before + done, None)


def _packed_by_npm(folder: Path, files: Mapping[str, str]) -> bool:
    """Have npm pack the engine, if it is installed; whether the expected files are there now."""
    npm = shutil.which("npm")
    if npm is None:
        return False
    with tempfile.TemporaryDirectory(dir=folder) as work:
        command = [npm, "pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination", work]
        try:
            subprocess.run(command, cwd=work, capture_output=True, timeout=_PATIENCE, check=True)
            (packed,) = Path(work).glob("*.tgz")
            with tarfile.open(packed) as members:
                for name, sha256 in files.items():
                    member = members.extractfile(f"package/dist/{name}")
                    data = b"" if member is None else member.read()
                    if hashlib.sha256(data).hexdigest() == sha256:
                        write_atomically(folder / name, data)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError, tarfile.TarError) as error:
            _log.info("npm gives no %s (%s)", PACKAGE, type(error).__name__)
    return _wrong(folder, files) is None


def write_engine(source: Path, target: Path, files: Mapping[str, str] = FILES) -> None:
    """Write the engine's files and their license into a folder of the page; compiled code as ``.gz``.

    Args:
        source: a folder of the unpacked files: the cache's, or one given for work without a network.

    Raises:
        InputError: a file is missing or has another hash.
    """
    source = source if (source / next(iter(files))).exists() else source / "dist"
    if problem := _wrong(source, files):
        raise InputError(f"{problem}; the folder must hold ONNX Runtime Web {VERSION}, unchanged")
    target.mkdir(parents=True, exist_ok=True)
    for name in files:
        data = (source / name).read_bytes()
        if name.endswith(".wasm"):
            # Without a time, so that equal folders are equal byte for byte.
            name, data = f"{name}.gz", gzip.compress(data, 9, mtime=0)
        write_atomically(target / name, data)
    write_atomically(target / "LICENSE.txt", LICENSE.encode())


def _wrong(folder: Path, files: Mapping[str, str]) -> str | None:
    """What is wrong with the files in a folder; None if nothing is."""
    for name, sha256 in files.items():
        if not (folder / name).is_file():
            return f"there is no {folder / name}"
        if file_digest(folder / name) != sha256:
            return f"{folder / name} has another SHA-256 than version {VERSION}"
    return None

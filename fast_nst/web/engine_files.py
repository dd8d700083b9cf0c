"""The engine of the page, ONNX Runtime's build for browsers: downloaded once, checked, kept in the cache.

One pinned version. Its archive has a known SHA-256, and so does every file that is taken from it; nothing
else of it is used. Compiled code goes into the page's folder compressed, since many hosts send it as it lies.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fast_nst.errors import InputError
from fast_nst.io.files import write_atomically
from fast_nst.models.model_files import file_digest
from fast_nst.system.folders import UnusableFolderError, private_folder
from fast_nst.training.data.download import ProgressCallback, download

__all__ = ["ARCHIVE", "FILES", "LICENSE", "VERSION", "Archive", "cached_engine", "write_engine"]

VERSION = "1.30.0"


class Archive(NamedTuple):
    """A file on the net that is one particular file or refused."""

    url: str
    bytes: int
    sha256: str


ARCHIVE = Archive(
    f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",
    33_106_585,
    "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
)
# Name and SHA-256: the WebAssembly build, and the one that has WebGPU too (and needs JSPI in the browser).
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.jspi.bundle.min.mjs": "07ec090355e11b342c95436db54da2d0c2bd5b1d319745bfd3337e6bdcf170ac",
    "ort-wasm-simd-threaded.jspi.wasm": "a54c76f86b0f0d9572380cf1c6292a7b3903716ffcbcd6b0e5c7050bf430eb93",
}
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
    archive: Archive = ARCHIVE,
    files: Mapping[str, str] = FILES,
    *,
    progress: ProgressCallback | None = None,
) -> Path:
    """The folder of the engine's files in the user's cache; they are downloaded where they are missing.

    Args:
        archive: what is downloaded.
        files: names and SHA-256 of what is taken from it.
        progress: called with the bytes received and the bytes in all.

    Raises:
        DownloadError: it cannot be fetched, or is not the expected file.
        InputError: the cache folder cannot be used.
    """
    try:
        folder = private_folder(f"onnxruntime-web-{VERSION}")
    except UnusableFolderError as error:
        raise InputError(str(error)) from None
    if _wrong(folder, files) is None:
        return folder
    packed = folder / "archive.tgz"
    packed.unlink(missing_ok=True)
    download(archive.url, packed, expected_size=archive.bytes, sha256=archive.sha256, progress=progress)
    with tarfile.open(packed) as members:
        for name in files:
            member = members.extractfile(f"package/dist/{name}")
            if member is not None:
                write_atomically(folder / name, member.read())
    packed.unlink()
    if problem := _wrong(folder, files):
        raise InputError(f"{problem}; the archive was the expected one: report this")
    return folder


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

"""Pictures at an address, such as ``s3://bucket/photos``: bytes of any pyarrow or fsspec file system.

pyarrow knows s3, gs, abfs and hdfs itself; other addresses are fsspec's, each with the package it asks for.
Credentials come from where those look for them. An address that begins with file:// is a path like any other.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from fast_nst.errors import InputError, first_line
from fast_nst.io.reading import EXTENSIONS, FileFault
from fast_nst.system.extras import how_to_install

__all__ = ["exists", "is_remote", "join", "list_pictures", "local", "read_bytes", "write_bytes"]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# A store of objects shows an object when it is whole, and renames by copying; others show a growing file.
_OBJECT_STORES = frozenset(("s3", "s3a", "gcs", "gs", "abfs", "abfss", "az", "oss", "memory"))


def is_remote(name: str) -> bool:
    """Whether it is an address and not a path."""
    return _ADDRESS.match(name) is not None and not name.startswith("file://")


def local(name: str) -> str:
    """A path for an address that begins with file://; everything else as it is."""
    return name.removeprefix("file://") if name.startswith("file://") else name


def join(folder: str, below: Path | str) -> str:
    """The name of something below a folder or an address."""
    if is_remote(folder):
        return f"{folder.rstrip('/')}/{PurePosixPath(below).as_posix()}"
    return str(Path(folder) / below)


@lru_cache
def _opened(root: str) -> tuple[Any, str]:
    """The file system of an address's first part, ``s3://bucket``, and its own name for that part."""
    try:
        from pyarrow import ArrowInvalid, fs
    except ImportError:
        raise InputError(f"{root} is an address, which needs: {how_to_install('cluster')}") from None
    try:
        system, base = fs.FileSystem.from_uri(root)
    except ArrowInvalid:
        import fsspec

        try:
            found, base = fsspec.core.url_to_fs(root)
        except (ImportError, ValueError) as error:
            raise InputError(f"{root} cannot be reached: {first_line(error)}") from None
        system = fs.PyFileSystem(fs.FSSpecHandler(found))
    return system, base


def _at(address: str) -> tuple[Any, str]:
    scheme, _, rest = address.partition("://")
    host, _, below = rest.partition("/")
    system, base = _opened(f"{scheme}://{host}/")
    return system, f"{base.rstrip('/')}/{below}" if below else base


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Whatever a file system raises, as one line with the address."""
    try:
        yield
    except FileNotFoundError:
        raise FileFault(address, "no such file") from None
    except (OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        raise FileFault(address, first_line(error)) from None


def exists(address: str) -> bool:
    """Whether there is a file or folder."""
    with _told(address):
        system, path = _at(address)
        return bool(system.get_file_info(path).type.value)


def list_pictures(address: str) -> list[tuple[str, str]] | None:
    """The pictures below an address by their endings, sorted, hidden ones left out as in folders.

    Returns:
        Of each its own address and its name below the given one; None where that is no folder.
    """
    with _told(address):
        system, path = _at(address)
        from pyarrow import fs

        if system.get_file_info(path).type != fs.FileType.Directory:
            return None
        start = path.rstrip("/") + "/"
        infos = system.get_file_info(fs.FileSelector(path, recursive=True))
    names = [info.path[len(start) :] for info in infos if info.type == fs.FileType.File]
    shown = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    pictures = sorted(name for name in shown if PurePosixPath(name).suffix.lower() in EXTENSIONS)
    return [(join(address, name), name) for name in pictures]


def read_bytes(address: str) -> bytes:
    """All of a file.

    Raises:
        FileFault: it cannot be read.
    """
    with _told(address):
        system, path = _at(address)
        with system.open_input_stream(path) as stream:
            data: bytes = stream.read()
            return data


def write_bytes(address: str, data: bytes) -> None:
    """A whole file or none, with the folders above it.

    Raises:
        FileFault: it cannot be written.
    """
    with _told(address):
        system, path = _at(address)
        if _OBJECT_STORES.intersection(re.findall(r"\w+", system.type_name)):  # such as py::fsspec+s3
            _pour(system, path, data)
            return
        folder = path.rpartition("/")[0]
        system.create_dir(folder, recursive=True)
        partial = f"{folder}/.{uuid.uuid4().hex}.partial"
        _pour(system, partial, data)
        system.move(partial, path)


def _pour(system: Any, path: str, data: bytes) -> None:
    with system.open_output_stream(path) as stream:
        stream.write(data)

"""Pictures at an address, such as ``s3://bucket/photos``: files of any fsspec file system.

Each kind of address needs its package (s3fs, gcsfs, adlfs …), which finds the credentials itself. An address
that begins with file:// is a path like any other.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from fast_nst.errors import FileError, InputError, first_line
from fast_nst.io.image_files import MAX_FILE_BYTES
from fast_nst.io.images import EXTENSIONS

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


def _at(address: str) -> tuple[Any, str]:
    """The file system of an address and its name for what is there; fsspec keeps one open for each host."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        if isinstance(error, ImportError) and address.startswith(("http://", "https://")):
            raise InputError(
                f"{address} needs the package aiohttp: pip install 'fsspec[http]', or download it first"
            ) from None
        raise InputError(f"{address} cannot be reached: {first_line(error)}") from None
    return system, str(path)


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Turn whatever a file system raises into one line with the address."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise FileError(address, "no such file") from None
    except Exception as error:  # each service has exceptions of its own
        raise FileError(address, first_line(error)) from None


def exists(address: str) -> bool:
    """Whether there is a file or folder.

    Raises:
        InputError: the address cannot be reached.
    """
    with _named(address):
        system, path = _at(address)
        system.invalidate_cache()  # of listings: other processes write here too
        return bool(system.exists(path))


def list_pictures(address: str) -> list[tuple[str, str]] | None:
    """The pictures below an address by their endings, sorted, without hidden ones, as in folders.

    Returns:
        Of each its own address and its name below the given one; None if that is no folder.

    Raises:
        InputError: the address cannot be reached.
    """
    with _named(address):
        system, path = _at(address)
        system.invalidate_cache()
        if not system.isdir(path):
            return None
        start = path.rstrip("/") + "/"
        names = [name.removeprefix(start) for name in system.find(path)]
    shown = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    pictures = sorted(name for name in shown if PurePosixPath(name).suffix.lower() in EXTENSIONS)
    return [(join(address, name), name) for name in pictures]


def read_bytes(address: str) -> bytes:
    """All of a file.

    Raises:
        FileError: it cannot be read.
        InputError: the address cannot be reached.
    """
    with _named(address):
        system, path = _at(address)
        with system.open(path, "rb") as stream:
            data: bytes = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FileError(address, f"has more than {MAX_FILE_BYTES >> 30} GiB")
    return data


def write_bytes(address: str, data: bytes) -> None:
    """A whole file or none, with the folders above it.

    Raises:
        FileError: it cannot be written.
        InputError: the address cannot be reached.
    """
    with _named(address):
        system, path = _at(address)
        protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
        if protocols & _OBJECT_STORES:
            system.pipe_file(path, data)
            return
        if system.isdir(path):
            raise FileError(address, "is a folder; name a file in it")
        folder = path.rpartition("/")[0]
        system.makedirs(folder, exist_ok=True)
        partial = f"{folder}/.{uuid.uuid4().hex}.partial"
        try:
            system.pipe_file(partial, data)
            system.mv(partial, path)
        except BaseException:
            with suppress(Exception):
                system.rm_file(partial)
            raise

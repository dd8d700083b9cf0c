"""Photographs for training, as they lie in a folder or a zip.

All that is wrong with a file is an `ImageReadError` that names it; all that is wrong with a data set is a
`DatasetError`.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import threading
import weakref
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from fast_nst.errors import InputError
from fast_nst.io.images import EXTENSIONS, ImageReadError, folders_to_enter
from fast_nst.training.data import coco
from fast_nst.training.data.download import ProgressCallback

__all__ = ["DatasetError", "FolderPhotos", "PhotoSource", "ZipPhotos", "hold_out", "open_photos"]

_log = logging.getLogger("fast_nst")

MAX_BYTES = 256 * 2**20  # of one file; a zip may claim, and unpack to, anything

_TAKES = "--dataset takes a folder of photographs, a zip of them, or the word coco"


class DatasetError(InputError):
    """The photographs cannot be used as they are."""


class PhotoSource(Protocol):
    """Photographs by index, as they lie on the disk. `read` may be called from several threads."""

    @property
    def where(self) -> str:
        """Its path, for messages."""

    @property
    def names(self) -> Sequence[str]:
        """Sorted, relative, with forward slashes."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names and sizes: the same for a folder and for a zip of that folder."""

    def read(self, index: int) -> bytes:
        """The file's bytes; `ImageReadError` or `OSError` if there are none."""


class FolderPhotos:
    """The pictures below a folder, at any depth, by their ending; without hidden ones and linked folders.

    `images.find_pictures` also leaves out named pipes and links that lead nowhere. Here they are kept, so
    that they are reported as bad.
    """

    def __init__(self, folder: Path, max_images: int | None = None) -> None:
        self.where, self._folder = str(folder), folder
        self.names: Sequence[str] = _spread(sorted(_walk(folder)), max_images)
        if not self.names:
            zips = ", ".join(str(path) for path in sorted(folder.glob("*.zip"))[:3])
            cure = f"name the zip itself: {zips}" if zips else f"it takes {' '.join(sorted(EXTENSIONS))}"
            raise DatasetError(f"{folder} holds no pictures, nor do its sub-folders; {cure}")

    @functools.cached_property
    def fingerprint(self) -> str:
        return _fingerprint((name, self._size(name)) for name in self.names)

    def _size(self, name: str) -> int:
        try:
            return (self._folder / name).stat().st_size
        except OSError:
            return -1

    def read(self, index: int) -> bytes:
        path = self._folder / self.names[index]
        if not path.is_file():  # opening a named pipe would wait for a writer, perhaps for ever
            there = os.path.exists(path)  # False, not an error, for links in a circle
            raise ImageReadError(path, "is a pipe or a device" if there else "is gone, or a broken link")
        _check_bytes(path, path.stat().st_size)
        return path.read_bytes()


class ZipPhotos:
    """The pictures in a zip, read in place: nothing is ever written, whatever the members are called.

    If all lie in one folder, as in COCO's archives, the names leave it out, as if that folder were unpacked.
    """

    def __init__(self, path: Path, max_images: int | None = None) -> None:
        self.where = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DatasetError(f"{path} is not a zip that can be read ({error}); {_TAKES}") from error
        weakref.finalize(self, self._zip.close)
        self._lock = threading.Lock()  # one handle; reading takes a fiftieth of the time decoding does
        members = {info.filename: info for info in self._zip.infolist() if _is_photo(info.filename)}
        tops = {name.partition("/")[0] if "/" in name else "" for name in members}
        skip = len(tops.pop()) + 1 if len(tops) == 1 and "" not in tops else 0
        self._members = {name[skip:]: info for name, info in members.items()}
        self.names: Sequence[str] = _spread(sorted(self._members), max_images)
        if not self.names:
            raise DatasetError(f"{path} holds no pictures; it takes {' '.join(sorted(EXTENSIONS))}")

    @functools.cached_property
    def fingerprint(self) -> str:
        return _fingerprint((name, self._members[name].file_size) for name in self.names)

    def read(self, index: int) -> bytes:
        name = self.names[index]
        info = self._members[name]
        _check_bytes(name, info.file_size)
        try:
            with self._lock, self._zip.open(info) as member:
                return member.read(MAX_BYTES)
        except Exception as error:  # damaged (zlib, CRC), encrypted, or packed in an unknown way: a type each
            raise ImageReadError(name, f"cannot be unpacked ({error or type(error).__name__})") from error


class _Part:
    """Some of the photographs of a source."""

    def __init__(self, source: PhotoSource, indices: Sequence[int]) -> None:
        self._source, self._indices = source, indices
        self.where = source.where
        self.names: Sequence[str] = [source.names[index] for index in indices]

    @functools.cached_property
    def fingerprint(self) -> str:
        return _fingerprint([(self._source.fingerprint, len(self.names)), *((n, 0) for n in self.names)])

    def read(self, index: int) -> bytes:
        return self._source.read(self._indices[index])


def hold_out(source: PhotoSource, count: int) -> tuple[PhotoSource, PhotoSource | None]:
    """The photographs to train on, and `count` others to measure with, spread evenly over the names.

    At most one in ten is held out; of fewer than ten photographs none is, and the second is None.
    """
    total = len(source.names)
    count = min(count, total // 10)
    if not count:
        return source, None
    held = {i * total // count for i in range(count)}
    return _Part(source, [i for i in range(total) if i not in held]), _Part(source, sorted(held))


def open_photos(
    dataset: str | Path,
    *,
    max_images: int | None = None,
    download: bool = False,
    progress: ProgressCallback | None = None,
) -> PhotoSource:
    """The photographs of a folder, of a zip, or of ``coco``, which is looked for in the usual places.

    Args:
        max_images: use at most so many, spread evenly over the sorted names; always the same ones.
        download: fetch COCO when it is in none of those places.
        progress: called with the bytes received and the bytes in all.
    """
    path = coco.find_coco() if dataset == "coco" else Path(dataset).expanduser()
    if path is None and download:
        path = coco.download_coco(progress=progress)
    if path is None:
        raise DatasetError(coco.how_to_get_it())
    if path.is_dir():
        return FolderPhotos(path, max_images)
    if path.is_file():
        return ZipPhotos(path, max_images)
    if path.exists():
        raise DatasetError(f"{path} is neither a folder nor a file; {_TAKES}")
    raise DatasetError(f"there is no {path}; {_TAKES}")


def _walk(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder, onerror=lambda error: _log.warning("skipped: %s", error)):
        folders[:] = folders_to_enter(place, folders)
        inside = Path(place).relative_to(folder)
        yield from (name for file in files if _is_photo(name := (inside / file).as_posix()))


def _is_photo(name: str) -> bool:
    path = PurePosixPath(name)
    # Archives made on a Mac hold a second file for each picture, in a folder of this name.
    hidden = any(part == "__MACOSX" or (part[0] == "." and part != "..") for part in path.parts)
    return path.suffix.lower() in EXTENSIONS and not hidden and not name.endswith("/")


def _spread(names: Sequence[str], at_most: int | None) -> Sequence[str]:
    if at_most is None or at_most >= len(names):
        return names
    return [names[i * len(names) // at_most] for i in range(at_most)]


def _fingerprint(files: Iterable[tuple[str, int]]) -> str:
    digest = hashlib.sha256()
    for name, size in files:
        digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _check_bytes(path: str | Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ImageReadError(path, f"{size:,} bytes are over the limit of {MAX_BYTES:,}")

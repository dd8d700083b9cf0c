"""TIFF directories: which one is the picture, and what Pillow would read wrongly or not at all.

Pillow decodes (with libtiff, uncompressed files too: see `image_files.pillow_settings`), which covers 1 to 8
bits of every color model, 16-bit gray, RGB and CMYK, and 32-bit gray. The rest is refused by name. tifffile
reads more layouts, but without a package of codecs of 26 MB no LZW and no JPEG; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import TiffImagePlugin

from fast_nst.io.image_files import ImageReadError

__all__ = ["check_layout", "describe", "is_tiff", "layout", "main_page", "share_present", "unsupported"]

_MOST_DIRECTORIES, _MOST_CHILDREN = 1000, 16
_SUBFILE, _BITS, _PHOTOMETRIC = 254, 258, 262
_PLANAR, _SUBDIRECTORIES, _EXTRA, _FORMAT, _DNG_VERSION = 284, 330, 338, 339, 50706
_OFFSETS, _COUNTS = (273, 324), (279, 325)  # of strips, of tiles
_CAMERA_RAW = (32803, 34892)  # photometrics: color filter array, linear raw
_PHOTOMETRICS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}

Directory = TiffImagePlugin.ImageFileDirectory_v2


def is_tiff(head: bytes) -> bool:
    """Whether a file that starts like this is a TIFF, a BigTIFF, or a camera's raw file built as one."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")


def main_page(stream: BinaryIO, name: str | Path) -> tuple[int, int]:
    """The number of the directory that holds the picture, from 0, and how many pictures there are.

    Raises:
        ImageReadError: a camera's raw file, or one whose chain of directories holds a thumbnail only.
    """
    head = stream.read(12)
    if head[:4] in (b"IIRO", b"IIRS", b"MMOR", b"IIU\0") or head[8:10] == b"CR":
        raise ImageReadError(name, _RAW)
    header = _header(stream, head)
    directories = list(_directories(stream, header))
    subdirectories = [sub for one in directories for sub in _children(stream, one, header)]
    if any(_is_raw(one) for one in directories + subdirectories):
        raise ImageReadError(name, _RAW)
    pictures = [number for number, one in enumerate(directories) if not _is_thumbnail(one)]
    hidden = [one for one in subdirectories if not _is_thumbnail(one)]
    if directories and hidden and (not pictures or _area(hidden[0]) > _area(directories[pictures[0]])):
        raise ImageReadError(name, "its first page is a thumbnail of one in a subdirectory; resave it")
    return (pictures[0] if pictures else 0), len(pictures)


_RAW = "a camera's raw file, of which only the thumbnail could be read; develop it to TIFF or JPEG first"


def _header(stream: BinaryIO, head: bytes) -> bytes:
    """8 bytes, or 16 of a BigTIFF."""
    if b"+" not in head[2:4]:
        return head[:8]
    stream.seek(0)
    return stream.read(16)


def _directories(stream: BinaryIO, header: bytes) -> Iterator[Directory]:
    """The chain of directories, up to where it loops back."""
    offset, seen = Directory(header).next, set[int]()
    while offset and offset not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(offset)
        yield (directory := _directory(stream, header, offset))
        offset = directory.next


def _directory(stream: BinaryIO, header: bytes, offset: int) -> Directory:
    directory = Directory(header)
    stream.seek(offset)
    directory.load(stream)
    return directory


def _children(stream: BinaryIO, parent: Directory, header: bytes) -> Iterator[Directory]:
    found = parent.get(_SUBDIRECTORIES, ())
    for offset in (found if isinstance(found, tuple) else (found,))[:_MOST_CHILDREN]:
        yield _directory(stream, header, offset)


def _is_raw(directory: Directory) -> bool:
    return _DNG_VERSION in directory or directory.get(_PHOTOMETRIC) in _CAMERA_RAW


def _is_thumbnail(directory: Directory) -> bool:
    kind = directory.get(_SUBFILE)
    masks_or_reduced = isinstance(kind, int) and kind & 5
    return bool(masks_or_reduced) or directory.get(TiffImagePlugin.OSUBFILETYPE) == 2


def _area(directory: Directory) -> int:
    width, height = directory.get(256), directory.get(257)
    return width * height if isinstance(width, int) and isinstance(height, int) else 0


# libtiff gives samples in the machine's order; for these modes Pillow would swap a big-endian file's again.
_NATIVE = {"F;32BF": "F;32NF", "I;32BS": "I;32NS", "I;32B": "I;32N", "I;16BS": "I;16NS"}


def check_layout(image: Any, name: str | Path) -> None:
    """Correct how Pillow would unpack the samples of the TIFF image it has opened, or refuse it.

    Raises:
        ImageReadError: a layout that Pillow reads wrongly.
    """
    tags = image.tag_v2
    signed_bytes = 2 in tags.get(_FORMAT, (1,)) and max(tags.get(_BITS, (1,))) <= 8
    gray_planes = tags.get(_PLANAR) == 2 and tags.get(_PHOTOMETRIC) in (0, 1, 3) and tags.get(_EXTRA)
    if signed_bytes or gray_planes:
        raise ImageReadError(name, unsupported(describe(tags)))
    if image.tile and image.tile[0].codec_name == "libtiff":
        mode, *rest = image.tile[0].args
        image.tile = [image.tile[0]._replace(args=(_NATIVE.get(mode, mode), *rest))]


def unsupported(found: str) -> str:
    """The reason to refuse samples of this description."""
    return f"TIFF with {found} samples is not supported; convert it to 8-bit RGB or 16-bit gray"


def layout(stream: BinaryIO) -> str | None:
    """How the first directory stores its samples, for a message; None where that cannot be read."""
    try:
        stream.seek(0)
        directory = next(_directories(stream, _header(stream, stream.read(8))))
    except Exception:  # hostile files make Pillow raise a dozen different types
        return None
    return describe(directory)


def describe(directory: Directory) -> str:
    """How a directory stores its samples, for a message."""
    bits, formats = directory.get(_BITS, (1,)), directory.get(_FORMAT, (1,))
    model = _PHOTOMETRICS.get(directory.get(_PHOTOMETRIC, 0), f"photometric {directory.get(_PHOTOMETRIC)}")
    extra = " with extra samples" if directory.get(_EXTRA) else ""
    planar = ", plane by plane" if directory.get(_PLANAR) == 2 else ""
    depth = "/".join(str(depth) for depth in sorted(set(bits)))
    kind = "/".join(_FORMATS.get(kind, "undefined") for kind in sorted(set(formats)))
    return f"{depth}-bit {kind} {model}{extra}{planar}"


def share_present(stream: BinaryIO, page: int) -> float | None:
    """Which share of the bytes of a picture's strips or tiles the file holds; None if that is unknown."""
    try:
        stream.seek(0)
        directory = list(_directories(stream, _header(stream, stream.read(8))))[page]
        size = stream.seek(0, 2)
        offsets, counts = _numbers(directory, _OFFSETS), _numbers(directory, _COUNTS)
        there = (max(0, min(count, size - at)) for at, count in zip(offsets, counts, strict=True))
        return sum(there) / sum(counts)
    except Exception:  # as above
        return None


def _numbers(directory: Directory, tags: tuple[int, ...]) -> tuple[int, ...]:
    found: Any = next(directory[tag] for tag in tags if tag in directory)
    return found if isinstance(found, tuple) else (found,)

"""Picture files, read: any of them becomes a `Picture`, or an `ImageReadError` that says why not.

A `Picture` is what people see: ``(H, W, 3)`` uint8 sRGB, upright, with its alpha apart. Nothing here knows
of tensors; `fast_nst.io.images` stands on top, and is where the rest of the package imports all of this from.
"""

from __future__ import annotations

import importlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from fast_nst.errors import InputError
from fast_nst.io.decoding import log_once, to_levels
from fast_nst.system.extras import how_to_install

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "FileFault",
    "ImageReadError",
    "Picture",
    "check_rgb",
    "check_size",
    "find_pictures",
    "opened",
    "pillow_settings",
    "read_picture",
    "read_reason",
]

# 300 MB of RGB, which a PNG of 12 KB can claim to hold. The few cameras above it need --max-pixels.
MAX_PIXELS = 110_000_000

# A white list: Pillow also opens PostScript (by running Ghostscript), FITS, and TGA, which has no signature,
# so that any text can pass for one. Cameras' MPO needs no entry: it begins as JPEG. HEIF is added when met.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000")

_JPEG_LIKE = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
_PORTABLE = (".ppm", ".pgm", ".pbm", ".pnm")
_OTHERS = (".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2", ".heic", ".heif")
EXTENSIONS = frozenset((*_JPEG_LIKE, *_PORTABLE, *_OTHERS))


class FileFault(InputError):
    """``path: reason`` in one line, whatever the file name holds."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(path, reason)  # both in `args`, or the error could not cross a process border
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        line = " ".join(f"{self.path}: {self.reason}".split("\n"))
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class ImageReadError(FileFault):
    """A picture that cannot be read: the only error `read_picture` raises, whatever the file holds."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as people see them: sRGB, upright, 8 bit. The arrays may be read-only.

    Attributes:
        rgb: ``(H, W, 3)``, not multiplied by alpha.
        alpha: ``(H, W)``, 255 is opaque; ``None`` if the file had none (an opaque one is kept).
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        check_rgb(self.rgb)
        alpha, size = self.alpha, self.rgb.shape[:2]
        if alpha is not None and (alpha.shape != size or alpha.dtype != np.uint8):
            raise ValueError(
                f"expected uint8 alpha of shape {size}, got {alpha.dtype} of shape {alpha.shape}"
            )

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])


def check_rgb(array: NDArray[Any]) -> None:
    """Refuse all but ``(H, W, 3)`` uint8 with at least one pixel."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(f"expected uint8 of shape (H, W, 3), got {array.dtype} of shape {array.shape}")


def read_picture(source: str | Path | BinaryIO | bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Any picture file as 8-bit sRGB, upright; of an animation or a multi-page file, the first image.

    The pixel limit is checked on the header, before anything is decoded. EXIF orientation is applied and ICC
    profiles are converted; a broken profile or EXIF block is logged and ignored. 16-bit gray is divided by
    257; for 32-bit integers and floats see `_grey_levels`. All that can go wrong is an `ImageReadError`.
    """
    name = source if isinstance(source, str | Path) else str(getattr(source, "name", "<picture>"))
    head = b""
    try:
        with pillow_settings, opened(source) as stream:
            head = stream.read(512)
            stream.seek(0)
            # A stream, not a path: Pillow maps some files by path, and cutting a mapped file short kills us.
            with Image.open(stream, formats=_formats(head)) as image:
                check_size(name, image.size, max_pixels)
                return _decode(image, name)
    except FileFault:
        raise
    except Exception as error:  # fuzzed files make Pillow raise a dozen different types
        raise ImageReadError(name, read_reason(error, head)) from error


class _PillowSettings:
    """Pillow's process-wide switches, set as long as any thread reads here, then put back as they were.

    Off: the size limit (ours is exact, and can be raised) and Pillow's warnings. Enforced: truncated files
    are errors; some libraries ask Pillow to fill them with gray. Counted, because saving and restoring per
    call would let two threads restore each other's values, and `warnings.catch_warnings` has the same flaw.
    """

    def __init__(self) -> None:
        self._lock, self._readers = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = self._before
                self._warnings.__exit__(None, None, None)


pillow_settings = _PillowSettings()


@contextmanager
def opened(source: str | Path | BinaryIO | bytes) -> Iterator[BinaryIO]:
    """A file, stream or bytes as a stream that can be rewound; what would block or is no file is refused."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif not isinstance(source, str | Path):
        yield io.BytesIO(source.read())  # it may be a pipe, and Pillow has to seek; the caller closes it
    else:
        # Looked at before it is opened: opening a named pipe waits for a writer, perhaps for ever.
        mode = os.stat(source).st_mode
        if stat.S_ISDIR(mode):
            raise ImageReadError(source, "is a folder, not a picture")
        if not stat.S_ISREG(mode):
            raise ImageReadError(source, "is a pipe, a socket or a device, not a file")
        with open(source, "rb") as stream:
            yield stream


def _formats(head: bytes) -> tuple[str, ...]:
    """What Pillow may try on a file that starts with `head`; HEIC needs a plugin, loaded when first met."""
    if not _is_heif(head):
        return FORMATS
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return FORMATS
    return (*FORMATS, "HEIF")


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf")


def check_size(name: str | Path, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse more pixels than allowed, with the flag that would allow them."""
    width, height = size
    if width * height > max_pixels:
        raise ImageReadError(
            name,
            f"{width} x {height} = {width * height:,} pixels are over the limit of {max_pixels:,}; "
            f"--max-pixels {width * height} would allow it",
        )


def _decode(image: Image.Image, name: str | Path) -> Picture:
    image.load()
    return Picture(*to_levels(image, name))


def read_reason(error: Exception, head: bytes) -> str:
    """What a person can act on, from whatever Pillow or the system raised on a file starting with `head`."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, UnidentifiedImageError):
        return _looks_like(head)
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror})"
    if "truncated" in str(error).lower():
        return "the file ends early (truncated)"
    return f"damaged or of an unknown kind ({str(error) or type(error).__name__})"


def _looks_like(head: bytes) -> str:
    """Why no reader wants a file with these first bytes."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "the file is empty"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "not a picture: the file starts like HTML (a download that went wrong?)"
    if start.startswith((b"<svg", b"<?xml", b"%pdf", b"%!ps")):
        return "a drawing (SVG, PDF, PostScript), not a picture: export it as PNG first"
    if _is_heif(head):
        return f"HEIC images need another package: {how_to_install('heif')}"
    if head.isascii() and b"\0" not in head:
        return "not a picture: the file holds text"
    return f"not a picture, or one whose header is damaged or cut off; readable are {', '.join(FORMATS)}"


def find_pictures(
    folder: Path,
    *,
    endings: Collection[str] = EXTENSIONS,
    on_error: Callable[[OSError], None] = lambda error: log_once(f"skipped: {error}"),
) -> list[Path]:
    """All picture files below `folder` by their ending, sorted; hidden ones and linked folders are left out.

    A link to a file counts. A link to a folder does not: it may lead out of the tree, or round in circles.

    Args:
        on_error: called for each folder that cannot be read.
    """
    if not folder.is_dir():
        raise ImageReadError(folder, "is not a folder" if folder.exists() else "no such folder")
    found = []
    for place, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in endings and path.is_file()]
    return sorted(found)

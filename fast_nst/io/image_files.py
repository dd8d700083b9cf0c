"""What picture files have in common: opening them, Pillow's switches, the pixel limit, reasons."""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from fast_nst.errors import FileError, first_line
from fast_nst.system.extras import how_to_install

__all__ = [
    "FORMATS",
    "MAX_FILE_BYTES",
    "ImageReadError",
    "check_size",
    "is_heif",
    "opened",
    "pillow_settings",
    "read_reason",
]

# A white list: Pillow also opens PostScript (by running Ghostscript), FITS, and TGA, which has no signature,
# so that any text can pass for one. Cameras' MPO needs no entry: it begins as JPEG. HEIF is added when met.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000")


# Of a file that is read into memory; 16-bit RGBA of the largest picture allowed has 0.9 GB.
MAX_FILE_BYTES = 2 << 30


class ImageReadError(FileError):
    """A picture that cannot be read: the only error `read_picture` raises, whatever the file holds."""


class _PillowSettings:
    """Pillow's process-wide switches, set while any thread reads a picture, then put back as they were.

    Off: the size limit (ours is exact, and can be raised) and Pillow's warnings. Enforced: truncated files
    are errors (some libraries ask Pillow to fill them with gray), and libtiff decodes uncompressed TIFF files
    too (Pillow's own decoder reads 16-bit planes as stripes). Counted, because saving and restoring per call
    would let two threads restore each other's values, and `warnings.catch_warnings` has the same flaw.
    """

    def __init__(self) -> None:
        self._lock, self._readers = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._before = (
                    Image.MAX_IMAGE_PIXELS,
                    ImageFile.LOAD_TRUNCATED_IMAGES,
                    TiffImagePlugin.READ_LIBTIFF,
                )
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
                TiffImagePlugin.READ_LIBTIFF = True

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                (
                    Image.MAX_IMAGE_PIXELS,
                    ImageFile.LOAD_TRUNCATED_IMAGES,
                    TiffImagePlugin.READ_LIBTIFF,
                ) = self._before
                self._warnings.__exit__(None, None, None)


pillow_settings = _PillowSettings()


_TOO_LARGE = f"the file has more than {MAX_FILE_BYTES >> 30} GiB, too much for a picture"


@contextmanager
def opened(source: str | Path | BinaryIO | bytes) -> Iterator[BinaryIO]:
    """A file, stream or bytes as a stream that can be rewound; what would block or is no file is refused."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif not isinstance(source, str | Path):
        data = source.read(MAX_FILE_BYTES + 1)  # it may be a pipe, and Pillow has to seek
        if len(data) > MAX_FILE_BYTES:
            raise ImageReadError(str(getattr(source, "name", "<picture>")), _TOO_LARGE)
        yield io.BytesIO(data)  # the caller closes its own
    else:
        # Looked at before it is opened: opening a named pipe waits for a writer, perhaps for ever.
        found = os.stat(source)
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            raise ImageReadError(source, "is a folder, not a picture")
        if not stat.S_ISREG(mode):
            raise ImageReadError(source, "is a pipe, a socket or a device, not a file")
        if found.st_size > MAX_FILE_BYTES:
            raise ImageReadError(source, _TOO_LARGE)
        with open(source, "rb") as stream:
            yield stream


def is_heif(head: bytes) -> bool:
    """Whether a file that starts like this is an HEIC or another HEIF."""
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


def read_reason(error: Exception, head: bytes) -> str:
    """The cause in words, from whatever Pillow or the system raised on a file that starts with `head`."""
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
    return f"damaged or of an unknown kind ({first_line(error)})"


def _looks_like(head: bytes) -> str:
    """Explain why a file that starts with these bytes is not readable."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "the file is empty"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "not a picture: the file starts like HTML (a download that went wrong?)"
    if start.startswith((b"<svg", b"<?xml", b"%pdf", b"%!ps")):
        return "a drawing (SVG, PDF, PostScript), not a picture: export it as PNG first"
    if is_heif(head):
        return f"HEIC images need another package: {how_to_install('heif')}"
    if head.isascii() and b"\0" not in head:
        return "not a picture: the file holds text"
    return f"not a picture, or one whose header is damaged or cut off; readable are {', '.join(FORMATS)}"

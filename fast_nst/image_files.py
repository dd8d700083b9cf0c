"""Picture files, read: any of them becomes a `Picture`, or an `ImageReadError` that says why not.

A `Picture` is what people see: ``(H, W, 3)`` uint8 sRGB, upright, with its alpha apart. Nothing here knows
of tensors; `fast_nst.images` stands on top, and is where the rest of the package imports all of this from.
"""

from __future__ import annotations

import functools
import importlib
import io
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from fast_nst.errors import InputError

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "FileFault",
    "ImageReadError",
    "Picture",
    "check_rgb",
    "find_pictures",
    "read_picture",
    "srgb_profile",
]

_log = logging.getLogger("fast_nst")

# 300 MB of RGB, which a PNG of 12 KB can claim to hold. The few cameras above it need --max-pixels.
MAX_PIXELS = 100_000_000

# A white list: Pillow also opens PostScript (by running Ghostscript), FITS, and TGA, which has no signature,
# so that any text can pass for one. Cameras' MPO needs no entry: it begins as JPEG. HEIF is added when met.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000")

_JPEG_LIKE = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
_PORTABLE = (".ppm", ".pgm", ".pbm", ".pnm")
_OTHERS = (".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2", ".heic", ".heif")
EXTENSIONS = frozenset((*_JPEG_LIKE, *_PORTABLE, *_OTHERS))

_WHITE = np.iinfo(np.uint8).max  # the number itself stays in images.py


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
    profiles are converted; a broken profile or EXIF block is logged and ignored. 16-bit grey is divided by
    257; for 32-bit integers and floats see `_grey_levels`. All that can go wrong is an `ImageReadError`.
    """
    name = source if isinstance(source, str | Path) else str(getattr(source, "name", "<picture>"))
    head = b""
    try:
        with _pillow_settings, _opened(source) as stream:
            head = stream.read(512)
            stream.seek(0)
            # A stream, not a path: Pillow maps some files by path, and cutting a mapped file short kills us.
            with Image.open(stream, formats=_formats(head)) as image:
                _check_size(name, image.size, max_pixels)
                return _decode(image, name)
    except FileFault:
        raise
    except Exception as error:  # fuzzed files make Pillow raise a dozen different types
        raise ImageReadError(name, _read_reason(error, head)) from error


class _PillowSettings:
    """Pillow's process-wide switches, set as long as any thread reads here, then put back as they were.

    Off: the size limit (ours is exact, and can be raised) and Pillow's warnings. Enforced: truncated files
    are errors; some libraries ask Pillow to fill them with grey. Counted, because saving and restoring per
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


_pillow_settings = _PillowSettings()


@contextmanager
def _opened(source: str | Path | BinaryIO | bytes) -> Iterator[BinaryIO]:
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


def _check_size(name: str | Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageReadError(
            name,
            f"{width} x {height} = {width * height:,} pixels are over the limit of {max_pixels:,}; "
            f"--max-pixels {width * height} would allow it",
        )


def _decode(image: Image.Image, name: str | Path) -> Picture:
    image.load()
    _turn_upright(image, name)
    colour, alpha = _split_alpha(image)
    return Picture(np.asarray(_to_srgb(colour, image.info.get("icc_profile"), name)), alpha)


def _turn_upright(image: Image.Image, name: str | Path) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged metadata is no reason to refuse good pixels
        _log_once(f"{name}: its EXIF block is damaged and ignored ({error})")


def _split_alpha(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Colours in a mode that holds nothing else (L, RGB, CMYK, LAB), and the alpha if there is one."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_grey_levels(image)), None
    if image.mode in ("La", "RGBa"):  # multiplied by alpha, as some TIFF files are
        image = image.convert(image.mode.upper())
    plain = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}.get(image.mode, "RGB")
    if not image.has_transparency_data:
        return image.convert(plain), None
    image = image.convert("RGBA")
    return image.convert("RGB").convert(plain), np.asarray(image.getchannel("A"))


def _grey_levels(image: Image.Image) -> NDArray[np.uint8]:
    """``(H, W)`` levels of 16-bit, 32-bit integer or float grey, which Pillow's own `convert` clips to white.

    16 bit: divided by 257. 32-bit files do not say what white is: it is taken to be the smallest of 1 (floats
    only, and they may overshoot it by a half, as sharpening does), 255 and 65535 that no value exceeds. Where
    none fits, or values are negative by more than such an overshoot, the range found is stretched from black
    to white. Infinities count as the extremes, NaN as black.
    """
    values = np.asarray(image)
    if values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    finite = values[np.isfinite(values)].astype(np.float64)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    is_float = values.dtype.kind == "f"
    if is_float and high <= 1.5 and low >= -0.5:
        black, white = 0.0, 1.0
    elif low < 0 or high > 65535:
        black, white = low, high
    elif image.format == "PPM" and not is_float:  # its reader scales to 16 bit what has more than 8
        black, white = 0.0, 65535.0
    else:
        black, white = 0.0, float(_WHITE if high <= _WHITE else 65535)
    # NaN goes first: to cast a signalling one is a floating-point fault, and numpy warns.
    known = np.nan_to_num(values, nan=black, posinf=white, neginf=black).astype(np.float64)
    levels = ((known - black) / ((white - black) or 1.0)).clip(0, 1) * _WHITE  # a flat picture has no range
    return np.asarray(np.rint(levels), dtype=np.uint8)


def _to_srgb(colour: Image.Image, icc: bytes | None, name: str | Path) -> Image.Image:
    if icc or colour.mode == "LAB":
        try:
            return _through_profile(colour, icc)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            _log_once(f"{name}: its colour profile is ignored ({error})")
    return colour.convert("RGB")


def _through_profile(colour: Image.Image, icc: bytes | None) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc) if icc else ImageCms.createProfile("LAB"))
    space = profile.profile.xcolor_space.strip()
    mode = {"GRAY": "L", "Lab": "LAB"}.get(space, space)
    if colour.mode == "L" and mode == "RGB":
        colour = colour.convert("RGB")
    if colour.mode != mode:
        raise ValueError(f"made for {space}, on a picture in {colour.mode}")
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    # sRGB by what it does, not by its name: there are linear profiles called "sRGB-…", and "c2" is sRGB.
    if mode == "RGB" and _is_identity(transform):
        return colour
    converted = ImageCms.applyTransform(colour, transform)
    assert converted is not None  # only an in-place call returns nothing
    return converted


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a 4 x 4 x 4 cube of colours and a grey ramp come back within one level."""
    cube = np.stack(np.meshgrid(*[np.linspace(0, _WHITE, 4)] * 3), axis=-1).reshape(1, -1, 3)
    ramp = np.linspace(0, _WHITE, 52).reshape(1, -1, 1).repeat(3, axis=2)
    probe = np.concatenate([cube, ramp], axis=1).astype(np.uint8)
    seen = np.asarray(ImageCms.applyTransform(Image.fromarray(probe), transform), dtype=np.int16)
    return bool(np.abs(seen - probe).max() <= 1)


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile that goes into every file we write."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 are the time of its making: the same picture would be another file every second.
    profile[24:36] = np.array([2000, 1, 1, 0, 0, 0], dtype=">u2").tobytes()
    return bytes(profile)


@functools.lru_cache(maxsize=4096)
def _log_once(message: str) -> None:
    _log.warning("%s", message)


def _read_reason(error: Exception, head: bytes) -> str:
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
        return "HEIC pictures need an extra package: pip install pillow-heif"
    if head.isascii() and b"\0" not in head:
        return "not a picture: the file holds text"
    return f"not a picture, or one whose header is damaged or cut off; readable are {', '.join(FORMATS)}"


def find_pictures(folder: Path) -> list[Path]:
    """All picture files below `folder` by their ending, sorted; hidden ones and linked folders are left out.

    A link to a file counts. A link to a folder does not: it may lead out of the tree, or round in circles.
    """
    if not folder.is_dir():
        raise ImageReadError(folder, "is not a folder" if folder.exists() else "no such folder")
    found = []
    for place, folders, files in os.walk(folder, onerror=lambda error: _log_once(f"skipped: {error}")):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in EXTENSIONS and path.is_file()]
    return sorted(found)

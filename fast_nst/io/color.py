"""Decoded Pillow images of any mode and color profile as upright sRGB levels and alpha.

Pillow's own ``convert`` turns 16-bit and float pictures white or black and ignores profiles.
"""

from __future__ import annotations

import functools
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from fast_nst.errors import first_line, printable

__all__ = ["gray_levels", "log_once", "srgb_profile", "to_levels"]

_log = logging.getLogger("fast_nst")

_ROWS = 256
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # of TIFF
_WHITE = np.iinfo(np.uint8).max  # the number itself stays in pixels.py


def to_levels(image: Image.Image, name: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """``(H, W, 3)`` sRGB and ``(H, W)`` alpha, if any, of a loaded image; `name` is for the log."""
    _turn_upright(image, name)
    color, alpha = _split_alpha(image)
    return _levels(_to_srgb(color, image.info.get("icc_profile"), name)), alpha


def _levels(image: Image.Image) -> NDArray[np.uint8]:
    """``(H, W, 3)``, a few rows at a time: np.asarray holds three copies of a picture for a moment."""
    levels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _ROWS):
        bottom = min(top + _ROWS, image.height)
        levels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return levels


def _turn_upright(image: Image.Image, name: str | Path) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged metadata is no reason to refuse good pixels
        log_once(f"{name}: its EXIF block is damaged and ignored ({first_line(error)})")


def _split_alpha(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Colors in a mode that holds nothing else (L, RGB, CMYK, LAB), and the alpha if there is one."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(gray_levels(image)), _key_alpha(image)
    if image.mode in ("La", "RGBa"):  # multiplied by alpha, as some TIFF files are
        image = image.convert(image.mode.upper())
    plain = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}.get(image.mode, "RGB")
    if not image.has_transparency_data:
        return _in_mode(image, plain), None
    image = image.convert("RGBA")
    return _in_mode(image.convert("RGB"), plain), np.asarray(image.getchannel("A"))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Without the copy that Pillow makes where there is nothing to convert."""
    return image if image.mode == mode else image.convert(mode)


def _key_alpha(image: Image.Image) -> NDArray[np.uint8] | None:
    """The alpha of a 16-bit gray PNG in which one level is transparent."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return None
    return np.where(np.asarray(image) == key, 0, _WHITE).astype(np.uint8)


def gray_levels(image: Image.Image) -> NDArray[np.uint8]:
    """``(H, W)`` levels of 16-bit, 32-bit integer or float gray, which Pillow's own `convert` clips to white.

    16 bit: divided by 257. 32-bit files do not say what white is: it is taken to be the smallest of 1 (floats
    only, and they may overshoot it by a half, as sharpening does), 255 and 65535 that no value exceeds;
    2^32 - 1 where unsigned integers reach 2^24. Where none fits, or values are negative by more than such an
    overshoot, the range found is stretched from black to white. Infinities are the extremes, NaN is black.
    """
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if values.dtype.kind == "i" and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 and tags:
        values = values.view(np.uint32)  # Pillow knows signed integers only
    black, white = _range(values, is_portable=image.format == "PPM", bits=tags.get(_BITS, (0,))[0])
    levels = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), _ROWS):  # as float64, it is eight times as large
        rows = values[top : top + _ROWS]
        # NaN goes first: to cast a signalling one is a floating-point fault, and numpy warns.
        known = np.nan_to_num(rows, nan=black, posinf=white, neginf=black).astype(np.float64)
        share = (known - black) / ((white - black) or 1.0)  # a flat picture has no range
        levels[top : top + _ROWS] = np.rint(share.clip(0, 1) * _WHITE)
    return _WHITE - levels if tags.get(_PHOTOMETRIC) == 0 else levels  # 0: white is the smallest value


def _range(values: NDArray[Any], *, is_portable: bool, bits: int) -> tuple[float, float]:
    """What is black and what is white: see `gray_levels`."""
    if values.dtype.itemsize == 2:
        return 0.0, float((1 << bits) - 1 if 8 < bits < 16 else 65535)
    is_float = values.dtype.kind == "f"
    if is_float:
        bands = [rows[np.isfinite(rows)] for rows in np.array_split(values, -(-len(values) // _ROWS))]
        ends = [(band.min(), band.max()) for band in bands if band.size] or [(0.0, 1.0)]
        low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    else:
        low, high = float(values.min()), float(values.max())
    if is_float and high <= 1.5 and low >= -0.5:
        return 0.0, 1.0
    if values.dtype == np.uint32 and high > 65535:
        return 0.0, float(np.iinfo(np.uint32).max if high >= 1 << 24 else high)
    if low < 0 or high > 65535:
        return low, high
    if bits == 16 and not is_float:  # signed: unsigned ones are two bytes wide here
        return 0.0, float(np.iinfo(np.int16).max)
    if is_portable and not is_float:  # its reader scales to 16 bit what has more than 8
        return 0.0, 65535.0
    return 0.0, float(_WHITE if high <= _WHITE else 65535)


def _to_srgb(color: Image.Image, icc: bytes | None, name: str | Path) -> Image.Image:
    if icc or color.mode == "LAB":
        try:
            return _through_profile(color, icc)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            log_once(f"{name}: its color profile is ignored ({first_line(error)})")
    return _in_mode(color, "RGB")


def _through_profile(color: Image.Image, icc: bytes | None) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc) if icc else ImageCms.createProfile("LAB"))
    space = profile.profile.xcolor_space.strip()
    mode = {"GRAY": "L", "Lab": "LAB"}.get(space, space)
    if color.mode == "L" and mode == "RGB":
        color = color.convert("RGB")
    if color.mode != mode:
        raise ValueError(f"made for {space}, on a picture in {color.mode}")
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
        return color
    if mode == "RGB":
        ImageCms.applyTransform(color, transform, inPlace=True)
        return color
    converted = ImageCms.applyTransform(color, transform)
    assert converted is not None  # only an in-place call returns nothing
    return converted


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a 4 x 4 x 4 cube of colors and a gray ramp come back within one level."""
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
def log_once(message: str) -> None:
    """A warning for whoever listens to the logger ``fast_nst``; the same words only once."""
    _log.warning("%s", printable(message))

"""The pixel boundary: files and uint8 on the outside, float tensors on the inside.

Outside, a picture is a `Picture`: ``(H, W, 3)`` uint8 sRGB, upright, with its alpha apart. Inside, an image
tensor is RGB, channels first, float, and nominally in [0, 1]. *Nominally*: a network or an optimizer may
overshoot, and only `to_uint8` clips and rounds. The number 255 appears in this file and in no other.

Torch is imported by `from_uint8` alone, so that programs without it can read and write pictures too.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fast_nst.errors import InputError
from fast_nst.io.decoding import srgb_profile
from fast_nst.io.files import refusal, write_atomically, write_reason
from fast_nst.io.reading import (
    EXTENSIONS,
    FORMATS,
    MAX_PIXELS,
    FileFault,
    ImageReadError,
    Picture,
    check_rgb,
    find_pictures,
    read_picture,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_LEVEL",
    "MAX_PIXELS",
    "ImageReadError",
    "ImageWriteError",
    "Picture",
    "can_write",
    "check_target",
    "find_pictures",
    "fit",
    "from_uint8",
    "keeps_alpha",
    "load_image",
    "over_white",
    "read_picture",
    "resized",
    "save_image",
    "to_uint8",
    "write_picture",
]

MAX_LEVEL = 255  # of 8-bit files; white


class ImageWriteError(FileFault):
    """A picture that cannot be written; nothing was changed on the disk."""


def from_uint8(array: NDArray[np.uint8]) -> Tensor:
    """``(H, W, 3)`` uint8 as a new contiguous ``(3, H, W)`` float32 tensor in [0, 1]."""
    import torch

    check_rgb(array)
    # A copy, since from_numpy takes neither read-only arrays nor negative strides (BGR seen through [::-1]).
    pixels = torch.from_numpy(np.array(array, order="C"))
    return pixels.permute(2, 0, 1).contiguous().float().div_(MAX_LEVEL)


def to_uint8(image: Tensor) -> NDArray[np.uint8]:
    """A ``(3, H, W)`` float image as an ``(H, W, 3)`` uint8 array: clipped to [0, 1], then rounded.

    A bare ``astype("uint8")`` would truncate, which darkens every image by half a level on average.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"expected one (3, H, W) image, got shape {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"expected floats in [0, 1], got {image.dtype}")
    if image.isnan().any():
        raise ValueError("the image holds NaN, which has no color: the network or its input is broken")
    levels = image.detach().float().clamp(0, 1).mul(MAX_LEVEL).round()
    array: NDArray[np.uint8] = levels.byte().permute(1, 2, 0).contiguous().cpu().numpy()
    return array


def over_white(picture: Picture) -> NDArray[np.uint8]:
    """``(H, W, 3)``: the picture on white paper; its own `rgb` if it has no alpha."""
    if picture.alpha is None:
        return picture.rgb
    alpha = picture.alpha.astype(np.uint16)[..., None]
    # At most 255 * 255 + 127, so uint16 holds it. 255 is odd: adding 127 rounds, and there are no ties.
    mixed = picture.rgb * alpha + MAX_LEVEL * (MAX_LEVEL - alpha) + MAX_LEVEL // 2
    return (mixed // MAX_LEVEL).astype(np.uint8)


def fit(picture: Picture, longer_side: int | None = None, *, shorter_side: int | None = None) -> Picture:
    """The picture resized, up or down, until one side has so many pixels; the same object if it has already.

    Antialiased Lanczos, aspect ratio kept, no side under one pixel. Colors are weighted by alpha on the way:
    what hides under transparent pixels does not bleed into visible ones.
    """
    wanted = longer_side if shorter_side is None else shorter_side
    if wanted is None:
        return picture
    if longer_side is not None and shorter_side is not None:
        raise ValueError(f"longer_side={longer_side} and shorter_side={shorter_side} exclude each other")
    if wanted < 1:
        raise InputError(f"a picture cannot be {wanted} pixels wide or high: give 1 or more")
    sides = picture.width, picture.height
    now = max(sides) if shorter_side is None else min(sides)
    if now == wanted:
        return picture
    # Rounded in integers, so that the chosen side is exactly as wanted.
    width, height = (max(1, (2 * side * wanted + now) // (2 * now)) for side in sides)
    return resized(picture, width, height)


def resized(picture: Picture, width: int, height: int) -> Picture:
    """The picture at this size, as `fit` makes it; the same object if it has it already."""
    if (picture.width, picture.height) == (width, height):
        return picture
    return _to_picture(_to_pillow(picture).resize((width, height), Image.Resampling.LANCZOS))


def _to_pillow(picture: Picture) -> Image.Image:
    if picture.alpha is None:
        return Image.fromarray(picture.rgb)
    return Image.fromarray(np.dstack([picture.rgb, picture.alpha]))


def _to_picture(image: Image.Image) -> Picture:
    """Of an RGB or RGBA image."""
    alpha = np.asarray(image.getchannel("A")) if image.mode == "RGBA" else None
    return Picture(np.asarray(image.convert("RGB")), alpha)


def load_image(
    path: str | Path, *, size: int | None = None, short_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> Tensor:
    """The picture on white, as ``(3, H, W)`` float32 in [0, 1], with its longer *or* shorter side resized."""
    picture = Picture(over_white(read_picture(path, max_pixels=max_pixels)))
    return from_uint8(fit(picture, size, shorter_side=short_side).rgb)


@dataclass(frozen=True)
class _Writer:
    format: str
    alpha: bool = False
    longest: int | None = None  # the longest side the format can hold
    options: tuple[tuple[str, object], ...] = ()


# 65500 is libjpeg's limit, 35 under that of the format.
_JPEG = _Writer("JPEG", longest=65500, options=(("subsampling", 0),))
_TIFF = _Writer("TIFF", alpha=True, options=(("compression", "tiff_adobe_deflate"),))
_WRITERS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": _Writer("PNG", alpha=True),
    # exact: keeps the colors under transparent pixels, as the other formats do.
    ".webp": _Writer("WEBP", alpha=True, longest=16383, options=(("exact", True),)),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".avif": _Writer("AVIF", alpha=True, longest=65536, options=(("subsampling", "4:4:4"),)),
    ".bmp": _Writer("BMP"),
    ".ppm": _Writer("PPM"),
}


def can_write(ending: str) -> bool:
    """Whether `write_picture` knows this ending, such as ``.png``."""
    return ending.lower() in _WRITERS


def keeps_alpha(target: str | Path) -> bool:
    """Whether a file of this name, ending or format holds alpha; others get the picture on white."""
    return _writer(target, None).alpha


def save_image(
    path: str | Path,
    image: Tensor | NDArray[np.uint8],
    *,
    alpha: NDArray[np.uint8] | None = None,
    quality: int = 95,
    overwrite: bool = True,
) -> None:
    """Write a ``(3, H, W)`` float image in [0, 1], or ``(H, W, 3)`` uint8, in the format of the ending."""
    rgb = image if isinstance(image, np.ndarray) else to_uint8(image)
    write_picture(path, Picture(rgb, alpha), quality=quality, overwrite=overwrite)


def write_picture(
    target: str | Path | BinaryIO,
    picture: Picture,
    *,
    format: str | None = None,
    quality: int = 95,
    overwrite: bool = True,
) -> None:
    """Write a whole file or none: whatever fails, the old file stays and no temporary one is left.

    The format comes from `format` ("png") or else from the ending. JPEG and AVIF keep full color resolution,
    WebP at quality 100 is lossless. An sRGB profile goes in where the format takes one, and no metadata: the
    place a photograph was taken at does not leave with it. Where there is no alpha, the picture is put on
    white (see `keeps_alpha`). A link is replaced; the file it points at stays as it is.
    """
    name = target if isinstance(target, str | Path) else str(getattr(target, "name", "<picture>"))
    writer = _writer(name, format)
    if isinstance(target, str | Path) and (why := refusal(Path(target), overwrite=overwrite)):
        raise ImageWriteError(target, why)
    # In memory first: a stream need not seek, and a full disk is an OSError instead of a codec's riddle.
    data = _encode(picture, writer, quality, name)
    try:
        if isinstance(target, str | Path):
            write_atomically(Path(target), data)
        else:
            target.write(data)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, a closed stream
        raise ImageWriteError(name, write_reason(error, Path(name))) from error


def _writer(name: str | Path, format: str | None) -> _Writer:
    wanted = format or Path(name).suffix or str(name)
    ending = f".{wanted.lower().removeprefix('.')}"
    if ending not in _WRITERS:
        found = f"cannot write {ending!r}" if format or Path(name).suffix else "the name has no ending"
        raise ImageWriteError(name, f"{found}; known endings are {' '.join(_WRITERS)}")
    return _WRITERS[ending]


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that `save_image` could not write, before long work is done for it.

    Raises:
        ImageWriteError: an unknown ending, no such folder, or something that is not to be replaced.
    """
    _writer(path, None)
    if why := refusal(path, overwrite=overwrite):
        raise ImageWriteError(path, why)
    if not path.absolute().parent.is_dir():
        raise ImageWriteError(path, write_reason(FileNotFoundError(), path))


def _encode(picture: Picture, writer: _Writer, quality: int, name: str | Path) -> bytes:
    if not 1 <= quality <= 100:
        raise ImageWriteError(name, f"quality {quality} is outside 1 to 100")
    if writer.longest and max(picture.height, picture.width) > writer.longest:
        raise ImageWriteError(
            name,
            f"{picture.width} x {picture.height} is too large: {writer.format} holds {writer.longest} pixels "
            "a side; write PNG or TIFF, or use a smaller --size",
        )
    options: dict[str, Any] = {"quality": quality, "icc_profile": srgb_profile(), **dict(writer.options)}
    if writer.format == "WEBP":
        options["lossless"] = quality == 100
    if writer.format == "TIFF":
        del options["quality"]  # means JPEG inside TIFF
    shown = picture if writer.alpha else Picture(over_white(picture))
    buffer = io.BytesIO()
    try:
        _to_pillow(shown).save(buffer, writer.format, **options)
    except Exception as error:  # each codec has exceptions of its own
        why = str(error) or type(error).__name__
        raise ImageWriteError(name, f"cannot be encoded as {writer.format} ({why})") from error
    return buffer.getvalue()

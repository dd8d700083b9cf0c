"""The pixel boundary: files and uint8 on the outside, float tensors on the inside.

Outside, a picture is a `Picture`: ``(H, W, 3)`` uint8 sRGB, upright, with its alpha apart. Inside, an image
tensor is RGB, channels first, float, and nominally in [0, 1]. *Nominally*: a network or an optimizer may
overshoot, and only `to_uint8` clips and rounds.

Torch is imported by `from_uint8` alone, so that programs without it can read and write pictures too. The rest
of the package imports everything about pictures from here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fast_nst.io.color import log_once
from fast_nst.io.image_files import FORMATS, ImageReadError, check_size
from fast_nst.io.image_reader import EXTENSIONS, find_pictures, folders_to_enter, read_picture, read_size
from fast_nst.io.image_writer import ImageWriteError, can_write, check_target, keeps_alpha, write_picture
from fast_nst.io.pixels import (
    MAX_LEVEL,
    MAX_PIXELS,
    Levels,
    Metadata,
    Picture,
    check_rgb,
    fit,
    middle,
    over_white,
    resized,
)
from fast_nst.io.transparency import fill_hidden

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_LEVEL",
    "MAX_PIXELS",
    "ImageReadError",
    "ImageWriteError",
    "Levels",
    "Metadata",
    "Picture",
    "can_write",
    "check_size",
    "check_target",
    "fill_hidden",
    "find_pictures",
    "fit",
    "folders_to_enter",
    "from_uint8",
    "keeps_alpha",
    "load_image",
    "over_white",
    "read_picture",
    "read_size",
    "resized",
    "save_image",
    "to_uint8",
    "write_picture",
]


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


LONGEST = 4  # times as long as wide: what a picture may be that is resized by its shorter side


def load_image(
    path: str | Path, *, size: int | None = None, short_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> Tensor:
    """The picture on white, as ``(3, H, W)`` float32 in [0, 1], with its longer *or* shorter side resized.

    Resized by the shorter side, a long strip would have any number of pixels: of a picture that is more than
    `LONGEST` times as long as wide the middle is taken then, with a warning.
    """
    picture = read_picture(path, max_pixels=max_pixels)
    for note in picture.notes:
        log_once(f"{path}: {note}")
    if short_side is not None and (part := middle(picture, LONGEST)) is not picture:
        shape = f"{picture.width} x {picture.height} pixels"
        log_once(f"{path}: {shape} are more than {LONGEST} times as long as wide; the middle is used")
        picture = part
    return from_uint8(fit(Picture(over_white(picture)), size, shorter_side=short_side).rgb)


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

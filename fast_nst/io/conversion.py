"""What people hold pictures in, as a `Picture` and back: Pillow images, NumPy arrays, files."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fast_nst.errors import InputError
from fast_nst.io.image_reader import finished, read_picture
from fast_nst.io.pixels import Picture, to_pillow

__all__ = ["in_kind_of", "to_picture"]


def to_picture(value: object) -> Picture:
    """A picture from what people have.

    Args:
        value: a `Picture`; a Pillow image of any mode, turned upright and converted to sRGB as a file would
            be; an ``(H, W, 3)`` RGB uint8 array; or the path of a file.

    Raises:
        InputError: anything else, with what was found.
        ImageReadError: a file that cannot be read.
    """
    if isinstance(value, Picture):
        return value
    if isinstance(value, str | PathLike):
        return read_picture(Path(value))
    if isinstance(value, Image.Image):
        return finished(value.copy(), "the image")  # a copy: it is turned in place
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3 or value.size == 0:
            raise InputError(
                f"expected an (H, W, 3) uint8 array, RGB, got {value.dtype} of shape {value.shape}; "
                "floats in [0, 1] go in as a (3, H, W) tensor"
            )
        return Picture(value)
    raise InputError(
        "expected a Pillow image, an (H, W, 3) uint8 array, a path, a Picture, or a float tensor of shape "
        f"(3, H, W) or (B, 3, H, W), got {type(value).__name__}"
    )


def in_kind_of(value: object, picture: Picture) -> Any:
    """A picture in the kind that another came in: Pillow image, array or `Picture`.

    For a path it is a Pillow image: it can be shown and saved. Arrays have no alpha.
    """
    if isinstance(value, Picture):
        return picture
    if isinstance(value, np.ndarray):
        return picture.rgb
    return to_pillow(picture)

"""Pixels outside the network: `Picture`, 8-bit sRGB as people see it. Needs no torch.

The number 255 appears in this file and in no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fast_nst.errors import InputError
from fast_nst.io.limits import MAX_PIXELS
from fast_nst.io.transparency import fill_hidden

__all__ = [
    "MAX_LEVEL",
    "MAX_PIXELS",
    "Levels",
    "Metadata",
    "Picture",
    "check_rgb",
    "fit",
    "middle",
    "over_white",
    "resized",
    "to_pillow",
]

MAX_LEVEL = 255  # white in 8-bit files

Levels = NDArray[np.uint8]
"""8-bit values, 0 to 255; the shape is where it is used"""


@dataclass(frozen=True)
class Metadata:
    """What is carried from a picture to what is made of it; nothing else is."""

    artist: str | None = None
    copyright: str | None = None
    dpi: tuple[float, float] | None = None
    """pixels per inch, across and down"""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as people see them: sRGB, upright, 8 bit. The arrays may be read-only.

    Attributes:
        rgb: ``(H, W, 3)``, not multiplied by alpha.
        alpha: ``(H, W)``, 255 is opaque; ``None`` if the file had none (an opaque one is kept).
        metadata: artist, copyright and resolution of the file.
        notes: what a person should know about how the file was read, each one printable line.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    metadata: Metadata = Metadata()
    notes: tuple[str, ...] = ()

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


def middle(picture: Picture, longest: int) -> Picture:
    """The middle of a picture that is more than so many times as long as wide; else the same object."""
    limit = longest * min(picture.width, picture.height)
    if max(picture.width, picture.height) <= limit:
        return picture
    top, left = (max(0, (side - limit) // 2) for side in (picture.height, picture.width))
    part = slice(top, top + limit), slice(left, left + limit)
    alpha = None if picture.alpha is None else picture.alpha[part]
    return replace(picture, rgb=picture.rgb[part], alpha=alpha)


def resized(picture: Picture, width: int, height: int) -> Picture:
    """The picture at this size, as `fit` makes it; the same object if it has it already."""
    if (picture.width, picture.height) == (width, height):
        return picture
    image = to_pillow(picture).resize((width, height), Image.Resampling.LANCZOS)
    alpha = None if picture.alpha is None else np.asarray(image.getchannel("A"))
    return replace(picture, rgb=fill_hidden(np.asarray(image.convert("RGB")), alpha), alpha=alpha)


def to_pillow(picture: Picture) -> Image.Image:
    """The picture as a Pillow image in RGB or RGBA."""
    if picture.alpha is None:
        return Image.fromarray(picture.rgb)
    return Image.fromarray(np.dstack([picture.rgb, picture.alpha]))

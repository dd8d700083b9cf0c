"""Colors under transparent pixels, replaced by what surrounds them: nobody sees them, but a network would.

Pull and push over an image pyramid (Gortler et al. 1996, "The Lumigraph", section 3.4.4): averages weighted
by alpha are computed at ever coarser levels, then each level is completed from the next coarser one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["fill_hidden"]

# From this alpha up (6 %) a color is kept as it is; below, it is mixed with its surroundings.
_VISIBLE = 16
_ROWS = 256
_WHITE = np.iinfo(np.uint8).max

_Floats = NDArray[np.float32]


def fill_hidden(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """The colors of a picture with those that cannot be seen replaced by nearby visible ones.

    The result does not depend on the colors under alpha 0. Between 0 and `_VISIBLE` a color counts in
    proportion to its alpha. A fully transparent picture becomes white.

    Args:
        rgb: ``(H, W, 3)``, not multiplied by alpha; left unchanged.
        alpha: ``(H, W)``, or None for an opaque picture.

    Returns:
        ``(H, W, 3)``; `rgb` itself if nothing is hidden. About 12 bytes per pixel are used meanwhile.
    """
    if alpha is None or alpha.min() >= _VISIBLE:
        return rgb
    if not alpha.any():
        return np.full_like(rgb, _WHITE)
    height, width = alpha.shape
    coarse = _completed(_halved_levels(rgb, alpha))
    planes = [Image.fromarray(np.ascontiguousarray(coarse[..., channel])) for channel in range(3)]
    filled = rgb.copy()
    for top in range(0, height, _ROWS):
        rows = slice(top, min(top + _ROWS, height))
        if alpha[rows].min() < _VISIBLE:
            around = _enlarged(planes, rows, width)
            share = np.minimum(alpha[rows, :, None].astype(np.float32) / _VISIBLE, 1)
            filled[rows] = np.rint(around + share * (rgb[rows] - around))
    return filled


def _halved_levels(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> _Floats:
    """The first level of the pyramid, a band of rows at a time: see `_halved`."""
    height, width = alpha.shape
    level = np.empty(((height + 1) // 2, (width + 1) // 2, 4), np.float32)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        weight = alpha[rows, :, None].astype(np.float32) / _WHITE
        level[top // 2 : (top + _ROWS) // 2] = _halved(np.dstack([rgb[rows] * weight, weight]))
    return level


def _halved(level: _Floats) -> _Floats:
    """``(H, W, 4)`` weighted colors and weights at half the size, rounded up; weights saturate at 1."""
    height, width = level.shape[:2]
    even = np.pad(level, ((0, height % 2), (0, width % 2), (0, 0)))
    half: _Floats = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    half /= np.maximum(half[..., 3:], 1)
    return half


def _completed(level: _Floats) -> _Floats:
    """``(H, W, 3)`` colors of a level, completed from the next coarser one where its weights are under 1."""
    colors, weight = level[..., :3], level[..., 3:]
    if level.shape[:2] == (1, 1):
        return colors / weight  # some pixel is visible
    if weight.min() >= 1:
        return colors
    coarse = _completed(_halved(level))
    planes = [Image.fromarray(np.ascontiguousarray(coarse[..., channel])) for channel in range(3)]
    around = _enlarged(planes, slice(0, level.shape[0]), level.shape[1])
    around *= 1 - weight
    around += colors
    return around


def _enlarged(planes: list[Image.Image], rows: slice, width: int) -> _Floats:
    """Some rows of the planes at twice their size, bilinear, ``(rows, width, 3)``."""
    height = rows.stop - rows.start
    box = (0.0, rows.start / 2, width / 2, rows.stop / 2)
    size = (width, height)
    larger = (plane.resize(size, Image.Resampling.BILINEAR, box=box) for plane in planes)
    return np.stack([np.asarray(plane, np.float32) for plane in larger], axis=-1)

"""Controls over a stylized image: strength, stroke size, colors and a mask.

They work with any trained network, since they change what the network is given and what is made of its
result, not the network:

======== ============================ ======================================================================
control  range                        effect
======== ============================ ======================================================================
strength 0 to 1                       share of the stylized image in the result; 0 gives the content image
stroke   0.25 to 4                    size of the strokes; 2 makes them twice as large, at the same image size
colors   style, photo, match          of the style; chroma of the content image; mean and covariance of its
                                      colors
mask     (H, W), 0 to 255             where to stylize; values between blend
layers   styles with a mask each      over the first style, in this order, each where its mask is
======== ============================ ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fast_nst.config.controls import STROKES, Colors, ControlsConfig
from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL, Picture, over_white, read_picture, resized
from fast_nst.system.opencv import opencv

__all__ = [
    "Controls",
    "StyleLayer",
    "add_layers",
    "apply_controls",
    "load_controls",
    "load_mask",
    "match_colors",
    "upsample_with_detail",
    "with_chroma_of",
]

# Luma and chroma of ITU-R BT.601, as JPEG has them (JFIF 1.02); rows give Y, Cb and Cr of R, G, B.
_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32
)
_RGB = np.linalg.inv(_YCBCR).astype(np.float32)
_RADIUS = 4  # pixels of the reduced image over which it is compared with the content image
_EPSILON = 25.0  # levels squared: variance of the content image below which it has no edges
_BLOCK = 1 << 18  # pixels converted to floats at a time
_ONE = 1 << 12  # the whole of a blend, in integers


Network = Callable[[Picture, "Controls"], Picture]


@dataclass(frozen=True, eq=False)
class StyleLayer:
    """Another style over the first.

    Attributes:
        stylize: a picture under controls, which have no mask and no layers.
        mask: ``(H, W)`` uint8 of any size, stretched to the content image: where it is 255, this style is
            seen, where it is 0, what lies below.
    """

    stylize: Network
    mask: NDArray[np.uint8]

    def __post_init__(self) -> None:
        _check_mask(self.mask)


@dataclass(frozen=True, eq=False)
class Controls:
    """What is asked of a stylized image beyond its style; the defaults change nothing.

    Attributes:
        strength: share of the stylized image, from 0 to 1.
        stroke: size of the strokes relative to the network's own, from 0.25 to 4.
        colors: ``style``; ``photo``: luminance of the stylized image, chroma of the content image (Gatys et
            al. 2017, section 5.2); ``match``: the stylized image with mean and covariance of the content
            image's colors (ibid., section 5.1).
        mask: ``(H, W)`` uint8 of any size, stretched to the content image: 255 is stylized, 0 is not.
        layers: more styles, under the same strength, stroke size and colors.

    Raises:
        InputError: a value out of its range.
    """

    strength: float = 1.0
    stroke: float = 1.0
    colors: Colors = "style"
    mask: NDArray[np.uint8] | None = None
    layers: tuple[StyleLayer, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise InputError(f"strength goes from 0 to 1, got {self.strength}")
        if not STROKES[0] <= self.stroke <= STROKES[1]:
            raise InputError(f"stroke goes from {STROKES[0]} to {STROKES[1]:g}, got {self.stroke}")
        if self.colors not in ("style", "photo", "match"):
            raise InputError(f"colors must be style, photo or match, got {self.colors!r}")
        if self.mask is not None:
            _check_mask(self.mask)

    @property
    def are_default(self) -> bool:
        """Whether they change nothing."""
        neutral = (self.strength, self.stroke, self.colors) == (1.0, 1.0, "style")
        return neutral and self.mask is None and not self.layers


def _check_mask(mask: NDArray[np.uint8]) -> None:
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(f"expected a mask of shape (H, W) and uint8, got {mask.dtype} of {mask.shape}")


def load_controls(config: ControlsConfig) -> Controls:
    """The controls of a command, with their mask read; layers need an engine, see `open_controls`.

    Raises:
        ImageReadError: the mask cannot be read.
        InputError: a value out of its range.
    """
    mask = None if config.mask is None else load_mask(config.mask)
    return Controls(config.strength, config.stroke, config.colors, mask)


def load_mask(path: Path) -> NDArray[np.uint8]:
    """``(H, W)``, the luma of a picture on white.

    Raises:
        ImageReadError: it cannot be read.
    """
    return _levels(over_white(read_picture(path)).astype(np.float32) @ _YCBCR[0])


def apply_controls(stylize: Callable[[Picture], Picture], content: Picture, controls: Controls) -> Picture:
    """Stylize one picture under the controls.

    Args:
        stylize: the network alone; gives a picture of the size it is given.

    Returns:
        A picture of the content's size and alpha. Strength 0, and every pixel where the mask is 0, are the
        content image, bit for bit.
    """
    if controls.strength == 0:
        return content
    size = content.width, content.height
    seen = content
    if controls.stroke != 1:
        seen = resized(content, *(max(1, round(side / controls.stroke)) for side in size))
    rgb = stylize(seen).rgb
    if seen.height < content.height:
        rgb = upsample_with_detail(rgb, seen.rgb, content.rgb)
    elif rgb.shape != content.rgb.shape:
        rgb = resized(Picture(rgb), *size).rgb
    if controls.colors == "photo":
        rgb = with_chroma_of(rgb, content.rgb)
    elif controls.colors == "match":
        rgb = match_colors(rgb, content.rgb)
    return Picture(_blended(rgb, content.rgb, controls), content.alpha)


def add_layers(stylized: Picture, content: Picture, controls: Controls) -> Picture:
    """The controls' layers over a stylized picture; where all masks are 0 it stays, bit for bit."""
    rgb, plain = stylized.rgb, replace(controls, mask=None, layers=())
    for layer in controls.layers:
        above = layer.stylize(content, plain).rgb
        rgb = _blended(above, rgb, Controls(mask=layer.mask))
    return Picture(rgb, stylized.alpha)


def upsample_with_detail(
    stylized: NDArray[np.uint8], content: NDArray[np.uint8], full: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """A stylized image at a higher resolution, with the edges that the content image has there.

    Lanczos interpolation, and to it the luma that the content image lost when it was reduced, times the local
    slope of the stylized image over the content image: that of a guided filter (He, Sun and Tang 2013,
    equation 5). Where the style follows the content the edges come back; where it does not, the slope is
    near zero and nothing is added.

    Args:
        stylized, content: ``(h, w, 3)``, RGB, of one shape.
        full: ``(H, W, 3)``, the content image at the resolution wanted.

    Returns:
        ``(H, W, 3)``.
    """
    height, width = full.shape[:2]
    slope = np.clip(_guided_slope(content.astype(np.float32) @ _YCBCR[0], stylized.astype(np.float32)), 0, 1)
    cv = opencv()
    slope = cv.resize(slope, (width, height), interpolation=cv.INTER_LINEAR)
    up = resized(Picture(stylized), width, height).rgb
    blurred = resized(Picture(content), width, height).rgb
    out = np.empty_like(full)
    for rows in _row_blocks(full):
        detail = (full[rows].astype(np.float32) - blurred[rows]) @ _YCBCR[0]
        out[rows] = _levels(up[rows] + slope[rows] * detail[..., None])
    return out


def _guided_slope(guide: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Slope of the local linear regression of each channel of an image on a guide, ``(H, W, 3)``."""
    cv = opencv()

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        side = 2 * _RADIUS + 1
        found: NDArray[np.float32] = cv.blur(values, (side, side), borderType=cv.BORDER_REFLECT_101)
        return found

    mean_guide = mean(guide)
    variance = mean(guide * guide) - mean_guide**2
    covariance = mean(guide[..., None] * image) - mean_guide[..., None] * mean(image)
    slope: NDArray[np.float32] = covariance / (variance + _EPSILON)[..., None]
    return mean(slope)


def with_chroma_of(stylized: NDArray[np.uint8], content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luminance of one image with the chroma of another (Gatys et al. 2017, section 5.2).

    Args:
        stylized, content: ``(H, W, 3)``, RGB, of one shape.

    Returns:
        ``(H, W, 3)``. Where the luminance leaves no room for the chroma, the chroma is reduced and not the
        channels clipped, which would change the hue.
    """
    out = np.empty_like(stylized)
    for rows in _row_blocks(stylized):
        luma = stylized[rows].astype(np.float32) @ _YCBCR[0]
        chroma = content[rows].astype(np.float32) @ _YCBCR[1:].T @ _RGB[:, 1:].T
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(chroma > 0, (MAX_LEVEL - luma)[..., None], luma[..., None]) / np.abs(chroma)
        share = np.minimum(np.nan_to_num(room, nan=1.0, posinf=1.0).min(axis=2, keepdims=True), 1.0)
        out[rows] = _levels(luma[..., None] + share * chroma)
    return out


def match_colors(stylized: NDArray[np.uint8], content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image with the mean and covariance of another one's colors (Gatys et al. 2017, equations 10 and 11).

    Args:
        stylized, content: ``(H, W, 3)``, RGB.
    """
    (mean, covariance), (wanted_mean, wanted) = _color_moments(stylized), _color_moments(content)
    matrix = _power(wanted, 0.5) @ _power(covariance, -0.5)
    offset = (wanted_mean - matrix @ mean).astype(np.float32)
    matrix = matrix.astype(np.float32)
    out = np.empty_like(stylized)
    for rows in _row_blocks(stylized):
        out[rows] = _levels(stylized[rows].astype(np.float32) @ matrix.T + offset)
    return out


def _color_moments(image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean ``(3,)`` and covariance ``(3, 3)`` of an image's colors, in levels."""
    count, total, square = image.shape[0] * image.shape[1], np.zeros(3), np.zeros((3, 3))
    for rows in _row_blocks(image):
        block = image[rows].reshape(-1, 3).astype(np.float64)
        total += block.sum(0)
        square += block.T @ block
    mean = total / count
    return mean, square / count - np.outer(mean, mean)


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """A power of a symmetric matrix; variances under one level, of flat images, count as one."""
    values, vectors = np.linalg.eigh(matrix)
    powered: NDArray[np.float64] = (vectors * np.maximum(values, 1.0) ** exponent) @ vectors.T
    return powered


def _blended(
    stylized: NDArray[np.uint8], content: NDArray[np.uint8], controls: Controls
) -> NDArray[np.uint8]:
    """Mixed by strength and mask, in integers, so that the ends are exact."""
    if controls.strength == 1 and controls.mask is None:
        return stylized
    height, width = content.shape[:2]
    share = np.full((height, width), round(controls.strength * _ONE), np.int32)
    if controls.mask is not None:
        cv = opencv()
        mask = cv.resize(controls.mask, (width, height), interpolation=cv.INTER_LINEAR).astype(np.int32)
        share = (share * mask + MAX_LEVEL // 2) // MAX_LEVEL
    out = np.empty_like(content)
    for rows in _row_blocks(content):
        weight = share[rows][..., None]
        mixed = stylized[rows] * weight + content[rows] * (_ONE - weight) + _ONE // 2
        out[rows] = mixed // _ONE
    return out


def _levels(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.clip(np.rint(values), 0, MAX_LEVEL).astype(np.uint8)
    return levels


def _row_blocks(image: NDArray[np.uint8]) -> Iterator[slice]:
    """Slices of rows, few enough at a time that their floats stay in the caches."""
    rows = max(1, _BLOCK // image.shape[1])
    for top in range(0, image.shape[0], rows):
        yield slice(top, top + rows)

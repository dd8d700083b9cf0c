"""Pictures as the optimizer needs them: resized, filtered, and to begin with.

Every image is ``(3, H, W)``, RGB, float in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.config.optimize import Start

__all__ = ["fit_longer", "median_filter", "resize", "starting_picture"]


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """The image at that size, antialiased bicubic, without the overshoot; the same object if it has it."""
    if image.shape[-2:] == (height, width):
        return image
    scaled = F.interpolate(image[None], (height, width), mode="bicubic", antialias=True, align_corners=False)
    return scaled[0].clamp(0, 1)


def fit_longer(image: Tensor, longer_side: int) -> Tensor:
    """The image with its longer side so many pixels, its aspect ratio kept."""
    height, width = image.shape[-2:]
    longest = max(height, width)
    return resize(image, *(max(1, round(side * longer_side / longest)) for side in (height, width)))


def _cover(image: Tensor, height: int, width: int) -> Tensor:
    """The image's center, scaled until it covers that size, without a change of its aspect ratio."""
    factor = max(height / image.shape[-2], width / image.shape[-1])
    high, wide = (
        max(least, round(side * factor))
        for side, least in zip(image.shape[-2:], (height, width), strict=True)
    )
    top, left = (high - height) // 2, (wide - width) // 2
    return resize(image, high, wide)[:, top : top + height, left : left + width].contiguous()


def starting_picture(start: Start, photo: Tensor, painting: Tensor, seed: int) -> Tensor:
    """What the descent begins with, of the photograph's size: uniform white noise, or one of the two."""
    if start == "photo":
        return photo.clone()
    if start == "painting":
        return _cover(painting, *photo.shape[-2:]).clone()
    # Drawn on the CPU, so that a seed is the same noise on every device.
    return torch.rand(photo.shape, generator=torch.Generator().manual_seed(seed)).to(photo.device)


def median_filter(image: Tensor) -> Tensor:
    """Each value is the median of the 3 x 3 around it; the border is repeated outwards."""
    height, width = image.shape[-2:]
    padded = F.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    around = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return torch.stack(around).median(dim=0).values

"""Images for the optimizer: resizing, the starting image, and a median filter.

Every image is ``(3, H, W)``, RGB, float in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.config.optimize import Start

__all__ = ["fit_longer", "median_filter", "resize", "starting_image"]


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resize, antialiased bicubic, clamped to [0, 1]; returns the same object if the size is unchanged."""
    if image.shape[-2:] == (height, width):
        return image
    scaled = F.interpolate(image[None], (height, width), mode="bicubic", antialias=True, align_corners=False)
    return scaled[0].clamp(0, 1)


def fit_longer(image: Tensor, longer_side: int) -> Tensor:
    """Resize to a longer side in pixels, keeping the aspect ratio."""
    height, width = image.shape[-2:]
    longest = max(height, width)
    return resize(image, *(max(1, round(side * longer_side / longest)) for side in (height, width)))


def _cover(image: Tensor, height: int, width: int) -> Tensor:
    """Scale the image to cover a size, keeping the aspect ratio, and crop the center."""
    factor = max(height / image.shape[-2], width / image.shape[-1])
    high, wide = (
        max(least, round(side * factor))
        for side, least in zip(image.shape[-2:], (height, width), strict=True)
    )
    top, left = (high - height) // 2, (wide - width) // 2
    return resize(image, high, wide)[:, top : top + height, left : left + width].contiguous()


def starting_image(start: Start, content_image: Tensor, style_image: Tensor, seed: int) -> Tensor:
    """The starting image at the content image's size: uniform white noise, or one of the two images."""
    if start in ("content", "photo"):
        return content_image.clone()
    if start in ("style", "painting"):
        return _cover(style_image, *content_image.shape[-2:]).clone()
    # Drawn on the CPU, so that a seed gives the same noise on every device.
    return torch.rand(content_image.shape, generator=torch.Generator().manual_seed(seed)).to(
        content_image.device
    )


def median_filter(image: Tensor) -> Tensor:
    """Each value is the median of the 3 x 3 around it; the border is replicated."""
    height, width = image.shape[-2:]
    padded = F.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    around = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return torch.stack(around).median(dim=0).values

"""Reflection padding of an image before a network sees it. Plain numbers: nothing here imports torch.

A style's network halves the image twice and gives it back at its own size, for every size from 1 x 1: the
image is padded by reflection on the right and at the bottom, and the result cropped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import GalleryNetConfig, NetworkConfig, UpscaleNetConfig

__all__ = [
    "MIN_SIZE",
    "AnyConfig",
    "Padding",
    "least_size",
    "padding_of",
    "reflected_indices",
    "size_multiple",
]

STRIDE = 4  # the network halves the image twice
MIN_SIZE = 8  # below it the residual blocks would see a single position, whose instance norm is zero
# Each unpadded block takes 2 positions from each side at a quarter of the size; five take the 40 pixels of
# reflection padding in table 1 of the supplementary material of Johnson et al. 2016.
MARGIN_PER_BLOCK = 8


AnyConfig = NetworkConfig | UpscaleNetConfig | GalleryNetConfig


class Padding(NamedTuple):
    """Pixels added on each side."""

    left: int
    right: int
    top: int
    bottom: int


def padding_of(config: AnyConfig, height: int, width: int) -> Padding:
    """What the network of this config needs around a picture of ``height`` x ``width``, both at least 1."""
    paper = not isinstance(config, GalleryNetConfig) and config.padding == "paper"
    margin = MARGIN_PER_BLOCK * config.blocks if paper else 0
    stride = size_multiple(config)
    least = least_size(config)
    bottom, right = (max(least, -(-size // stride) * stride) - size for size in (height, width))
    return Padding(margin, margin + right, margin, margin + bottom)


def size_multiple(config: AnyConfig) -> int:
    """What the sides of an extended picture are multiples of."""
    if isinstance(config, GalleryNetConfig):
        return config.stride
    return STRIDE if isinstance(config, NetworkConfig) and config.alignment == "pad" else 1


def least_size(config: AnyConfig) -> int:
    """The least side of an extended picture: two positions at the lowest resolution."""
    return max(MIN_SIZE, 2 * size_multiple(config))


def reflected_indices(size: int, before: int, after: int) -> NDArray[np.int64]:
    """Source positions of reflection padding along one side: ``before + size + after`` indices.

    By any amount, also by more than there is to reflect: the reflection is then reflected again.
    """
    period = max(2 * (size - 1), 1)
    index = np.arange(-before, size + after) % period
    return np.minimum(index, np.where(size > 1, period - index, 0))

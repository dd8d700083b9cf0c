"""Reflection padding of an image before a network sees it. Plain numbers: nothing here imports torch.

A style's network halves the image twice and gives it back at its own size, for every size from 1 x 1: the
image is padded by reflection on the right and at the bottom, and the result cropped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import NetworkConfig, UpscaleNetConfig

__all__ = ["MIN_SIZE", "Padding", "padding_of", "reflected_indices", "size_multiple"]

STRIDE = 4  # the network halves the image twice
MIN_SIZE = 8  # below it the residual blocks would see a single position, whose instance norm is zero
# Each unpadded block takes 2 positions from each side at a quarter of the size; five take the 40 pixels of
# reflection padding in table 1 of the supplementary material of Johnson et al. 2016.
MARGIN_PER_BLOCK = 8


class Padding(NamedTuple):
    """Pixels added on each side."""

    left: int
    right: int
    top: int
    bottom: int


def padding_of(config: NetworkConfig | UpscaleNetConfig, height: int, width: int) -> Padding:
    """What the network of this config needs around an image of ``height`` x ``width``, both at least 1."""
    margin = MARGIN_PER_BLOCK * config.blocks if config.padding == "paper" else 0
    stride = size_multiple(config)
    bottom, right = (max(MIN_SIZE, -(-size // stride) * stride) - size for size in (height, width))
    return Padding(margin, margin + right, margin, margin + bottom)


def size_multiple(config: NetworkConfig | UpscaleNetConfig) -> int:
    """What the sides of a padded image are multiples of."""
    return STRIDE if isinstance(config, NetworkConfig) and config.alignment == "pad" else 1


def reflected_indices(size: int, before: int, after: int) -> NDArray[np.int64]:
    """Source positions of reflection padding along one side: ``before + size + after`` indices.

    By any amount, also by more than there is to reflect: the reflection is then reflected again.
    """
    period = max(2 * (size - 1), 1)
    index = np.arange(-before, size + after) % period
    return np.minimum(index, np.where(size > 1, period - index, 0))

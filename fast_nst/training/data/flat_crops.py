"""Flat, nearly flat, two-tone and gradient pictures in the place of some crops.

A network that has seen photographs alone makes something nearly black of a picture of one color, such as a
white frame in a video. Which crops are replaced, and by what, is a pure function of the seed, as in
`sampling`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fast_nst.io.images import MAX_LEVEL
from fast_nst.training.data.sampling import random_words

__all__ = ["flat_crop", "with_grain"]

_WORD = 2.0**64
NEARLY = 6.0  # levels from one side of a nearly flat picture to the other, at most
FLAT = 0.5  # standard deviation of a crop that gets grain, levels
GRAIN = 2  # levels either way; a camera's noise is 1 to 5


def flat_crop(seed: int, epoch: int, index: int, size: int, share: float) -> NDArray[np.uint8] | None:
    """The picture in the place of a photograph's crop, ``(3, size, size)`` uint8; None for most crops.

    Args:
        share: of the crops that are replaced, 0 to 1.
    """
    if not share:
        return None
    chance, *shares = (int(word) / _WORD for word in random_words(seed, (2, epoch, index), 11))
    if chance >= share:
        return None
    kind, extreme, angle, edge = int(4 * shares[0]), shares[1], 2 * np.pi * shares[2], 0.2 + 0.6 * shares[3]
    first, second = np.array(shares[4:7]) * MAX_LEVEL, np.array(shares[7:10]) * MAX_LEVEL
    if extreme < 0.25:  # white and black, the commonest of all
        first = np.full(3, MAX_LEVEL if extreme < 0.125 else 0, np.float64)
    if kind == 0:
        second = first
    elif kind == 1:
        second = first + (second / MAX_LEVEL - 0.5) * 2 * NEARLY
    rows, columns = np.mgrid[0:size, 0:size] / max(1, size - 1) - 0.5
    along = 0.5 + (rows * np.sin(angle) + columns * np.cos(angle)) / np.sqrt(2)
    place = (along > edge).astype(np.float64) if kind == 2 else along
    values = first[:, None, None] + (second - first)[:, None, None] * place
    made: NDArray[np.uint8] = np.rint(values.clip(0, MAX_LEVEL)).astype(np.uint8)
    return made


def with_grain(crop: NDArray[np.uint8], seed: int, epoch: int, index: int) -> NDArray[np.uint8]:
    """The crop, with faint noise if it is of one color, as overexposed skies and flat pictures are.

    In a map without deviation an instance norm multiplies gradients by the root of 1 / epsilon, 316; after
    fifteen norms they are beyond fp32, and nothing could be learned from the batch.

    Args:
        crop: ``(3, H, W)`` uint8.
    """
    # A sample decides for nearly all: many times faster than the deviation of the whole crop.
    if np.ptp(crop[:, ::16, ::16].reshape(3, -1), axis=1).max() > 4 * FLAT:
        return crop
    if np.sqrt(crop.reshape(3, -1).var(axis=1).mean()) >= FLAT:
        return crop
    words = random_words(seed, (4, epoch, index), -(-crop.size // 8))
    noise = (words.view(np.uint8)[: crop.size] % (2 * GRAIN + 1)).astype(np.int16) - GRAIN
    grained: NDArray[np.uint8] = (crop + noise.reshape(crop.shape)).clip(0, MAX_LEVEL).astype(np.uint8)
    return grained

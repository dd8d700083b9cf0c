"""Which photographs a step trains on and which part of each: pure functions of the seed.

The order of an epoch depends on (seed, epoch), a crop and its mirroring on (seed, epoch, photograph). So the
number of threads, the cache, and the step a run starts from change nothing, and resuming costs nothing.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Crop", "Sample", "batch_indices", "crop_of", "rows_of", "sample_order", "window_side"]


@dataclass(frozen=True)
class Sample:
    """One photograph of one epoch."""

    epoch: int
    index: int


class Crop(NamedTuple):
    """Where a crop begins, and whether it is mirrored."""

    top: int
    left: int
    flip: bool


def random_words(seed: int, key: tuple[int, ...], count: int) -> NDArray[np.uint64]:
    """Random 64-bit words. Raw ones: numpy promises to keep their stream, but not that of `Generator`."""
    philox = np.random.Philox(np.random.SeedSequence(seed, spawn_key=key))
    words: NDArray[np.uint64] = philox.random_raw(count)
    return words


@functools.lru_cache(maxsize=4)  # the epoch a run is in, and the next, for two runs in one process
def sample_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The photographs of an epoch, each once: a permutation of ``range(count)``. Read-only."""
    order = np.argsort(random_words(seed, (0, epoch), count), kind="stable")
    order.flags.writeable = False
    return order


def batch_indices(seed: int, step: int, batch_size: int, count: int) -> list[Sample]:
    """What the global step (from 0) trains on. The stream runs through all epochs without dropping a tail."""
    places = (divmod(step * batch_size + i, count) for i in range(batch_size))
    return [Sample(epoch, int(sample_order(seed, epoch, count)[place])) for epoch, place in places]


def crop_of(seed: int, epoch: int, index: int, height: int, width: int, size: int) -> Crop:
    """A square of `size` somewhere in a photograph of ``height`` x ``width``, mirrored every other time."""
    down, right, flip = (int(word) for word in random_words(seed, (1, epoch, index), 3))
    return Crop(down % (height - size + 1), right % (width - size + 1), flip >> 63 == 1)


def window_side(
    seed: int, epoch: int, index: int, short: int, *, size: int, photo_size: int, zoom: float
) -> int:
    """Side of the square that a crop of `size` shows of a photograph with this short side, pixels.

    Args:
        photo_size: a photograph of this short side shows a whole scene in a crop.
        zoom: up to so many times less is shown, uniformly in its logarithm; 1: never.
    """
    if zoom == 1:
        return size
    share = int(random_words(seed, (3, epoch, index), 1)[0]) / 2.0**64
    scene = size * max(1.0, short / photo_size)
    return min(short, max(8, round(scene * math.pow(zoom, -share))))


def rows_of(seed: int, step: int, batch_size: int, rows: int) -> list[int]:
    """The style row of each image of the global step (from 0): every row once before any comes again."""
    places = (divmod(step * batch_size + i, rows) for i in range(batch_size))
    return [int(_row_order(seed, turn, rows)[place]) for turn, place in places]


@functools.lru_cache(maxsize=4)
def _row_order(seed: int, turn: int, rows: int) -> NDArray[np.int64]:
    return np.argsort(random_words(seed, (2, turn), rows), kind="stable")

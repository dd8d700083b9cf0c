"""A picture of nothing with the statistics of a photograph, for what needs a content image of its own."""

from __future__ import annotations

import functools

import numpy as np

from fast_nst.io.images import MAX_LEVEL, Levels
from fast_nst.system.opencv import opencv

__all__ = ["reference_picture"]

# Of photographs: mean and deviation of their values, and how much less saturated than noise they are.
MEAN, DEVIATION, SATURATION = 0.45, 0.24, 0.55


@functools.lru_cache(maxsize=2)
def reference_picture(height: int, width: int) -> Levels:
    """``(height, width, 3)`` uint8: smooth shapes of all sizes, with the statistics of a photograph."""
    random = np.random.Philox(0)
    total = np.zeros((height, width, 3), np.float32)
    for cells in (2, 4, 8, 16, 32, 64):  # each size at the amplitude that it has in photographs
        shape = cells + 1, max(2, round(cells * width / height) + 1), 3
        words = random.random_raw(shape[0] * shape[1] * 3).reshape(shape)
        noise = (words / 2.0**64 - 0.5).astype(np.float32)
        gray = noise.mean(axis=2, keepdims=True)
        noise = np.sqrt(3.0) * gray + SATURATION * (noise - gray)
        cv = opencv()
        total += cv.resize(noise, (width, height), interpolation=cv.INTER_CUBIC) / np.sqrt(cells)
    values = (total - total.mean()) / total.std() * DEVIATION + MEAN
    made: Levels = np.rint(values.clip(0, 1) * MAX_LEVEL).astype(np.uint8)
    made.flags.writeable = False
    return made

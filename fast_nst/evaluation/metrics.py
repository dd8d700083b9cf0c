"""PSNR and SSIM as measured for super-resolution.

On the luma of ITU-R BT.601 in studio range, 16 to 235, excluding border pixels, for which a method lacks
context: as in Johnson et al. 2016, section 4.2. scikit-image has both, and the tests compare with it.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fast_nst.io.images import MAX_LEVEL, Levels

__all__ = ["WINDOW", "luma", "psnr", "ssim"]

Array = NDArray[np.float64]
# Wang et al. 2004: a Gaussian window of 11 x 11 with a standard deviation of 1.5, and two small constants
# that keep flat parts of a picture from dividing by zero.
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * MAX_LEVEL) ** 2, (0.03 * MAX_LEVEL) ** 2


def luma(picture: Levels, border: int = 0) -> Array:
    """``(H, W, 3)`` levels to ``(H, W)`` brightness from 16 to 235, without `border` pixels at each side."""
    y: Array = 16 + picture.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / MAX_LEVEL
    return y[border : len(y) - border, border : y.shape[1] - border]


def psnr(first: Array, second: Array) -> float:
    """Peak signal to noise ratio of two `luma`, decibels; infinite for equal ones."""
    error = float(np.square(first - second).mean())
    return float(10 * np.log10(MAX_LEVEL**2 / error)) if error else float("inf")


def ssim(first: Array, second: Array) -> float:
    """Structural similarity of two `luma`, at most 1: the mean over all windows that lie within.

    Raises:
        ValueError: no window fits.
    """
    if min(first.shape) < WINDOW:
        raise ValueError(f"a window of {WINDOW} does not fit into {first.shape}")
    mean1, mean2 = _windowed(first), _windowed(second)
    var1, var2 = _windowed(first**2) - mean1**2, _windowed(second**2) - mean2**2
    both = _windowed(first * second) - mean1 * mean2
    alike = (2 * mean1 * mean2 + C1) * (2 * both + C2)
    return float((alike / ((mean1**2 + mean2**2 + C1) * (var1 + var2 + C2))).mean())


def _windowed(values: Array) -> Array:
    """Means under the window wherever it lies within."""
    taps = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        values = sliding_window_view(values, WINDOW, axis=axis) @ taps
    return values

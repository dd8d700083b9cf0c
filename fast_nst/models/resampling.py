"""Blur, downsampling and bicubic upsampling as matrices: the data and the baseline of super-resolution.

All three are linear and separable, so a side of n pixels has one small matrix for each, made once. An image
becomes ``A @ image @ B.T``; nothing here depends on the rounding of a library.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from fast_nst.io.images import MAX_LEVEL, Levels

__all__ = ["BLUR", "bicubic_kernel", "downsample", "downsampling_matrix", "upsample", "upsampling_matrix"]

Array = NDArray[np.float32]
# Johnson et al. 2016, section 4.2, blur and then interpolate. What they interpolate with does not widen its
# kernel when it downsamples, as their framework's did not: with one that does, their bicubic rows are not
# reproduced; docs/benchmarks.md has the figures of both.
BLUR = 1.0
REACH = 4  # standard deviations that the Gaussian is cut off at


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel of 1981 with a = -1/2, that of Matlab and Pillow; 0 from a distance of 2 on."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def bicubic_kernel(factor: int) -> Array:
    """``(factor², 5, 5)``: weights of the 5 x 5 input pixels around each pixel of an upsampled cell."""
    offsets = (np.arange(factor) + 0.5) / factor - 0.5
    taps = _cubic(offsets[:, None] - np.arange(-2, 3))  # (factor, 5)
    return _read_only(np.einsum("ia,jb->ijab", taps, taps).reshape(factor**2, 5, 5))


def _blur(size: int, sigma: float) -> NDArray[np.float64]:
    reach = round(REACH * sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return _matrix(np.arange(size)[:, None] + np.arange(-reach, reach + 1), taps / taps.sum(), size)


def _matrix(places: NDArray[np.int64], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """``(rows, size)`` from weights at positions that may lie beyond the ends, which are mirrored."""
    folded = places % (2 * size)
    folded = np.minimum(folded, 2 * size - 1 - folded)
    matrix = np.zeros((len(places), size))
    rows = np.broadcast_to(np.arange(len(places))[:, None], places.shape)
    np.add.at(matrix, (rows, folded), np.broadcast_to(weights, places.shape))
    return matrix


def _interpolation(size: int, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values between the pixels, each from its four neighbors."""
    places = np.floor(positions).astype(np.int64)[:, None] + np.arange(-1, 3)
    return _matrix(places, _cubic(positions[:, None] - places), size)


@functools.lru_cache(maxsize=64)
def downsampling_matrix(size: int, factor: int) -> Array:
    """``(size / factor, size)``: Gaussian blur of `BLUR` pixels, then interpolation."""
    positions = (np.arange(size // factor) + 0.5) * factor - 0.5
    return _read_only(_interpolation(size, positions.astype(np.float64)) @ _blur(size, BLUR))


@functools.lru_cache(maxsize=64)
def upsampling_matrix(size: int, factor: int) -> Array:
    """``(size * factor, size)``: bicubic interpolation."""
    return _read_only(_interpolation(size, (np.arange(size * factor) + 0.5) / factor - 0.5))


def _read_only(matrix: NDArray[np.float64]) -> Array:
    single = matrix.astype(np.float32)
    single.flags.writeable = False  # shared by all callers
    return single


def downsample(crop: Levels, factor: int) -> Levels:
    """``(3, H, W)`` levels at high resolution to ``(3, H / factor, W / factor)``, rounded, as in a file.

    H and W are multiples of the factor.
    """
    _, height, width = crop.shape
    return _levels(
        downsampling_matrix(height, factor) @ crop.astype(np.float32) @ downsampling_matrix(width, factor).T
    )


def upsample(crop: Levels, factor: int) -> Levels:
    """``(3, H, W)`` levels, ``factor`` times higher and wider by bicubic interpolation, rounded."""
    _, height, width = crop.shape
    return _levels(
        upsampling_matrix(height, factor) @ crop.astype(np.float32) @ upsampling_matrix(width, factor).T
    )


def _levels(values: Array) -> Levels:
    return np.clip(np.rint(values), 0, MAX_LEVEL).astype(np.uint8)

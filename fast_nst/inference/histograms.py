"""Histogram matching: an upscaled picture gets the colors of the picture it was made from.

Johnson et al. 2016, section 4.2, do so for networks trained on features, which say little about flat colors.
The tests compare with scikit-image, which would be a core dependency for this function alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fast_nst.io.images import MAX_LEVEL, Levels

__all__ = ["match_histogram"]


def match_histogram(picture: Levels, reference: Levels) -> Levels:
    """``(H, W, 3)`` levels whose colors each occur as often as in the reference, of any size.

    Each channel's levels go through one rising curve: the levels of equal rank in the reference.
    """
    matched = np.empty_like(picture)
    for channel in range(3):
        matched[..., channel] = _curve(picture[..., channel], reference[..., channel])[picture[..., channel]]
    return matched


def _curve(picture: Levels, reference: Levels) -> Levels:
    """For each level the one that replaces it."""
    ranks, wanted = (_ranks(plane) for plane in (picture, reference))
    there = np.flatnonzero(np.bincount(reference.ravel(), minlength=MAX_LEVEL + 1))
    curve = np.interp(ranks, wanted[there], there)
    return np.rint(curve).astype(np.uint8)


def _ranks(plane: Levels) -> NDArray[np.float64]:
    """For each level the share of pixels that are no brighter."""
    counts = np.bincount(plane.ravel(), minlength=MAX_LEVEL + 1)
    return np.cumsum(counts) / plane.size

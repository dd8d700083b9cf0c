"""Stylize an image of any size in row bands: `streaming` with the pixel boundary on both sides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.inference.engine.backends.base import not_finite
from fast_nst.inference.engine.folded_net import FoldedNet, is_finite
from fast_nst.inference.tiled.feature_store import FeatureStore
from fast_nst.inference.tiled.memory_budget import BandPlan
from fast_nst.inference.tiled.streaming import stream
from fast_nst.io.images import from_uint8, to_uint8

__all__ = ["stylize_in_bands"]


def stylize_in_bands(
    network: FoldedNet,
    rgb: NDArray[np.uint8],
    planned: BandPlan,
    *,
    progress: Callable[[float], None] = lambda share: None,
    spare: dict[int, list[Tensor]] | None = None,
) -> NDArray[np.uint8]:
    """Stylize ``(H, W, 3)`` RGB uint8 a band at a time: the same shape, clipped and rounded.

    Args:
        progress: called with the share that is done, from 0 to 1.
        spare: see `FeatureStore`.

    Raises:
        InputError: the result holds NaN or infinity, as fp16 can overflow; or there is no room on the disk.
    """
    if network.device.type != "cpu":
        torch.get_device_module(network.device).empty_cache()
    stylized = np.empty_like(rgb)
    top = 0
    with FeatureStore(planned.maps, spare) as store:
        for band in stream(
            network,
            lambda first, last: from_uint8(rgb[first:last]),
            (rgb.shape[0], rgb.shape[1]),
            rows=planned.rows,
            store=store,
            progress=progress,
        ):
            if not is_finite(band):
                raise not_finite(network.precision)
            levels = to_uint8(band[0])
            stylized[top : top + len(levels)] = levels
            top += len(levels)
    return stylized

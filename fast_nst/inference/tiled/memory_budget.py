"""Memory that stylizing takes, and how an image is cut into row bands that take less. No torch is needed."""

from __future__ import annotations

from dataclasses import dataclass

from fast_nst.config import GalleryNetConfig, NetworkConfig
from fast_nst.errors import InputError
from fast_nst.serialization import show_bytes

StyleConfig = NetworkConfig | GalleryNetConfig

__all__ = ["BandPlan", "StyleConfig", "plan_bands", "whole_bytes"]

BYTES = 4  # of a value
# What streaming in bands holds besides its maps, as `benchmarks/peak.py` measures it: in rows of bands and of
# what is held above them, and what the convolutions' library and the allocator add to bands of any size. A
# network without instance norms runs in a single pass, with a band at every layer.
BAND = {"instance": 14.0, "batch": 26.0}
FIXED = 60_000_000
# BandProgress of this many pixels are the quickest: smaller ones are many, larger ones leave the caches.
BAND_PIXELS = 1 << 16
LEAST_ROWS = 8  # so that the rows above them, held for the kernels, are not most of the work


@dataclass(frozen=True)
class BandPlan:
    """How a picture is streamed within a limit."""

    rows: int
    """of a band"""
    maps: int | None
    """bytes of maps that may stay in memory; None: all"""


def _channels(config: StyleConfig) -> float:
    """As many channels at full size take the memory of the largest maps."""
    if isinstance(config, GalleryNetConfig):
        return max(8.0, config.widths[0] / 2)  # nothing but the picture has the full size
    return max(config.widths[0], config.widths[1] / 2)


def whole_bytes(config: StyleConfig, height: int, width: int, maps: float) -> int:
    """Estimated bytes to stylize an image in one piece, besides the image and the result.

    Args:
        maps: of the engine, see `Backend`.
    """
    return int(height * width * BYTES * (maps * _channels(config) + 6))


def plan_bands(config: StyleConfig, height: int, width: int, memory: int | None) -> BandPlan:
    """The bands and the maps that fit into `memory` bytes, the picture and the result not counted.

    Raises:
        InputError: not even the smallest bands do.
    """
    rows = max(LEAST_ROWS, BAND_PIXELS // width)
    if memory is None:
        return BandPlan(rows, None)
    norm = "instance" if isinstance(config, GalleryNetConfig) else config.norm
    a_row = BAND[norm] * BYTES * width * _channels(config)
    reach = 8  # rows that the last convolution holds besides those of its band
    rows = min(rows, int((memory - FIXED) / a_row) - reach)
    if rows < 1:
        needed = show_bytes(FIXED + (reach + 1) * a_row - memory)
        raise InputError(
            f"{width} x {height} pixels do not fit into the memory allowed: the smallest bands need "
            f"{needed} more; give more --memory or a smaller --size"
        )
    return BandPlan(rows, max(0, int(memory - FIXED - (rows + reach) * a_row)))

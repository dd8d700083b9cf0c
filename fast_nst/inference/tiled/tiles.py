"""Upscale images of any size in little memory: tile by tile, with the result of the whole image.

Without instance norm a pixel of the result depends on its surroundings only as far as convolutions reach. So
each tile goes through the network with so much of the picture around it, and that part of the result is cut
off; at the picture's own borders there is none, and the network does there what it always does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from fast_nst.config import UpscaleNetConfig
from fast_nst.errors import InputError
from fast_nst.io.images import Levels
from fast_nst.models.padding import MIN_SIZE
from fast_nst.serialization import show_bytes

__all__ = ["reach_of", "tile_side", "upscale_in_tiles", "whole_bytes"]

BYTES = 4  # of a value
# What upscaling takes, as `benchmarks/peak.py` measures it for x4 and x8, and some more.
FIXED = 150_000_000  # what the convolutions' library and the allocator take besides
MAPS = 5  # of the network's width that are held at once, at the small size
LARGE = 2.5  # maps of the network's width, or pictures, at the large size
LARGEST, SMALLEST = 512, 8  # sides of tiles, pixels; larger ones are no quicker


def reach_of(config: UpscaleNetConfig) -> int:
    """How many pixels away from its own cell a pixel of the result still depends on the picture.

    At least as many as the least the network takes, so that no tile has to be extended for it.
    """
    reach = config.kernel // 2 + 2 * config.blocks
    if config.upsample == "shuffle":
        reach += 1
    else:  # each upsampling reaches one position, of maps that become finer and finer
        reach += 2 + math.ceil((config.kernel // 2) / config.factor)
    return max(reach, MIN_SIZE)


def whole_bytes(config: UpscaleNetConfig, height: int, width: int) -> int:
    """About what a picture of this size takes in one piece, besides itself and the result."""
    narrowest = config.width // config.factor if config.narrowing else config.width
    large = 3 if config.upsample == "shuffle" else narrowest
    cell = MAPS * config.width + LARGE * config.factor**2 * large
    return int(BYTES * cell * height * width)


def tile_side(config: UpscaleNetConfig, memory: int | None) -> int:
    """The side of tiles, without their surroundings, that fit into so many bytes.

    Raises:
        InputError: not even the smallest do.
    """
    around = 2 * reach_of(config)
    if memory is None:
        return LARGEST
    side = math.isqrt(max(0, memory - FIXED) // whole_bytes(config, 1, 1)) - around
    if side < SMALLEST:
        least = FIXED + whole_bytes(config, around + SMALLEST, around + SMALLEST)
        raise InputError(
            "the result and the smallest tiles do not fit into the memory allowed: "
            f"{show_bytes(least - memory)} more are needed; give more --memory"
        )
    return min(side, LARGEST)


def upscale_in_tiles(
    enlarge: Callable[[Levels], Levels],
    rgb: Levels,
    *,
    factor: int,
    reach: int,
    side: int,
    progress: Callable[[float], None],
) -> Levels:
    """``(H, W, 3)`` levels, ``factor`` times as high and wide.

    Args:
        enlarge: does it with ``(1, h, w, 3)``.
        reach: of the network, see `reach_of`.
        side: of a tile, pixels.
        progress: called with the share that is done, from 0 to 1.
    """
    height, width = rgb.shape[:2]
    result = np.empty((height * factor, width * factor, 3), np.uint8)
    for rows, above in _spans(height, side, reach):
        for columns, left in _spans(width, side, reach):
            made = enlarge(rgb[None, above, left])[0]
            down, across = (part.start - around.start for part, around in ((rows, above), (columns, left)))
            result[_times(rows, factor), _times(columns, factor)] = made[
                factor * down : factor * (down + rows.stop - rows.start),
                factor * across : factor * (across + columns.stop - columns.start),
            ]
            progress((rows.start * width + columns.stop * (rows.stop - rows.start)) / (height * width))
    return result


def _spans(size: int, side: int, reach: int) -> Iterator[tuple[slice, slice]]:
    """Parts of a side, and each with its surroundings."""
    for start in range(0, size, side):
        end = min(start + side, size)
        yield slice(start, end), slice(max(0, start - reach), min(size, end + reach))


def _times(part: slice, factor: int) -> slice:
    return slice(factor * part.start, factor * part.stop)

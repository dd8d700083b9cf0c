"""Convolutions that walk down a map strip by strip.

A convolution's results are those over the whole map, whatever the strips. It keeps the rows above that its
kernel still reaches, so that nothing is computed twice; there are no tiles and no seams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fast_nst.inference.engine.folded_net import FoldedLayer
from fast_nst.inference.engine.folding import Layer

__all__ = ["Rows", "Strip", "output_size", "slide_convolution"]


class Strip(NamedTuple):
    """Some rows of a map that are not there yet: made where they are needed, they are not copied."""

    shape: tuple[int, int, int, int]
    """``(B, C, rows, W)``"""
    put: Callable[[Tensor], object]
    """makes them in a tensor of that shape; to be called once, and before the next strip is asked for"""


Rows = Iterator[Tensor]
"""``(B, C, rows, W)`` strips of a map from top to bottom, each of as many rows as it happens to have"""


class _Window(NamedTuple):
    """Result number i needs `height` rows from ``stride * i - above`` on; it is of `results` rows."""

    above: int
    height: int
    stride: int
    results: int


def _window(layer: Layer) -> _Window:
    margin = layer.margin[0]
    if layer.fractional:  # of 4x4 on a map extended by 1, or the paper's 3x3 on one that is not
        return _Window(margin, 3 if margin else 2, 1, 2)
    return _Window(margin, layer.weight.shape[2], layer.stride, 1)


def output_size(layer: Layer, height: int, width: int) -> tuple[int, int]:
    """Of the layer's result over a map of this size."""
    if layer.fractional:
        return 2 * height, 2 * width
    (_, _, kh, kw), (rows, columns) = layer.weight.shape, layer.margin
    return (height + 2 * rows - kh) // layer.stride + 1, (width + 2 * columns - kw) // layer.stride + 1


def slide_convolution(strips: Iterator[Strip], height: int, layer: FoldedLayer) -> Rows:
    """The layer's convolution over a map of `height` rows; only the rows it still reaches are held.

    Returns:
        raw results in the layer's dtype, before norm and ReLU, in strips about as large as those that come.
    """
    above, reach, stride, each = _window(layer.layer)
    results = output_size(layer.layer, height, 1 << 20)[0] // each
    done = there = 0  # results given out, rows that have come
    held: Tensor | None = None  # the last rows of those, with their borders
    for strip in _started(strips, above + 1, layer):
        last = there + strip.shape[2] == height
        border = (above if there == 0 else 0, max(0, stride * (results - 1) - above + reach - height) * last)
        room = layer.room(strip.shape, border, held)
        strip.put(room.inner)
        room.fill()
        window, first = room.whole, there - (above if held is None else held.shape[2])
        there += strip.shape[2]
        ready = results if last else (there + above - reach) // stride + 1
        step = -(-(ready - done) // each)
        for begin in range(done, ready, max(1, step)):
            end = min(begin + step, ready)
            top, bottom = stride * begin - above - first, stride * (end - 1) - above + reach - first
            yield layer.convolve(window[:, :, top:bottom])[:, :, : each * (end - begin)]
        done = max(done, ready)
        held = window[:, :, max(0, stride * done - above - first) :]


def _started(strips: Iterator[Strip], rows: int, layer: FoldedLayer) -> Iterator[Strip]:
    """The same strips, the first ones joined until they have what a border above them reflects."""
    first, early = next(strips), list[Tensor]()
    while sum(part.shape[2] for part in early) + first.shape[2] < rows:
        early.append(layer.weight.new_empty(first.shape).contiguous(memory_format=torch.channels_last))
        first.put(early[-1])
        first = next(strips)
    yield _joined(early, first) if early else first
    yield from strips


def _joined(early: list[Tensor], last: Strip) -> Strip:
    b, c, h, w = last.shape
    before = sum(part.shape[2] for part in early)

    def put(out: Tensor) -> None:
        out[:, :, :before] = torch.cat(early, 2)
        last.put(out[:, :, before:])

    return Strip((b, c, before + h, w), put)

"""Sliding convolutions: over a feature map that arrives in row bands, with the whole map's results.

    rows of the input    | border | band 1       | band 2       | band 3       | border |
    first call           [=================]                      makes the results it covers
    second call                     [held][==========]            held: rows the kernel still reaches
    third call                                  [held][===================]

The last ``kernel - stride`` rows or so of each band are held for the next, so that nothing is computed twice
and there are no seams. The mirrored border needs the first rows below it, so the first bands are joined until
they have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fast_nst.inference.engine.folded_net import FoldedLayer
from fast_nst.inference.engine.plan import Layer

__all__ = ["PendingBand", "RowBands", "output_size", "slide_convolution"]


class PendingBand(NamedTuple):
    """A row band that is not computed yet: it is written where it is needed, without a copy."""

    shape: tuple[int, int, int, int]
    """``(B, C, rows, W)``"""
    put: Callable[[Tensor], object]
    """writes it into a tensor of that shape; to be called once, and before the next band is taken"""


RowBands = Iterator[Tensor]
"""``(B, C, rows, W)`` bands of a feature map from top to bottom, of any numbers of rows"""


class _Reach(NamedTuple):
    """Result i needs `height` input rows from ``stride * i - above`` on, and has `results` rows."""

    above: int
    height: int
    stride: int
    results: int


def _reach(layer: Layer) -> _Reach:
    margin = layer.margin[0]
    if layer.fractional:  # of 4x4 on a map extended by 1, or the paper's 3x3 on one that is not
        return _Reach(margin, 3 if margin else 2, 1, 2)
    return _Reach(margin, layer.weight.shape[2], layer.stride, 1)


def output_size(layer: Layer, height: int, width: int) -> tuple[int, int]:
    """Height and width of the layer's result for an input of this size."""
    if layer.fractional:
        return 2 * height, 2 * width
    (_, _, kh, kw), (rows, columns) = layer.weight.shape, layer.margin
    return (height + 2 * rows - kh) // layer.stride + 1, (width + 2 * columns - kw) // layer.stride + 1


def slide_convolution(bands: Iterator[PendingBand], height: int, layer: FoldedLayer) -> RowBands:
    """The layer's convolution over a feature map of `height` rows, in bands.

    Returns:
        raw results in the layer's dtype, before norm and ReLU, in bands about as large as the input's.
    """
    above, reach, stride, each = _reach(layer.layer)
    results = output_size(layer.layer, height, 1 << 20)[0] // each
    done = there = 0  # results given out, rows that have come
    held: Tensor | None = None  # the last rows of those, with their borders
    for band in _started(bands, above + 1, layer):
        last = there + band.shape[2] == height
        border = (above if there == 0 else 0, max(0, stride * (results - 1) - above + reach - height) * last)
        buffer = layer.padded_buffer(band.shape, border, held)
        band.put(buffer.interior)
        buffer.fill_border()
        window, first = buffer.data, there - (above if held is None else held.shape[2])
        there += band.shape[2]
        ready = results if last else (there + above - reach) // stride + 1
        step = -(-(ready - done) // each)
        for begin in range(done, ready, max(1, step)):
            end = min(begin + step, ready)
            top, bottom = stride * begin - above - first, stride * (end - 1) - above + reach - first
            yield layer.convolve(window[:, :, top:bottom])[:, :, : each * (end - begin)]
        done = max(done, ready)
        held = window[:, :, max(0, stride * done - above - first) :]


def _started(bands: Iterator[PendingBand], rows: int, layer: FoldedLayer) -> Iterator[PendingBand]:
    """The same bands, the first ones joined until they have the rows that the border above reflects."""
    first, early = next(bands), list[Tensor]()
    while sum(part.shape[2] for part in early) + first.shape[2] < rows:
        early.append(layer.weight.new_empty(first.shape).contiguous(memory_format=torch.channels_last))
        first.put(early[-1])
        first = next(bands)
    yield _joined(early, first) if early else first
    yield from bands


def _joined(early: list[Tensor], last: PendingBand) -> PendingBand:
    b, c, h, w = last.shape
    before = sum(part.shape[2] for part in early)

    def put(out: Tensor) -> None:
        out[:, :, :before] = torch.cat(early, 2)
        last.put(out[:, :, before:])

    return PendingBand((b, c, before + h, w), put)

"""Convolutions that walk down a map strip by strip, and what is to be known of a map besides: its moments.

A convolution's results are those over the whole map, whatever the strips. It keeps the rows above that its
kernel still reaches, so that nothing is computed twice; there are no tiles and no seams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.transform_net import PaddedConv, Upsample, enlarge, reflection_pad

__all__ = ["Kernel", "Moments", "Rows", "kernel_of", "slide"]

Rows = Iterator[Tensor]
"""``(1, C, rows, W)`` strips of a map from top to bottom, each of as many rows as it happens to have"""


class Kernel(NamedTuple):
    """A convolution as a window that walks down a map.

    Result number i needs `height` rows from ``stride * i - above`` on. A result is a row, or a pair of rows
    where the map is enlarged.
    """

    above: int
    height: int
    stride: int
    border: str
    """what lies above and below the map: ``reflect``, ``replicate`` or ``zero``"""
    apply: Callable[[Tensor], Tensor]
    """the results of a window of any number of rows; what lies at its sides is its own affair"""


def kernel_of(module: nn.Module) -> Kernel:
    """The window of one of the network's convolutions."""
    if isinstance(module, PaddedConv):
        m, plain = module.margin, module.conv
        side, stride = plain.kernel_size[0], plain.stride[0]
        return Kernel(m, side, stride, "reflect", lambda x: plain(reflection_pad(x, m, m, 0, 0)))
    assert isinstance(module, Upsample)
    conv = module.conv
    if module.kind == "tied":
        # Reflecting the enlarged map by 1 is to replicate the small one by 1 and leave out the outer copies.
        return Kernel(
            1, 3, 1, "replicate", lambda x: conv(reflection_pad(enlarge(x)[:, :, 1:-1], 1, 1, 0, 0))
        )
    if module.kind == "free":
        return Kernel(1, 3, 1, "replicate", lambda x: conv(F.pad(x, (1, 1, 0, 0), mode="replicate")))
    return Kernel(0, 2, 1, "zero", lambda x: conv(x)[:, :, :-2])


def slide(strips: Rows, height: int, kernel: Kernel) -> Rows:
    """The kernel's results over a map of `height` rows; only the rows it still reaches are held."""
    results = -(-height // kernel.stride)
    done = first = 0  # results given out; number of the first row held
    held: Tensor | None = None
    for strip in strips:
        held = strip if held is None else torch.cat([held, strip], 2)
        there = first + held.shape[2]
        ready = (there + kernel.above - kernel.height) // kernel.stride + 1 if there < height else results
        if ready <= done:
            continue
        top = kernel.stride * done - kernel.above
        bottom = kernel.stride * (ready - 1) - kernel.above + kernel.height
        window = held[:, :, max(0, top - first) : bottom - first]
        yield kernel.apply(_bordered(window, max(0, -top), max(0, bottom - height), kernel.border))
        done = ready
        keep = max(0, kernel.stride * done - kernel.above)
        held, first = held[:, :, keep - first :], keep


def _bordered(window: Tensor, top: int, bottom: int, border: str) -> Tensor:
    """With the rows that lie beyond the map; a window at its border holds all that reflecting them takes."""
    if border == "reflect":
        return reflection_pad(window, 0, 0, top, bottom)
    if border == "replicate":
        return F.pad(window, (0, 0, top, bottom), mode="replicate")
    return F.pad(window, (0, 0, top, bottom))


class Moments:
    """Mean and biased variance of each channel, from strips.

    Added up as in Chan, Golub and LeVeque 1979, in fp64, so that nothing cancels however many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(1, dtype=torch.float64)
        self._squares = torch.zeros(1, dtype=torch.float64)

    def add(self, strip: Tensor) -> None:
        """Take in ``(1, C, rows, W)``."""
        count = strip.shape[2] * strip.shape[3]
        found = torch.var_mean(strip, dim=(0, 2, 3), correction=0)
        var, mean = (x.cpu().double() for x in found)
        away, total = mean - self.mean, self.count + count
        self._squares = self._squares + count * var + away.square() * (self.count * count / total)
        self.mean = self.mean + away * (count / total)
        self.count = total

    @property
    def var(self) -> Tensor:
        """Biased, as norms want it."""
        return self._squares / max(1, self.count)

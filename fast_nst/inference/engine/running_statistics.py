"""Mean and variance of maps, from bands and in pieces that stay in the processor's caches.

``torch.var_mean`` of a map whose channels are last takes ten times as long on a processor.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["RunningStatistics", "in_pieces", "statistics"]

PIECE = 1 << 18  # values; 1 MiB in fp32


def in_pieces(x: Tensor) -> Iterator[Tensor]:
    """``(B, C, H, W)`` in views of some rows each, where small ones are quicker: on processors."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        yield x
        return
    b, c, _, w = x.shape
    yield from torch.split(x, max(1, PIECE // (b * c * w)), 2)


class RunningStatistics:
    """Mean and biased variance of each channel of each picture, from bands.

    Added up as in Chan, Golub and LeVeque 1979, in fp64, so that nothing cancels however many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        """positions"""
        self.mean = torch.zeros(1, dtype=torch.float64)
        """``(B, C)``"""
        self._squares = torch.zeros(1, dtype=torch.float64)

    def add(self, band: Tensor) -> None:
        """Take in ``(B, C, rows, W)``."""
        found: list[Tensor] = []
        counts: list[int] = []
        for piece in in_pieces(band):
            wide = piece if piece.dtype == torch.float64 else piece.float()
            mean = wide.mean((2, 3), keepdim=True)
            squares = (wide - mean).square_().sum((2, 3))
            found.append(torch.stack([mean[..., 0, 0], squares]))
            counts.append(piece.shape[2] * piece.shape[3])
        # On processors, so that fp64 is to be had everywhere.
        means, squares = torch.stack(found, 1).cpu().double()
        weights = torch.tensor(counts, dtype=torch.float64).view(-1, 1, 1)
        count = sum(counts)
        mean = (means * weights).sum(0) / count
        squares = squares.sum(0) + ((means - mean).square() * weights).sum(0)
        away, total = mean - self.mean, self.count + count
        self._squares = self._squares + squares + away.square() * (self.count * count / total)
        self.mean = self.mean + away * (count / total)
        self.count = total

    @property
    def var(self) -> Tensor:
        """Biased, as norms use it; ``(B, C)``."""
        return self._squares / max(1, self.count)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and variance as norms use them: ``(B, C, 1, 1)`` in fp32."""
        mean, var = (x.float().to(device)[..., None, None] for x in (self.mean, self.var))
        return mean, var


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the positions of each channel, ``(B, C, 1, 1)`` in fp32."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        var, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
        return mean, var
    moments = RunningStatistics()
    moments.add(x)
    return moments.on(x.device)

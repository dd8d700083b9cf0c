"""Which steps of a run must not be taken, told by their losses. Nothing here waits for the device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LossMonitor", "LossScale"]


class LossMonitor:
    """Tells bad steps: a loss or a gradient that is not finite, or a loss far above the usual.

    Attributes:
        in_a_row: bad steps since the last good one, a scalar tensor on the device; 0 when all is well.
        skipped: bad steps in all, likewise.
    """

    SPIKE = 4.0  # times the running mean; batches of one photograph stay below 2.5
    SETTLED = 20  # good steps before a spike can be told from a beginning
    KEEP = 0.98  # a mean over about fifty steps

    def __init__(self, device: torch.device) -> None:
        self.mean, self.seen, self.in_a_row, self.skipped = torch.zeros(4, device=device).unbind()

    def __call__(self, loss: Tensor, broken: Tensor, forgiven: Tensor | None = None) -> Tensor:
        """Judge one step.

        Args:
            loss: its total, a scalar.
            broken: 1.0 where its gradients are not finite, else 0.0.
            forgiven: whether broken gradients are not to count in `in_a_row`, a scalar.

        Returns:
            1.0 if the step is bad and not to be taken, else 0.0.
        """
        spike = (self.seen >= self.SETTLED) & (loss > self.SPIKE * self.mean)
        lost = ~torch.isfinite(loss) | spike
        bad = (broken > 0) | lost
        counts = bad if forgiven is None else lost | ((broken > 0) & ~forgiven)
        # The plain mean at first, so that the first loss does not count for fifty.
        share = torch.clamp(1 / (self.seen + 1), min=1 - self.KEEP)
        self.mean = torch.where(bad, self.mean, self.mean.lerp(loss.to(self.mean.dtype), share))
        self.seen = self.seen + (~bad).float()
        self.in_a_row = torch.where(counts, self.in_a_row + 1, torch.where(bad, self.in_a_row, 0.0))
        self.skipped = self.skipped + bad.float()
        return bad.float()

    def forget(self) -> None:
        """Start anew where the usual loss is another one: at another size of crops, or after going back."""
        for value in (self.mean, self.seen, self.in_a_row):
            value.zero_()


class LossScale:
    """The factor by which a loss is multiplied before its backward pass in fp16, whose gradients underflow.

    Halved after a bad step, doubled after two hundred good ones (Micikevicius et al. 2018, section 3.2).
    """

    FIRST, LEAST, MOST, PATIENCE = 2.0**10, 1.0, 2.0**16, 200

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), self.FIRST, device=device)
        self.good = torch.zeros((), device=device)

    def update(self, bad: Tensor) -> None:
        """Take note of one step; `bad` is 1.0 or 0.0."""
        self.good = torch.where(bad > 0, 0.0, self.good + 1)
        grown = torch.where(self.good >= self.PATIENCE, self.scale * 2, self.scale)
        self.scale = torch.where(bad > 0, self.scale / 2, grown).clamp(self.LEAST, self.MOST)
        self.good = torch.where(self.good >= self.PATIENCE, 0.0, self.good)

"""Detects the steps of a run that must not be taken, from their losses. Nothing here waits for the device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LossMonitor", "LossScale"]


class LossMonitor:
    """Detects bad steps: a loss or gradient that is not finite, or a loss far above its running mean.

    Attributes:
        mean: running mean of the losses of good steps, a scalar tensor on the device, as all below.
        seen: good steps that the mean is taken over.
        in_a_row: bad steps since the last good one; 0 when all is well.
        skipped: bad steps in all.
        not_finite: 1.0 if the last bad step had a loss or gradient that is not finite, 0.0 if its loss was
            too large.
    """

    SPIKE = 4.0  # times the running mean; batches of one photograph stay below 2.5
    SETTLED = 20  # good steps before a spike can be distinguished from the start of a run
    KEEP = 0.98  # a mean over about fifty steps

    def __init__(self, device: torch.device) -> None:
        values = torch.zeros(5, device=device).unbind()
        self.mean, self.seen, self.in_a_row, self.skipped, self.not_finite = values

    def __call__(self, loss: Tensor, broken: Tensor, forgiven: Tensor | None = None) -> Tensor:
        """Judge one step.

        Args:
            loss: a scalar, the sum of the terms that are alike from step to step.
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
        self.not_finite = torch.where(bad, ((broken > 0) | ~torch.isfinite(loss)).float(), self.not_finite)
        return bad.float()

    def reset(self) -> None:
        """Forget the usual loss, where it becomes another: at another crop size, or after going back."""
        for value in (self.mean, self.seen, self.in_a_row, self.not_finite):
            value.zero_()


class LossScale:
    """The factor of a loss before its backward pass in fp16, whose gradients underflow.

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

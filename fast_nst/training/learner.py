"""One optimiser step: photographs are painted, the pictures judged, the network corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fast_nst.device import autocast
from fast_nst.losses import LossTerms, grid_energy

if TYPE_CHECKING:
    from fast_nst.training.trainer import Trainer

__all__ = ["Learner"]


class Learner:
    """Takes the trainer's network one step further, its forward pass compiled where that pays."""

    def __init__(self, trainer: Trainer, *, compiled: bool) -> None:
        self.trainer = trainer
        # Not dynamic: a run sees one or two sizes of crops, and code for any size is slower.
        self.judge = torch.compile(self._judge, dynamic=False) if compiled else self._judge

    def __call__(self, images: Tensor, rate: float) -> LossTerms:
        """One step with that learning rate.

        Args:
            images: ``(B, 3, S, S)``, RGB, [0, 1].

        Returns:
            The terms before the step, on the device, detached.
        """
        trainer = self.trainer
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        terms, grid = self.judge(images)
        trainer.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms.total + grid)
        # A fused optimiser that finds this set leaves weights and moments alone, without asking the device.
        trainer.optimizer.found_inf = trainer.limit()  # type: ignore[attr-defined]
        trainer.optimizer.step()
        return LossTerms(*(term.detach() for term in terms))

    def _judge(self, images: Tensor) -> tuple[LossTerms, Tensor]:
        """The objective, and what a grid costs besides: only a network leaves one, so it is no part of it."""
        trainer = self.trainer
        with autocast(trainer.device, trainer.precision):
            painted = trainer.network(images)
            terms: LossTerms = trainer.objective(painted, trainer.objective.content_target(images))
            return terms, trainer.config.grid_weight * grid_energy(painted)

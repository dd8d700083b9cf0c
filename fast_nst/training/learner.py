"""One optimiser step: photographs are painted, the pictures judged, the network corrected."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from fast_nst.device import autocast
from fast_nst.errors import first_line
from fast_nst.losses import LossTerms, PerceptualLoss
from fast_nst.training.clipping import GradientLimit
from fast_nst.transform_net import TransformNet

__all__ = ["Learner"]

_log = logging.getLogger("fast_nst")


class Learner:
    """Takes a network one step further, its forward pass compiled where asked.

    Args:
        network: corrected in place.
        objective: what is minimised.
        optimizer: a fused one, over the network's parameters.
        limit: of their gradients.
        device, precision: where and in which arithmetic the convolutions run.
        compiled: by torch.compile; should that fail, the steps are taken without, after a warning.
    """

    def __init__(
        self,
        network: TransformNet,
        objective: PerceptualLoss,
        optimizer: Optimizer,
        limit: GradientLimit,
        *,
        device: torch.device,
        precision: str,
        compiled: bool,
    ) -> None:
        self.network, self.objective, self.optimizer, self.limit = network, objective, optimizer, limit
        self.device, self.precision = device, precision
        # Not dynamic: a run sees one or two sizes of crops, and code for any size is slower.
        self.judge: Callable[[Tensor], LossTerms] = (
            torch.compile(self._judge, dynamic=False) if compiled else self._judge
        )

    def __call__(self, images: Tensor, rate: float) -> LossTerms:
        """One step with that learning rate.

        Args:
            images: ``(B, 3, S, S)``, RGB, [0, 1].

        Returns:
            The terms before the step, on the device, detached.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self._forward(images)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms.total)
        # A fused optimiser that finds this set leaves weights and moments alone, without asking the device.
        self.optimizer.found_inf = self.limit()  # type: ignore[attr-defined]
        self.optimizer.step()
        return LossTerms(*(term.detach() for term in terms))

    def _forward(self, images: Tensor) -> LossTerms:
        if self.judge == self._judge:
            return self._judge(images)
        try:
            return self.judge(images)
        except torch._dynamo.exc.TorchDynamoException as error:  # no working compiler, headers or Triton
            _log.warning("torch.compile failed, going on without it: %s", first_line(error))
            self.judge = self._judge
            return self._judge(images)

    def _judge(self, images: Tensor) -> LossTerms:
        with autocast(self.device, self.precision):
            painted = self.network(images)
            terms: LossTerms = self.objective(painted, self.objective.content_target(images))
            return terms

"""Optimizers of others, as far as `training_variants.py` compares them with Adam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal for kernels (Jordan et al. 2024), Adam for all else.

    A kernel ``(O, I, k, k)`` is a matrix of O rows. The update is scaled to the size of Adam's, so that one
    learning rate serves both (Liu et al. 2025, equation 4). In fp32: bf16 is slow on most processors.
    """

    MOMENTUM = 0.95
    # The quintic of Jordan et al.: five rounds bring all singular values near 1.
    A, B, C, ROUNDS = 3.4445, -4.7750, 2.0315, 5

    def __init__(self, parameters: Iterable[nn.Parameter], faster: float = 1.0) -> None:
        super().__init__(parameters, {"lr": 0.0, "faster": faster})
        flat = [p for group in self.param_groups for p in group["params"] if p.ndim < 2]
        self.adam = torch.optim.Adam([{"params": flat, "faster": 1.0}])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters with the ``lr`` of the group."""
        for group in self.param_groups:
            self.adam.param_groups[0]["lr"] = group["lr"] / group["faster"]
            for p in group["params"]:
                if p.ndim < 2 or p.grad is None:
                    continue
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - self.MOMENTUM)
                update = p.grad.lerp(momentum, self.MOMENTUM).flatten(1)
                size = 0.2 * max(update.shape) ** 0.5
                p.sub_(self._orthogonal(update).view_as(p), alpha=group["lr"] * size)
        self.adam.step()

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
        x = x / x.norm().clamp_min(1e-12)
        for _ in range(self.ROUNDS):
            square = x @ x.mT
            x = self.A * x + (self.B * square + self.C * square @ square) @ x
        found: Tensor = x if matrix.shape[0] <= matrix.shape[1] else x.mT
        return found


class ScheduleFree(torch.optim.Optimizer):
    """Adam without a schedule: the gradient is taken between the iterate and its average (Defazio 2024)."""

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.0, "faster": 1.0})
        self.steps, self.weights = 0, 0.0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the iterate z and its average x; the parameters are the point y between them."""
        self.steps += 1
        for group in self.param_groups:
            rate = group["lr"] * (1 - self.BETA2**self.steps) ** 0.5
            self.weights += rate**2
            share = rate**2 / self.weights
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {"z": p.clone(), "x": p.clone(), "square": torch.zeros_like(p)}
                state["square"].lerp_(p.grad.square(), 1 - self.BETA2)
                state["z"].addcdiv_(p.grad, state["square"].sqrt() + self.EPSILON, value=-rate)
                state["x"].lerp_(state["z"], share)
                p.copy_(state["z"].lerp(state["x"], self.BETA1))

    @torch.no_grad()
    def finish(self) -> None:
        """Make the averages the parameters."""
        for p, state in self.state.items():
            p.copy_(state["x"])

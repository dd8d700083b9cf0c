"""A limit on the norm of the gradient, relative to its running mean: no single step can undo a run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["GradientLimit"]


class GradientLimit:
    """Scales gradients down to ``factor`` times the running mean of their norm.

    A fixed limit would depend on the style image and the loss weights. Nothing here waits for the
    device.

    Attributes:
        mean: the running mean, a scalar tensor; 0 before the first step.
    """

    KEEP = 0.99  # a mean over about a hundred steps

    def __init__(self, parameters: Iterable[nn.Parameter], factor: float = 3.0) -> None:
        self.parameters = list(parameters)
        self.factor = factor
        self.mean = torch.zeros((), device=self.parameters[0].device)

    def __call__(self) -> Tensor:
        """Scale the gradients in place.

        Returns:
            A scalar: 1.0 if they hold a NaN or an infinity, and the step is not to be taken, else 0.0.
        """
        gradients: list[Tensor] = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        limit = torch.where(self.mean > 0, self.factor * self.mean, norm)
        torch._foreach_mul_(gradients, torch.where(norm > limit, limit / norm, 1.0))
        broken = ~torch.isfinite(norm)
        kept = torch.where(broken, self.mean, torch.minimum(norm, limit))
        self.mean = torch.where(self.mean > 0, self.mean.lerp(kept, 1 - self.KEEP), kept)
        return broken.float()

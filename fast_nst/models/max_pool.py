"""Max pooling whose compiled gradient is fast on processors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MaxPool"]


class _Larger(torch.autograd.Function):
    """The larger of two tensors; the gradient goes to the first where they are equal, as in max pooling."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        return torch.maximum(first, second)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        first, second = ctx.saved_tensors
        later = second > first
        return torch.where(later, 0, gradients[0]), torch.where(later, gradients[0], 0)


class MaxPool(nn.Module):
    """``F.max_pool2d(x, 2)``, compiled for a processor as comparisons of neighbors.

    There the compiled gradient of ``F.max_pool2d`` looks for its indices one value at a time and takes a
    fifth of a training step; that of a comparison is a few vector instructions. Values and gradients are the
    same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H // 2, W // 2)``."""
        if not torch.compiler.is_compiling() or x.device.type != "cpu":
            return F.max_pool2d(x, 2)
        return larger_of_four(x)


def larger_of_four(x: Tensor) -> Tensor:
    """``F.max_pool2d(x, 2)`` as comparisons, with channels innermost."""
    b, c, h, w = x.shape
    even = x[..., : h // 2 * 2, : w // 2 * 2].permute(0, 2, 3, 1)
    cells = even.reshape(b, h // 2, 2, w // 2, 2, c)
    upper, lower = (_Larger.apply(cells[:, :, i, :, 0], cells[:, :, i, :, 1]) for i in (0, 1))
    larger: Tensor = _Larger.apply(upper, lower)
    return larger.permute(0, 3, 1, 2)

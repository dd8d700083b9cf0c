"""Gram matrices of feature maps, with a gradient of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["gram_matrix"]


def gram_matrix(features: Tensor) -> Tensor:
    r"""Channel-by-channel inner products of a feature map, averaged over positions and channels.

    .. math:: G_{cd} = \frac{1}{C H W} \sum_{h,w} f_{chw} f_{dhw}

    Args:
        features: ``(B, C, H, W)``, in either memory layout; neither is copied into the other.

    Returns:
        ``(B, C, C)``, symmetric, fp32 (float64 for float64 features).

    Johnson et al. 2016, equation 3. Gatys et al. 2016 leave G unnormalized and divide the loss instead.
    """
    b, c, h, w = features.shape
    with torch.autocast(features.device.type, enabled=False):
        if features.is_contiguous(memory_format=torch.channels_last) and not features.is_contiguous():
            rows = features.permute(0, 2, 3, 1).reshape(b, h * w, c)  # a view: channels are innermost already
        else:
            rows = features.flatten(2).mT
        gram: Tensor = _Products.apply(rows)
        return gram / (c * h * w)


class _Products(torch.autograd.Function):
    r"""The products :math:`F^\top F`, ``(B, C, C)``, of ``(B, N, C)``.

    Both factors are the same, so one product gives the gradient, :math:`F (G' + G'^\top)`, where autograd
    would take two. The products are summed in fp32. In bf16, which has the range of fp32, the gradient is
    computed as the features are; the layer before them rounds it so anyway.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        wide = rows if rows.dtype == torch.float64 else rows.float()
        return wide.mT @ wide

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        exact = rows.float() if rows.dtype == torch.float16 else rows
        both = (gradients[0] + gradients[0].mT).to(exact.dtype)
        # In the memory layout of the features: channels innermost, or positions.
        found: Tensor = exact @ both if rows.stride(-1) == 1 else (both @ exact.mT).mT
        return found.to(rows.dtype)

"""The border loss: near its edges an image is painted as if it went on beyond them.

A network can tell where an image ends, since its features are padded there. A long training makes use of
that: it paints a band along an edge, the same on every image, where that lowers the style term. The result of
the image extended by reflection has no band at the same place, and is what the border is compared with. Not
in Johnson et al. 2016.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.models.losses import wide

__all__ = ["border_error", "border_width", "painted_in_context"]

SHARE = 8  # bands of up to a tenth of a crop's side were seen


def border_width(images: Tensor) -> int:
    """Width of the border of ``(B, 3, H, W)`` images, pixels: an eighth of the shorter side, at least 1."""
    return max(1, min(images.shape[-2:]) // SHARE)


@torch.no_grad()
def painted_in_context(network: nn.Module, images: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Stylized ``(B, 3, H, W)`` images in [0, 1], extended by their border's width and cropped afterwards."""
    width = border_width(images)
    extended = F.pad(images, (width,) * 4, mode="reflect").contiguous(memory_format=memory_format)
    result: Tensor = network(extended)
    return result[..., width:-width, width:-width]


def border_error(results: Tensor, context: Tensor) -> Tensor:
    """Mean square difference on the border.

    Args:
        results, context: ``(B, 3, H, W)``, stylized as they are and in context.

    Returns:
        A scalar, in squares of the image's range.
    """
    width = border_width(results)
    with torch.autocast(results.device.type, enabled=False):
        squares = (wide(results) - wide(context)).square()
        inside = squares[..., width:-width, width:-width]
        return (squares.sum() - inside.sum()) / (squares.numel() - inside.numel())

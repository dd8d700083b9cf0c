"""A ComfyUI node over fast-nst: a bundled style with strength, stroke size, colors and a mask.

ComfyUI hands over images as ``(B, H, W, C)`` floats in [0, 1], and masks as ``(B, H, W)`` floats in [0, 1].
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from fast_nst import Controls, Picture, Stylizer, bundled_styles, from_uint8, to_uint8

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]


@lru_cache(maxsize=4)
def load_stylizer(style: str) -> Stylizer:
    return Stylizer.load(style)


class FastNSTStylize:
    """Stylize each image of a batch."""

    CATEGORY = "image/style transfer"
    FUNCTION = "stylize"
    RETURN_TYPES = ("IMAGE",)
    DESCRIPTION = "Fast neural style transfer: one pass of a trained network, images of any size."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """The sockets and widgets of the node."""
        strength = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05}
        stroke = {"default": 1.0, "min": 0.25, "max": 4.0, "step": 0.05}
        return {
            "required": {
                "image": ("IMAGE",),
                "style": (list(bundled_styles()),),
                "strength": ("FLOAT", strength),
                "stroke": ("FLOAT", stroke),
                "colors": (["style", "photo", "match"],),
            },
            "optional": {"mask": ("MASK",)},
        }

    def stylize(
        self,
        image: torch.Tensor,
        style: str,
        strength: float = 1.0,
        stroke: float = 1.0,
        colors: Any = "style",
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor]:
        """Images ``(B, H, W, C)`` to as many ``(B, H, W, 3)``; a fourth channel, alpha, is left out.

        Args:
            mask: ``(B, H, W)``, or one ``(1, H, W)`` or ``(H, W)`` for all: 1 is stylized, 0 is not.
        """
        made = []
        for i, content in enumerate(image):
            controls = Controls(strength, stroke, colors, _levels(mask, i))
            pixels = to_uint8(content[..., :3].permute(2, 0, 1))
            result = load_stylizer(style).with_controls(controls)(Picture(pixels))
            made.append(from_uint8(result.rgb).permute(1, 2, 0))
        return (torch.stack(made).to(image.device),)


def _levels(mask: torch.Tensor | None, index: int) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """The mask of one image as ``(H, W)`` uint8."""
    if mask is None:
        return None
    one = mask if mask.ndim == 2 else mask[index % len(mask)]
    return np.ascontiguousarray(to_uint8(one.expand(3, -1, -1))[..., 0])


NODE_CLASS_MAPPINGS: dict[str, type] = {"FastNSTStylize": FastNSTStylize}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {"FastNSTStylize": "Stylize (fast-nst)"}

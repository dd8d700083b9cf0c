"""The inference engine's front: a trained style that paints pictures of any size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fast_nst.checkpoint import Checkpoint, find_style, load_checkpoint
from fast_nst.device import autocast, choose_device
from fast_nst.errors import InputError
from fast_nst.images import Picture, from_uint8, to_uint8

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Stylizer"]


class Stylizer:
    """Paints pictures in one trained style.

    Args:
        checkpoint: the style, as `load_checkpoint` returns it.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: ``fp32``, ``bf16`` or ``fp16``; ``auto`` is fp32 on a CPU and 16 bits on a GPU.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto", precision: str = "auto") -> None:
        self.about = checkpoint.about
        self.style = checkpoint.style
        self.device = choose_device(device)
        if precision == "auto":
            precision = (
                "bf16" if self.device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"
            )
        self.precision = precision
        self.network = checkpoint.network.to(self.device)

    @classmethod
    def load(cls, style: str | Path, *, device: str = "auto", precision: str = "auto") -> Stylizer:
        """A bundled style by name, or one from a .safetensors file.

        Raises:
            CheckpointError: no such style, or a file that cannot be used.
            InputError: a device this machine lacks.
        """
        return cls(load_checkpoint(find_style(style)), device=device, precision=precision)

    @torch.no_grad()  # and not inference_mode, whose tensors nobody may change in place
    def __call__(self, images: Tensor) -> Tensor:
        """Stylise.

        Args:
            images: ``(3, H, W)`` or ``(B, 3, H, W)``, RGB, [0, 1], any H and W from 1 upwards.

        Returns:
            The same shape, fp32 in [0, 1], on the device the images came from.

        Raises:
            InputError: another shape, or integers.
        """
        if images.ndim not in (3, 4) or images.shape[-3] != 3 or images.numel() == 0:
            raise InputError(f"expected (3, H, W) or (B, 3, H, W) images, got shape {tuple(images.shape)}")
        if not images.is_floating_point():
            raise InputError(f"expected float images in [0, 1], got {images.dtype}; from_uint8 converts")
        batch = images if images.ndim == 4 else images.unsqueeze(0)
        with autocast(self.device, self.precision):
            painted: Tensor = self.network(batch.to(self.device, torch.float32))
        out = painted.float().clamp_(0, 1).to(images.device)
        return out if images.ndim == 4 else out[0]

    def pictures(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Stylise pictures of equal size in one batch; alpha is carried over untouched.

        Raises:
            InputError: the arithmetic overflowed, as fp16 can.
        """
        painted = self(torch.stack([from_uint8(picture.rgb) for picture in pictures]))
        if painted.isnan().any():
            raise InputError(f"the result is not a number in {self.precision}; give --precision fp32")
        return [
            Picture(to_uint8(image), picture.alpha) for image, picture in zip(painted, pictures, strict=True)
        ]

"""The inference engine's front: a trained style that paints pictures of any size. Imports torch only where it
is called with tensors, or where the engine is torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fast_nst.errors import InputError
from fast_nst.image_files import Picture
from fast_nst.inference.backends.base import Backend, Source
from fast_nst.inference.backends.choice import open_backend
from fast_nst.style_files import file_digest, find_style, read_about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from fast_nst.checkpoint import Checkpoint
    from fast_nst.inference.folding import Plan

__all__ = ["Stylizer"]


class Stylizer:
    """Paints pictures in one trained style.

    Args:
        checkpoint: the style, as `load_checkpoint` returns it.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: ``fp32``, ``bf16`` or ``fp16``; ``auto`` is 16 bits where there are matrix units for it.
        backend: ``torch``, ``compile``, ``openvino`` or ``onnx``; ``auto`` is the fastest that is installed.

    Raises:
        InputError: a device this machine lacks, or an engine that is not installed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
    ) -> None:
        source = Source(checkpoint.about, lambda: _plan(checkpoint))
        self._set(source, open_backend(source, backend=backend, device=device, precision=precision))

    @classmethod
    def load(
        cls, style: str | Path, *, device: str = "auto", precision: str = "auto", backend: str = "auto"
    ) -> Stylizer:
        """A bundled style by name, or one from a .safetensors file.

        Raises:
            CheckpointError: no such style, or a file that cannot be used.
            InputError: as above.
        """
        path = find_style(style)

        def plan() -> Plan:
            from fast_nst.checkpoint import load_checkpoint

            return _plan(load_checkpoint(path))

        stylizer = cls.__new__(cls)
        source = Source(read_about(path), plan, file_digest(path))
        stylizer._set(source, open_backend(source, backend=backend, device=device, precision=precision))
        return stylizer

    def _set(self, source: Source, backend: Backend) -> None:
        self.about: dict[str, Any] = dict(source.about)
        self.style = str(source.about.get("style", "unnamed"))
        self.backend = backend

    @property
    def device(self) -> str:
        return self.backend.device

    @property
    def precision(self) -> str:
        return self.backend.precision

    def __str__(self) -> str:
        """Where and how it paints, in three words."""
        return f"{self.backend.device} {self.backend.precision} {self.backend.name}"

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
        if images.ndim == 3:
            return self.backend.images(images.unsqueeze(0))[0]
        return self.backend.images(images)

    def pictures(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Stylise pictures of equal size in one batch; alpha is carried over untouched.

        Raises:
            InputError: the arithmetic overflowed, as fp16 can.
        """
        painted = self.backend.levels(np.stack([picture.rgb for picture in pictures]))
        return [Picture(rgb, picture.alpha) for rgb, picture in zip(painted, pictures, strict=True)]


def _plan(checkpoint: Checkpoint) -> Plan:
    from fast_nst.inference.folded_net import plan_of

    return plan_of(checkpoint.network)

"""The inference engine's front: a trained style that paints pictures of any size.

Torch is imported only where it is called with tensors, where the engine is torch, or for strips.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError
from fast_nst.image_files import Picture
from fast_nst.inference.backends.base import Source
from fast_nst.inference.backends.choice import open_backend
from fast_nst.inference.budget import StripPlan, plan_strips, whole_bytes
from fast_nst.memory import free_memory, is_out_of_memory, resident_memory
from fast_nst.style_files import file_digest, find_style, network_of, read_about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from fast_nst.checkpoint import Checkpoint
    from fast_nst.inference.folding import Plan

__all__ = ["Stylizer"]

_log = logging.getLogger("fast_nst")

# Of what is free; the rest is for what else the machine does meanwhile.
SHARE = 0.75


def _ignore(share: float) -> None:
    """Nobody wants to know how far a picture is."""


class Stylizer:
    """Paints pictures in one trained style.

    Args:
        checkpoint: the style, as `load_checkpoint` returns it.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: ``fp32``, ``bf16`` or ``fp16``; ``auto`` is 16 bits where there are matrix units for it.
        backend: ``torch``, ``compile``, ``openvino`` or ``onnx``; ``auto`` is the fastest that is installed.
        memory: bytes that `pictures` keeps the whole process under; None: three quarters of what is free.

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
        memory: int | None = None,
    ) -> None:
        config = checkpoint.network.config
        self._open(checkpoint.about, config, lambda: checkpoint, None, device, precision, backend, memory)

    @classmethod
    def load(
        cls,
        style: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        memory: int | None = None,
    ) -> Stylizer:
        """A bundled style by name, or one from a .safetensors file.

        Raises:
            CheckpointError: no such style, or a file that cannot be used.
            InputError: as above.
        """
        path = find_style(style)

        def checkpoint() -> Checkpoint:
            from fast_nst.checkpoint import load_checkpoint

            return load_checkpoint(path)

        stylizer, about = cls.__new__(cls), read_about(path)
        config, key = network_of(path, about), file_digest(path)
        stylizer._open(about, config, checkpoint, key, device, precision, backend, memory)
        return stylizer

    def _open(
        self,
        about: dict[str, Any],
        config: NetworkConfig,
        checkpoint: Callable[[], Checkpoint],
        key: str | None,
        device: str,
        precision: str,
        backend: str,
        memory: int | None,
    ) -> None:
        source = Source(about, lambda: _plan(checkpoint()), key)
        self.backend = open_backend(source, backend=backend, device=device, precision=precision)
        self.about = dict(about)
        self.style = str(about.get("style", "unnamed"))
        self.memory = memory
        self._config, self._checkpoint = config, checkpoint

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

    def pictures(
        self, pictures: Sequence[Picture], *, progress: Callable[[float], None] = _ignore
    ) -> list[Picture]:
        """Stylise pictures of equal size; alpha is carried over untouched.

        In one batch where that fits into the memory, or else one by one; a picture that does not fit even so
        is painted in strips, with the same result.

        Args:
            progress: told the share of a picture that is done, from 0 to 1, while it is painted in strips.

        Raises:
            InputError: the arithmetic overflowed, as fp16 can; or there is no room for strips either.
        """
        height, width = pictures[0].height, pictures[0].width
        free = self._free_memory(height, width, len(pictures))
        needed = whole_bytes(self._config, height, width)
        if free is None or needed * len(pictures) <= free:
            try:
                painted = self.backend.levels(np.stack([picture.rgb for picture in pictures]))
                return [Picture(rgb, one.alpha) for rgb, one in zip(painted, pictures, strict=True)]
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
        if len(pictures) > 1:
            return [painted for one in pictures for painted in self.pictures([one], progress=progress)]
        if free is None or needed <= free:
            _log.warning("%d x %d pixels: out of memory; painting them in strips", width, height)
        return [self.in_strips(pictures[0], progress=progress)]

    def in_strips(
        self, picture: Picture, *, rows: int | None = None, progress: Callable[[float], None] = _ignore
    ) -> Picture:
        """Stylise one picture in little memory; see `streaming`. The result is that of the whole picture.

        Args:
            rows: of a strip [default: as many as the memory suggests].
            progress: told the share that is done, from 0 to 1.

        Raises:
            InputError: as `pictures`.
        """
        from fast_nst.inference.strips import paint_in_strips

        size = picture.height, picture.width
        planned = plan_strips(self._config, *size, self._free_memory(*size, 1))
        painted = paint_in_strips(
            self._checkpoint().network,
            picture.rgb,
            planned if rows is None else StripPlan(rows, planned.maps),
            device=self.device,
            precision=self.precision,
            progress=progress,
        )
        return Picture(painted, picture.alpha)

    def _free_memory(self, height: int, width: int, count: int) -> int | None:
        """Bytes that painting may take besides the results; None if there is no limit to be known."""
        results = 3 * height * width * count
        if self.memory is not None:
            return self.memory - resident_memory() - results
        if self.device != "cpu":
            return None  # it says so when it is full
        return int(SHARE * free) - results if (free := free_memory()) else None


def _plan(checkpoint: Checkpoint) -> Plan:
    from fast_nst.inference.folded_net import plan_of

    return plan_of(checkpoint.network)

"""The inference engine's front: a trained style that paints pictures of any size."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fast_nst.checkpoint import Checkpoint, find_style, load_checkpoint
from fast_nst.device import autocast, choose_device, free_memory, is_out_of_memory, resident_memory
from fast_nst.errors import InputError
from fast_nst.images import Picture, from_uint8, to_uint8
from fast_nst.inference.spill import Spill
from fast_nst.inference.streaming import plan, stream, whole_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
        precision: ``fp32``, ``bf16`` or ``fp16``; ``auto`` is fp32 on a CPU and 16 bits on a GPU.
        memory: bytes that `pictures` keeps the whole process under; None: three quarters of what is free.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        memory: int | None = None,
    ) -> None:
        self.about = checkpoint.about
        self.style = checkpoint.style
        self.device = choose_device(device)
        if precision == "auto":
            precision = (
                "bf16" if self.device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"
            )
        self.precision = precision
        self.network = checkpoint.network.to(self.device)
        self.memory = memory

    @classmethod
    def load(
        cls,
        style: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        memory: int | None = None,
    ) -> Stylizer:
        """A bundled style by name, or one from a .safetensors file.

        Raises:
            CheckpointError: no such style, or a file that cannot be used.
            InputError: a device this machine lacks.
        """
        return cls(load_checkpoint(find_style(style)), device=device, precision=precision, memory=memory)

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
        if free is None or whole_bytes(self.network, height, width) * len(pictures) <= free:
            try:
                return self._whole(pictures)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
        if len(pictures) > 1:
            return [painted for one in pictures for painted in self.pictures([one], progress=progress)]
        if free is None or whole_bytes(self.network, height, width) <= free:
            _log.warning("%d x %d pixels: out of memory; painting them in strips", width, height)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
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
        size = picture.height, picture.width
        planned = plan(self.network, *size, self._free_memory(*size, 1))
        painted = np.empty_like(picture.rgb)
        top = 0
        with Spill(planned.maps) as spill:
            for strip in stream(
                self.network,
                lambda first, last: from_uint8(picture.rgb[first:last]),
                size,
                rows=rows or planned.rows,
                spill=spill,
                precision=self.precision,
                progress=progress,
            ):
                levels = self._levels(strip[0])
                painted[top : top + len(levels)] = levels
                top += len(levels)
        return Picture(painted, picture.alpha)

    def _whole(self, pictures: Sequence[Picture]) -> list[Picture]:
        painted = self(torch.stack([from_uint8(picture.rgb) for picture in pictures]))
        return [
            Picture(self._levels(image), picture.alpha)
            for image, picture in zip(painted, pictures, strict=True)
        ]

    def _levels(self, image: Tensor) -> NDArray[np.uint8]:
        if image.isnan().any():
            raise InputError(f"the result is not a number in {self.precision}; give --precision fp32")
        return to_uint8(image)

    def _free_memory(self, height: int, width: int, count: int) -> int | None:
        """Bytes that painting may take besides the results; None if there is no limit to be known."""
        results = 3 * height * width * count
        if self.memory is not None:
            return self.memory - resident_memory() - results
        if self.device.type != "cpu":
            return None  # it says so when it is full
        return int(SHARE * free) - results if (free := free_memory()) else None

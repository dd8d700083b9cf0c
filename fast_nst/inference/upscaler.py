"""The inference engine's other front: a trained network that enlarges pictures of any size.

Torch is imported only where it is called with tensors, or where the engine is torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import UpscaleNetConfig
from fast_nst.errors import InputError
from fast_nst.image_files import Picture
from fast_nst.inference.backends.base import Source
from fast_nst.inference.backends.choice import open_backend
from fast_nst.inference.histograms import match_histogram
from fast_nst.inference.tiles import FIXED, enlarge_in_tiles, reach_of, tile_side, whole_bytes
from fast_nst.memory import free_memory, is_out_of_memory, resident_memory
from fast_nst.resampling import enlarged
from fast_nst.style_files import file_digest, find_upscaler, read_about, upscaler_of

if TYPE_CHECKING:
    from torch import Tensor

    from fast_nst.inference.folding import Plan

__all__ = ["Upscaler"]

_log = logging.getLogger("fast_nst")

SHARE = 0.75  # of the memory that is free; the rest is for what else the machine does meanwhile


def _ignore(share: float) -> None:
    """Nobody wants to know how far a picture is."""


class Upscaler:
    """Enlarges pictures with one trained network.

    Args:
        model: a bundled network by name, ``x4`` or ``x8``, or the file of one.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: ``fp32``, ``bf16`` or ``fp16``; ``auto`` is 16 bits where there are matrix units for it.
        backend: ``torch`` or ``compile``; ``auto`` is torch.
        memory: bytes that `pictures` keeps the whole process under; None: three quarters of what is free.
        match: whether results get the histogram of what they were made from; None: those of networks trained
            on features do.

    Raises:
        CheckpointError: no such network, or a file that cannot be used.
        InputError: a device this machine lacks.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        memory: int | None = None,
        match: bool | None = None,
    ) -> None:
        path = find_upscaler(model)
        self.about = read_about(path)
        self.config: UpscaleNetConfig = upscaler_of(path, self.about)
        source = Source(self.about, partial(_plan, path), file_digest(path))
        # Other engines would add the picture in 16 bits to what the network makes.
        engine = "torch" if backend == "auto" else backend
        self.backend = open_backend(source, backend=engine, device=device, precision=precision)
        self.memory = memory
        self.match = _features(self.about) if match is None else match

    @property
    def factor(self) -> int:
        return self.config.factor

    def __str__(self) -> str:
        """Where and how it computes, in three words, and whether it matches histograms."""
        engine = f"{self.backend.device} {self.backend.precision} {self.backend.name}"
        return f"{engine}, histogram matched" if self.match else engine

    def __call__(self, images: Tensor) -> Tensor:
        """Enlarge.

        Args:
            images: ``(3, H, W)`` or ``(B, 3, H, W)``, RGB, [0, 1], any H and W from 1 upwards.

        Returns:
            ``factor`` times as high and wide, fp32 in [0, 1], on the device the images came from; their
            histogram is not matched.

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
        """Enlarge pictures of equal size; alpha is enlarged by bicubic interpolation.

        In one batch where that fits into the memory, or else one by one; a picture that does not fit even so
        in tiles, with the same result.

        Args:
            progress: told the share of a picture that is done, from 0 to 1, while it is enlarged in tiles.

        Raises:
            InputError: the arithmetic overflowed, as fp16 can; or there is no room for tiles either.
        """
        height, width = pictures[0].height, pictures[0].width
        free = self._free_memory(height, width, len(pictures))
        needed = whole_bytes(self.config, height, width)
        if free is None or FIXED + needed * len(pictures) <= free:
            try:
                made = self.backend.levels(np.stack([picture.rgb for picture in pictures]))
                return [self._finished(one, rgb) for one, rgb in zip(pictures, made, strict=True)]
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
        if len(pictures) > 1:
            return [made for one in pictures for made in self.pictures([one], progress=progress)]
        if free is None or FIXED + needed <= free:
            _log.warning("%d x %d pixels: out of memory; enlarging them in tiles", width, height)
        return [self.in_tiles(pictures[0], progress=progress)]

    def in_tiles(
        self, picture: Picture, *, side: int | None = None, progress: Callable[[float], None] = _ignore
    ) -> Picture:
        """Enlarge one picture in little memory; see `tiles`. The result is that of the whole picture.

        Args:
            side: of a tile, pixels [default: what the memory suggests].
            progress: told the share that is done, from 0 to 1.

        Raises:
            InputError: as `pictures`.
        """
        free = self._free_memory(picture.height, picture.width, 1)
        made = enlarge_in_tiles(
            self.backend.levels,
            picture.rgb,
            factor=self.factor,
            reach=reach_of(self.config),
            side=side or tile_side(self.config, free),
            progress=progress,
        )
        return self._finished(picture, made)

    def _finished(self, picture: Picture, made: NDArray[np.uint8]) -> Picture:
        rgb = match_histogram(made, picture.rgb) if self.match else made
        alpha = None if picture.alpha is None else enlarged(picture.alpha[None], self.factor)[0]
        return Picture(rgb, alpha)

    def _free_memory(self, height: int, width: int, count: int) -> int | None:
        """Bytes that enlarging may take besides the results; None if there is no limit to be known."""
        results = 6 * height * width * self.factor**2 * count  # before and after the histogram is matched
        if self.memory is not None:
            return self.memory - resident_memory() - results
        if self.backend.device != "cpu":
            return None  # it says so when it is full
        return int(SHARE * free) - results if (free := free_memory()) else None


def _plan(path: Path) -> Plan:
    from fast_nst.checkpoint import load_upscaler
    from fast_nst.inference.folded_net import plan_of

    return plan_of(load_upscaler(path).network)


def _features(about: dict[str, Any]) -> bool:
    """Whether the network was trained on features, as far as its file says."""
    return bool(about.get("recipe", {}).get("loss") == "feature")

"""A trained super-resolution model that upscales images of any size.

Torch is imported only for tensors, or where the engine is torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import UpscaleNetConfig
from fast_nst.errors import InputError
from fast_nst.inference.engine.backends.base import Source
from fast_nst.inference.engine.backends.candidates import check_choice
from fast_nst.inference.engine.backends.choice import open_backend
from fast_nst.inference.histograms import match_histogram
from fast_nst.inference.predictor import Predictor, no_progress
from fast_nst.inference.tiled.tiles import FIXED, reach_of, tile_side, upscale_in_tiles, whole_bytes
from fast_nst.io.images import Picture
from fast_nst.models.model_files import file_digest, find_upscaler, read_metadata, upscaler_config
from fast_nst.models.resampling import upsample

if TYPE_CHECKING:
    from fast_nst.inference.engine.plan import Plan

__all__ = ["Upscaler"]

ENGINES = ("auto", "torch", "compile")


class Upscaler(Predictor):
    """Upscales images with one trained network: ``upscaler(image)``, see `Predictor`.

    Args:
        model: a bundled network by name, ``x4`` or ``x8``, or the file of one.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: ``fp32``, ``bf16`` or ``fp16``; ``auto`` is 16 bits where there are matrix units for it.
        backend: ``torch`` or ``compile``; ``auto`` is torch.
        memory: bytes that `pictures` limits the whole process to; None: three quarters of what is free.
        match: whether the results of `pictures` get the histogram of the picture they were made from; None:
            those of networks trained on features do.

    Raises:
        CheckpointError: no such network, or a file that cannot be used.
        InputError: an unknown engine, device or precision, or a device this machine lacks.
    """

    in_parts = "upscaling it in tiles"

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
        self.metadata = read_metadata(path)
        self.config: UpscaleNetConfig = upscaler_config(path, self.metadata)
        source = Source(self.metadata, partial(_plan, path), file_digest(path))
        # Other engines would add the picture in 16 bits to what the network makes.
        check_choice("backend", backend, ENGINES)
        if precision == "int8":
            raise InputError("super-resolution does not compute in int8; give --precision auto")
        engine = "torch" if backend == "auto" else backend
        super().__init__(open_backend(source, backend=engine, device=device, precision=precision), memory)
        self.match = _features(self.metadata) if match is None else match

    @property
    def factor(self) -> int:
        """The result's height and width over the image's."""
        return self.config.factor

    def __str__(self) -> str:
        """Device, precision and engine, and whether histograms are matched."""
        return f"{super().__str__()}, histogram matched" if self.match else super().__str__()

    def _needed(self, height: int, width: int, count: int) -> int:
        return FIXED + whole_bytes(self.config, height, width) * count

    def _result_bytes(self, height: int, width: int) -> int:
        return 10 * height * width * self.factor**2  # twice, and four bytes a pixel where it is written

    def _in_parts(self, picture: Picture, progress: Callable[[float], None]) -> Picture:
        return self.in_tiles(picture, progress=progress)

    def in_tiles(
        self, picture: Picture, *, side: int | None = None, progress: Callable[[float], None] = no_progress
    ) -> Picture:
        """Upscale one picture in little memory; see `tiles`. The result is that of the whole picture.

        Args:
            side: of a tile, pixels [default: as many as the memory suggests].
            progress: called with the share that is done, from 0 to 1.

        Raises:
            InputError: as `pictures`.
        """
        with self._lock:
            free = self._free_memory(picture.height, picture.width, 1)
            made = upscale_in_tiles(
                self.backend.run_uint8,
                picture.rgb,
                factor=self.factor,
                reach=reach_of(self.config),
                side=side or tile_side(self.config, free),
                progress=progress,
            )
        return self._finished(picture, made)

    def _finished(self, picture: Picture, made: NDArray[np.uint8]) -> Picture:
        rgb = match_histogram(made, picture.rgb) if self.match else made
        alpha = None if picture.alpha is None else upsample(picture.alpha[None], self.factor)[0]
        return Picture(rgb, alpha)


def _plan(path: Path) -> Plan:
    from fast_nst.inference.engine.folded_net import plan_of
    from fast_nst.models.checkpoint import load_upscaler

    return plan_of(load_upscaler(path).network)


def _features(metadata: dict[str, Any]) -> bool:
    """Whether the network was trained on features, as far as its file says."""
    return bool(metadata.get("recipe", {}).get("loss") == "feature")

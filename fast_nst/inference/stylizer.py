"""A trained style that stylizes images of any size.

Torch is imported only for tensors, where the engine is torch, and for row bands.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError
from fast_nst.inference.controls import Controls, apply_controls
from fast_nst.inference.engine.backends.base import Source
from fast_nst.inference.engine.backends.choice import advise_faster, open_backend
from fast_nst.inference.predictor import Predictor, no_progress
from fast_nst.inference.tiled.memory_budget import BandPlan, plan_bands, whole_bytes
from fast_nst.io.images import Picture
from fast_nst.models.model_files import file_digest, find_style, network_config, read_metadata

if TYPE_CHECKING:
    from torch import Tensor

    from fast_nst.inference.engine.backends.pytorch import TorchBackend
    from fast_nst.inference.engine.folding import Plan
    from fast_nst.models.checkpoint import Checkpoint

__all__ = ["Stylizer"]

DEFAULT = Controls()

SLOW = 1.0  # seconds for a picture, from which on a faster engine is worth a message


class Stylizer(Predictor):
    """Stylizes images in one trained style: ``stylizer(image)``, see `Predictor`.

    Args:
        checkpoint: the style, as `load_checkpoint` returns it.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: ``fp32``, ``bf16`` or ``fp16``; ``auto`` is 16 bits where there are matrix units for it.
        backend: ``torch``, ``compile``, ``openvino`` or ``onnx``; ``auto`` is the fastest that is installed.
        memory: bytes that `pictures` limits the whole process to; None: three quarters of what is free.
        controls: strength, stroke size, colors and a mask; `with_controls` gives others.

    Raises:
        InputError: an unknown engine, device or precision; a device this machine lacks, or an engine that
            is not installed or does not work here.
    """

    in_parts = "stylizing it in row bands"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        memory: int | None = None,
        controls: Controls = DEFAULT,
    ) -> None:
        config = checkpoint.network.config
        self._open(checkpoint.metadata, config, lambda: checkpoint, None, device, precision, backend, memory)
        self.controls = controls

    @classmethod
    def load(
        cls,
        style: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        memory: int | None = None,
        controls: Controls = DEFAULT,
    ) -> Stylizer:
        """A bundled style by name, or one from a .safetensors file.

        Raises:
            CheckpointError: no such style, or a file that cannot be used.
            InputError: as above.
        """
        path = find_style(style)

        def checkpoint() -> Checkpoint:
            from fast_nst.models.checkpoint import load_checkpoint

            return load_checkpoint(path)

        stylizer, metadata = cls.__new__(cls), read_metadata(path)
        config, key = network_config(path, metadata), file_digest(path)
        stylizer._open(metadata, config, checkpoint, key, device, precision, backend, memory)
        stylizer.controls = controls
        return stylizer

    def _open(
        self,
        metadata: dict[str, Any],
        config: NetworkConfig,
        checkpoint: Callable[[], Checkpoint],
        key: str | None,
        device: str,
        precision: str,
        backend: str,
        memory: int | None,
    ) -> None:
        self._source = Source(metadata, lambda: _plan(checkpoint()), key)
        engine = open_backend(self._source, backend=backend, device=device, precision=precision)
        super().__init__(engine, memory)
        self.metadata = dict(metadata)
        self.style = str(metadata.get("style", "unnamed"))
        self._config = config
        self._may_advise = backend == "auto"

    def with_controls(self, controls: Controls) -> Stylizer:
        """The same style, on the same engine, with other controls."""
        other = copy.copy(self)
        other.controls = controls
        return other

    def run_float(self, images: Tensor) -> Tensor:
        """As `Predictor.run_float`.

        Raises:
            InputError: also where there are controls: they work on pictures.
        """
        if not self.controls.are_default:
            raise InputError("controls do not work on tensors; give a picture, an array or a file")
        return super().run_float(images)

    def _pictures(self, pictures: Sequence[Picture], progress: Callable[[float], None]) -> list[Picture]:
        if self.controls.are_default:
            return super()._pictures(pictures, progress)

        def stylize(picture: Picture) -> Picture:
            return Predictor._pictures(self, [picture], progress)[0]

        return [apply_controls(stylize, picture, self.controls) for picture in pictures]

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        started = time.perf_counter()
        made = super()._run(images)
        if self._may_advise and time.perf_counter() - started > SLOW * len(images):
            self._may_advise = False
            advise_faster(self.backend.name, self.device, self.precision)
        return made

    def _needed(self, height: int, width: int, count: int) -> int:
        return whole_bytes(self._config, height, width, self.backend.maps) * count

    def _result_bytes(self, height: int, width: int) -> int:
        return 3 * height * width

    def _finished(self, picture: Picture, made: NDArray[np.uint8]) -> Picture:
        return Picture(made, picture.alpha)

    def _in_parts(self, picture: Picture, progress: Callable[[float], None]) -> Picture:
        return self.in_bands(picture, progress=progress)

    def in_bands(
        self, picture: Picture, *, rows: int | None = None, progress: Callable[[float], None] = no_progress
    ) -> Picture:
        """Stylize one picture in little memory; see `streaming`. The result is that of the whole picture.

        Args:
            rows: of a band [default: as many as the memory suggests].
            progress: called with the share that is done, from 0 to 1.

        Raises:
            InputError: as `pictures`.
        """
        size = picture.height, picture.width
        with self._lock:
            planned = plan_bands(self._config, *size, self._free_memory(*size, 1))
            if rows is not None:
                planned = BandPlan(rows, planned.maps)
            stylized = self._torch_backend().run_in_bands(picture.rgb, planned, progress)
        return self._finished(picture, stylized)

    def _torch_backend(self) -> TorchBackend:
        """The engine, if it is PyTorch; the others take whole images only, so they get one for row bands."""
        from fast_nst.inference.engine.backends.pytorch import TorchBackend

        if isinstance(self.backend, TorchBackend):
            return self.backend
        return TorchBackend(self._source, self.device, self.precision)


def _plan(checkpoint: Checkpoint) -> Plan:
    from fast_nst.inference.engine.folded_net import plan_of

    return plan_of(checkpoint.network)

"""A trained style that stylizes images of any size.

Torch is imported only for tensors, where the engine is torch, and for row bands.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fast_nst.errors import InputError
from fast_nst.inference import flat_pictures
from fast_nst.inference.controls import Controls, add_layers, apply_controls
from fast_nst.inference.networks import EngineSettings, TrainedStyle, trained_style
from fast_nst.inference.predictor import Predictor, no_progress
from fast_nst.inference.styles import StyleChoice, choose_style, mix_rows, mixture_shares
from fast_nst.inference.tiled.memory_budget import BandPlan, plan_bands, whole_bytes
from fast_nst.io.images import Picture
from fast_nst.models.gallery_files import styles_of

if TYPE_CHECKING:
    from torch import Tensor

    from fast_nst.inference.engine.backends.base import Backend
    from fast_nst.inference.engine.backends.pytorch import TorchBackend
    from fast_nst.models.checkpoint import Checkpoint, GalleryCheckpoint

__all__ = ["Stylizer"]

DEFAULT = Controls()


class Stylizer(Predictor):
    """Stylizes images in a style, or in a mixture of a gallery's: ``stylizer(image)``, see `Predictor`.

    Args:
        checkpoint: the style, as `load_checkpoint` returns it, or the gallery, as `load_gallery` does.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``; ``auto`` is 16 bits where there are matrix units
            for it, ``fastest`` considers int8 too.
        backend: ``torch``, ``compile``, ``openvino`` or ``onnx``; ``auto`` is the fastest that is installed.
        memory: bytes that `pictures` limits the whole process to; None: three quarters of what is free.
        controls: strength, stroke size, colors and a mask; `with_controls` gives others.
        weights: of a gallery: the styles and their weights, see `mix`; default: its first style.

    Attributes:
        about: the metadata of the checkpoint.
        style: the name of the style, or of those that are mixed.
        styles: the styles that `mix` can take; empty for a network of one style.
        weights: of a gallery, the weight of each style in the mixture, summing to 1; else empty.

    Raises:
        InputError: an unknown engine, device or precision; a device this machine lacks, or an engine that
            is not installed or does not work here; a style that the gallery lacks.
    """

    in_parts = "stylizing it in row bands"

    def __init__(
        self,
        checkpoint: Checkpoint | GalleryCheckpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        memory: int | None = None,
        controls: Controls = DEFAULT,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        trained = TrainedStyle(checkpoint.metadata, checkpoint.network.config, lambda: checkpoint)
        engine = EngineSettings(device, precision, backend)
        name = str(checkpoint.metadata.get("style", "unnamed"))
        self._open(trained, engine, memory, controls, weights, name)

    @classmethod
    def load(
        cls,
        style: str | Path | StyleChoice,
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        memory: int | None = None,
        controls: Controls = DEFAULT,
    ) -> Stylizer:
        """A bundled style by name, one from a .safetensors file, or a mixture of a gallery's styles.

        Args:
            style: see the table in `fast_nst.inference.styles`.

        Raises:
            CheckpointError: no such style, or a file that cannot be used.
            InputError: as above.
        """
        choice = style if isinstance(style, StyleChoice) else choose_style(style)
        stylizer = cls.__new__(cls)
        trained = trained_style(choice.file)
        engine = EngineSettings(device, precision, backend)
        stylizer._open(trained, engine, memory, controls, choice.weights, choice.name)
        return stylizer

    def _open(
        self,
        trained: TrainedStyle,
        engine: EngineSettings,
        memory: int | None,
        controls: Controls,
        weights: Mapping[str, float] | None,
        name: str,
        opened: Backend | None = None,
    ) -> None:
        self._trained, self._engine = trained, engine
        self.metadata, self._config = dict(trained.metadata), trained.config
        rows = trained.rows
        self.styles = tuple(styles_of(rows))
        if weights is None and self.styles:
            weights = {self.styles[0]: 1.0}
        if weights and not self.styles:
            raise InputError(f"{name} is one style; only those of a gallery can be mixed")
        self.weights = mixture_shares(weights) if weights is not None else {}
        self.style = name if len(self.weights) != 1 else next(iter(self.weights))
        self.controls = controls
        self._mixture, self._applied = None, controls
        if self.weights:
            strength, stroke = controls.strength, controls.stroke
            self._mixture = mix_rows(rows, self.weights, strength=strength or 1.0, stroke=stroke)
            # What the rows have not done of it.
            left = 1.0 if strength else 0.0
            self._applied = dataclasses.replace(controls, strength=left, stroke=self._mixture.stroke)
        backend = trained.open(self._mixture, engine, opened)
        super().__init__(backend, memory, stylizes=True, may_advise=engine.backend == "auto")

    def with_controls(self, controls: Controls) -> Stylizer:
        """The same style, on the same engine, with other controls.

        Of a gallery, another strength or stroke size is another mixture of rows: with OpenVINO and
        onnxruntime at once, with PyTorch the network is prepared again.
        """
        before = self.controls
        if self.weights and (controls.strength, controls.stroke) != (before.strength, before.stroke):
            return self._remixed(self.weights, controls, self.style)
        other = copy.copy(self)
        other.controls = controls
        strength, stroke = (controls.strength, controls.stroke)
        if self._mixture is not None:
            strength, stroke = self._applied.strength, self._applied.stroke
        other._applied = dataclasses.replace(controls, strength=strength, stroke=stroke)
        return other

    def mix(
        self, weights: Mapping[str, float], *, strength: float | None = None, stroke: float | None = None
    ) -> Stylizer:
        """Other styles of the same gallery, mixed by weight: one network, at the cost of a single style.

        Args:
            weights: of the styles, above 0; they are divided by their sum.
            strength: from 0, the content image, to 1 [default: as it is].
            stroke: stroke size, 1 is the style's own [default: as it is].

        Raises:
            InputError: not a gallery, an unknown style, or a value out of its range.
        """
        if not self.styles:
            raise InputError(f"{self.style} is one style; only those of a gallery can be mixed")
        controls = dataclasses.replace(
            self.controls,
            strength=self.controls.strength if strength is None else strength,
            stroke=self.controls.stroke if stroke is None else stroke,
        )
        return self._remixed(weights, controls, "-".join(weights))

    def _remixed(self, weights: Mapping[str, float], controls: Controls, name: str) -> Stylizer:
        other = type(self).__new__(type(self))
        other._open(self._trained, self._engine, self.memory, controls, weights, name, self.backend)
        return other

    def run_float(self, images: Tensor) -> Tensor:
        """As `Predictor.run_float`.

        Raises:
            InputError: also where there are controls: they work on pictures.
        """
        if not self._applied.are_default:
            raise InputError("controls do not work on tensors; give a picture, an array or a file")
        return super().run_float(images)

    def pictures(
        self, pictures: Sequence[Picture], *, progress: Callable[[float], None] = no_progress
    ) -> list[Picture]:
        """As `Predictor.pictures`, with the controls."""
        whole = functools.partial(super().pictures, progress=progress)
        if self._applied.are_default:
            return whole(pictures)

        def stylize(picture: Picture) -> Picture:
            return whole([picture])[0]

        with self._lock:
            made = [apply_controls(stylize, picture, self._applied) for picture in pictures]
        return [add_layers(one, picture, self.controls) for one, picture in zip(made, pictures, strict=True)]

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

        def stylize(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
            size = images.shape[1], images.shape[2]
            planned = plan_bands(self._config, *size, self._free_memory(*size, 1))
            if rows is not None:
                planned = BandPlan(rows, planned.maps)
            return self._torch_backend().run_in_bands(images[0], planned, progress)[None]

        with self._lock:
            stylized = flat_pictures.run_uint8(stylize, picture.rgb[None])[0]
        return self._finished(picture, stylized)

    def _torch_backend(self) -> TorchBackend:
        """The engine, if it is PyTorch; the others take whole images only, so they get one for row bands."""
        from fast_nst.inference.engine.backends.pytorch import TorchBackend

        if isinstance(self.backend, TorchBackend):
            return self.backend
        precision = "fp32" if self.precision == "int8" else self.precision
        return TorchBackend(self._trained.source(self._mixture), self.device, precision)

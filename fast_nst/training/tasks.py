"""What is learned: all that the loop does not know itself, for styles and for super-resolution.

A task has the objective, makes a network's input from a photograph, reports the losses, and scores and shows
results. Everything else, from the photographs to the saved state, is the trainer's and the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fast_nst.config import GalleryTrainConfig, RunConfig, TrainConfig, UpscaleTrainConfig
from fast_nst.errors import InputError
from fast_nst.evaluation.metrics import luma, psnr, ssim
from fast_nst.io.images import Levels, from_uint8, to_uint8
from fast_nst.models.losses import LossTerms
from fast_nst.models.model_files import ADDED, find_gallery, read_metadata
from fast_nst.models.reconstruction import ReconstructionTerms
from fast_nst.models.resampling import downsample, upsample
from fast_nst.report import ObjectiveReport, StepReport, TaskReport, UpscaleReport
from fast_nst.training.data.crops import SCENE
from fast_nst.training.data.sampling import rows_of
from fast_nst.training.data.styles import GalleryStyle
from fast_nst.training.logging.previews import NetworkFunction, PreviewSheet, gallery_sheet, style_sheet
from fast_nst.training.objective import CallableObjective, Objective
from fast_nst.training.step import Rows

__all__ = ["GalleryTask", "StyleTask", "Task", "UpscaleTask"]


class Task(Protocol):
    """What a run learns.

    Attributes:
        objective: what is minimized.
        origin: hashes of what the result depends on besides the photographs and the settings.
        stage_objectives: what is minimized instead in a stage, by the size of its crops.
        temporal: weight of the temporal loss; 0 for none.
        border: weight of the border loss; 0 for none.
        details: what the checkpoint records besides the settings.
        rows: of a network of many styles, the rows of a step's images; None for one style.
    """

    temporal: float
    border: float
    stage_objectives: Mapping[int, Objective]
    origin: dict[str, str]
    details: dict[str, Any]

    @property
    def flat_share(self) -> float:
        """Share of the crops that are flat."""

    @property
    def zoom(self) -> float:
        """How many times less than a scene a crop may show."""

    @property
    def rows(self) -> Rows | None: ...

    @property
    def objective(self) -> Objective: ...

    @property
    def network_input(self) -> Callable[[Levels], Levels] | None:
        """Makes the network's input from a ``(3, S, S)`` crop, in threads; None: the crop itself."""

    def photo_size(self, size: int) -> int:
        """Short side of the photographs that crops of this size are cut from, pixels."""

    def report(self, terms: Mapping[str, float], measured: Mapping[str, float], **details: Any) -> TaskReport:
        """A step's report: its terms, the validation if it was due, and what all tasks share."""

    def score(self, results: Tensor, photos: Tensor) -> dict[str, float]:
        """Metrics of ``(B, 3, S, S)`` results besides the objective, means over the batch."""

    @property
    def sheet(self) -> PreviewSheet:
        """Makes the preview of photographs and results."""


def _photo_size(config: RunConfig, size: int) -> int:
    """Small crops come from photographs downsampled as much: scenes, and not flat details of them."""
    return round((config.photo_size or config.image_size * SCENE) * size / config.image_size)


class StyleTask:
    """Learns one style.

    Args:
        style: ``(H, W, 3)`` uint8, the style image, shown in previews.
        stage_objectives: see `Task`.
    """

    network_input = rows = None

    def __init__(
        self,
        config: TrainConfig,
        objective: Objective,
        origin: dict[str, str],
        style: Levels,
        *,
        stage_objectives: Mapping[int, Objective] | None = None,
    ) -> None:
        if config.temporal and isinstance(objective, CallableObjective):
            raise InputError("--temporal needs the objective of the config; leave out objective= or temporal")
        self.objective, self.origin = objective, origin
        self.stage_objectives: Mapping[int, Objective] = stage_objectives or {}
        self.details: dict[str, Any] = {}
        self.temporal = config.temporal_weight if config.temporal else 0.0
        self.border = 0.0 if isinstance(objective, CallableObjective) else config.border_weight
        self.flat_share, self.zoom = config.flat_share, config.zoom
        self.sheet: PreviewSheet = style_sheet(style)
        self._config = config

    def photo_size(self, size: int) -> int:
        """See `_photo_size`."""
        return _photo_size(self._config, size)

    def report(self, terms: Mapping[str, float], measured: Mapping[str, float], **details: Any) -> TaskReport:
        """See `Task.report`."""
        if terms.keys() != set(LossTerms._fields):
            return ObjectiveReport(values=dict(terms), validation=measured.get("objective"), **details)
        return StepReport(validation=measured.get("objective"), **{**details, **terms})

    def score(self, results: Tensor, photos: Tensor) -> dict[str, float]:
        """Nothing but the objective."""
        return {}


class GalleryTask:
    """Learns many styles at once.

    Args:
        styles: the style images, in the order of their rows.
        images: of each row, ``(3, H, W)`` in [0, 1]; None for the content row.
        rank, processes: which equal share of each batch this process has, of how many.
    """

    network_input, flat_share, border = None, 0.0, 0.0

    def __init__(
        self,
        config: GalleryTrainConfig,
        objective: Objective,
        origin: dict[str, str],
        styles: list[GalleryStyle],
        images: list[Tensor | None],
        *,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if isinstance(objective, CallableObjective):
            raise InputError("a gallery needs the objective of the config; leave out objective=")
        self.objective, self.origin, self.images = objective, origin, images
        self.stage_objectives: Mapping[int, Objective] = {}
        self.temporal = config.temporal_weight if config.temporal else 0.0
        self._config, self._rank, self._processes = config, rank, processes
        self.zoom = config.zoom
        listed: list[dict[str, Any]] = [
            {"style": style.id, "scale": scale} for style in styles for scale in config.scales
        ]
        rows = [] if config.extend is not None else [{"style": None, "scale": 0.0}]
        self.details: dict[str, Any] = {
            "rows": [*rows, *listed],
            "styles": [style.details for style in styles],
        }
        if config.extend is not None:
            self.details[ADDED] = read_metadata(find_gallery(config.extend))["sha256"]
        self.sheet: PreviewSheet = gallery_sheet(len(self.details["rows"]))

    @property
    def names(self) -> list[str | None]:
        """The style of each row; None for the content row."""
        return [row["style"] for row in self.details["rows"]]

    def rows(self, step: int, count: int) -> Tensor:
        """See `step.Rows`: a pure function of the seed and the step."""
        of_all = rows_of(self._config.seed, step - 1, count * self._processes, len(self.details["rows"]))
        return torch.tensor(of_all[self._rank * count : (self._rank + 1) * count])

    def photo_size(self, size: int) -> int:
        """See `_photo_size`."""
        return _photo_size(self._config, size)

    def report(self, terms: Mapping[str, float], measured: Mapping[str, float], **details: Any) -> TaskReport:
        """See `Task.report`."""
        shown = {name: value for name, value in terms.items() if name != "temporal" or self.temporal}
        return ObjectiveReport(values=shown, validation=measured.get("objective"), **details)

    def score(self, results: Tensor, photos: Tensor) -> dict[str, float]:
        """Nothing; `GalleryValidation` measures each style."""
        return {}


class UpscaleTask:
    """Learns super-resolution."""

    PHOTO_SIZE = 512  # pixels; COCO's are taken as they are, and what a camera blurs is left out

    temporal, border, flat_share, zoom, rows = 0.0, 0.0, 0.0, 1.0, None

    def __init__(self, config: UpscaleTrainConfig, objective: Objective, origin: dict[str, str]) -> None:
        self.objective, self.origin = objective, origin
        self.stage_objectives: Mapping[int, Objective] = {}
        self.details: dict[str, Any] = {}
        self.factor, self._photo_size = config.network.factor, config.photo_size

    def network_input(self, crop: Levels) -> Levels:
        """The crop at low resolution."""
        return downsample(crop, self.factor)

    def photo_size(self, size: int) -> int:
        """Photographs keep their size: downsampled, they would be sharper than any other."""
        return max(size, self._photo_size or self.PHOTO_SIZE)

    def report(self, terms: Mapping[str, float], measured: Mapping[str, float], **details: Any) -> TaskReport:
        """See `Task.report`."""
        details |= {"validation": measured.get("objective")}
        if terms.keys() != set(ReconstructionTerms._fields):
            return ObjectiveReport(values=dict(terms), **details)
        return UpscaleReport(psnr=measured.get("psnr"), ssim=measured.get("ssim"), **{**details, **terms})

    def score(self, results: Tensor, photos: Tensor) -> dict[str, float]:
        """PSNR and SSIM as the literature computes them, as if both images had been saved."""
        found = [
            tuple(metric(*(luma(to_uint8(image), self.factor) for image in pair)) for metric in (psnr, ssim))
            for pair in zip(results, photos, strict=True)
        ]
        return dict(zip(("psnr", "ssim"), np.mean(found, axis=0).tolist(), strict=True))

    def sheet(self, network: NetworkFunction, crops: Tensor) -> tuple[Levels, Tensor]:
        """A row for each photograph: low resolution, bicubic, ours, original; see `PreviewSheet`."""
        rows, values = [], []
        for crop in crops.numpy():
            low = downsample(crop, self.factor)
            result = network(from_uint8(low.transpose(1, 2, 0))[None])[0]
            cells = low.repeat(self.factor, axis=1).repeat(self.factor, axis=2)
            row = [cells, upsample(low, self.factor), to_uint8(result).transpose(2, 0, 1), crop]
            rows.append(np.concatenate(row, axis=2))
            values.append(result.flatten()[::7])
        return np.concatenate(rows, axis=1).transpose(1, 2, 0), torch.cat(values)

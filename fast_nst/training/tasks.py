"""What is learned: all that the loop does not know itself, for styles and for super-resolution.

A task has the objective, makes a network's input from a photograph, reports the losses, and scores and shows
results. Everything else, from the photographs to the saved state, is the trainer's and the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.config import TrainConfig, UpscaleTrainConfig
from fast_nst.errors import InputError
from fast_nst.evaluation.metrics import luma, psnr, ssim
from fast_nst.io.images import from_uint8, to_uint8
from fast_nst.models.losses import LossTerms
from fast_nst.models.reconstruction import ReconstructionTerms
from fast_nst.models.resampling import downsample, upsample
from fast_nst.report import ObjectiveReport, StepReport, TaskReport, UpscaleReport
from fast_nst.training.logging.previews import NetworkFunction, PreviewSheet, style_sheet
from fast_nst.training.objective import CallableObjective, Objective

__all__ = ["StyleTask", "Task", "UpscaleTask"]

Levels = NDArray[np.uint8]


class Task(Protocol):
    """What a run learns.

    Attributes:
        objective: what is minimized.
        origin: hashes of what the result depends on besides the photographs and the settings.
        temporal: weight of the temporal loss; 0 for none.
    """

    temporal: float
    origin: dict[str, str]

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


class StyleTask:
    """Learns one style.

    Args:
        style: ``(H, W, 3)`` uint8, the style image, shown in previews.
    """

    network_input = None

    def __init__(
        self, config: TrainConfig, objective: Objective, origin: dict[str, str], style: Levels
    ) -> None:
        if config.temporal and isinstance(objective, CallableObjective):
            raise InputError("--temporal needs the objective of the config; leave out objective= or temporal")
        self.objective, self.origin = objective, origin
        self.temporal = config.temporal_weight if config.temporal else 0.0
        self.sheet: PreviewSheet = style_sheet(style)
        self._config = config

    def photo_size(self, size: int) -> int:
        """Small crops come from photographs downsampled as much: scenes, and not flat details of them."""
        c = self._config
        return round((c.photo_size or c.image_size * 9 / 8) * size / c.image_size)

    def report(self, terms: Mapping[str, float], measured: Mapping[str, float], **details: Any) -> TaskReport:
        """See `Task.report`."""
        if terms.keys() != set(LossTerms._fields):
            return ObjectiveReport(values=dict(terms), validation=measured.get("objective"), **details)
        return StepReport(validation=measured.get("objective"), **{**details, **terms})

    def score(self, results: Tensor, photos: Tensor) -> dict[str, float]:
        """Nothing but the objective."""
        return {}


class UpscaleTask:
    """Learns super-resolution."""

    PHOTO_SIZE = 512  # pixels; COCO's are taken as they are, and what a camera blurs is left out

    temporal = 0.0

    def __init__(self, config: UpscaleTrainConfig, objective: Objective, origin: dict[str, str]) -> None:
        self.objective, self.origin = objective, origin
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

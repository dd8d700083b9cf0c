"""What is learnt: all that the loop does not know of itself. `open_task` is where it is decided, once.

A task has the network and the objective, makes a network's input of a photograph, reports its losses and
judges and shows what the network makes. Everything else, from the photographs to the saved state, is the
trainer's and the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.config import TaskConfig, TrainConfig, UpscaleTrainConfig
from fast_nst.evaluation.metrics import luma, psnr, ssim
from fast_nst.io.images import from_uint8, load_image, to_uint8
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.reconstruction import ReconstructionLoss
from fast_nst.models.resampling import enlarged, reduced
from fast_nst.models.vgg import weights_digest
from fast_nst.report import StepReport, TaskReport, UpscaleReport
from fast_nst.training.builders import build_objective, build_reconstruction
from fast_nst.training.logging.previews import Painter, Sheet, stylized
from fast_nst.training.process_group import ProcessGroup

__all__ = ["StyleTask", "Task", "UpscaleTask", "open_task"]

Levels = NDArray[np.uint8]


class Task(Protocol):
    """What a run learns.

    Attributes:
        objective: what is minimized.
        origin: hashes of what the result depends on besides the photographs and the settings.
        temporal: weight of the steadiness of videos; 0 for none.
    """

    temporal: float

    @property
    def objective(self) -> PerceptualLoss | ReconstructionLoss: ...

    @property
    def origin(self) -> dict[str, str]: ...

    @property
    def given(self) -> Callable[[Levels], Levels] | None:
        """What a network gets instead of a ``(3, S, S)`` crop; None: the crop itself. Called in threads."""

    def photo_size(self, size: int) -> int:
        """Short side of the photographs that crops of this size are cut from, pixels."""

    def report(self, values: list[float], measured: Mapping[str, float], **details: Any) -> TaskReport:
        """A step's report: the terms' values, what validation found if it was due, and what all share."""

    def score(self, made: Tensor, photos: Tensor) -> dict[str, float]:
        """What is to be known of ``(B, 3, S, S)`` results besides the objective, means over the batch."""

    @property
    def sheet(self) -> Sheet:
        """Photographs and what a network makes of them, as one picture."""


class StyleTask:
    """To paint like one painting."""

    given = None

    def __init__(self, config: TrainConfig, device: torch.device, group: ProcessGroup) -> None:
        painting = load_image(config.style, short_side=config.style_size, max_pixels=config.max_pixels)
        # Now, and not at the end: the painting may have been moved by then.
        self.origin = {"style_sha256": sha256(config.style.read_bytes()).hexdigest()}
        self.objective = build_objective(config, painting, device, group)
        self.origin["vgg_sha256"] = weights_digest(self.objective.features)
        self.temporal = config.temporal_weight if config.temporal else 0.0
        self.sheet: Sheet = stylized
        self._config = config

    def photo_size(self, size: int) -> int:
        """Small crops come from photographs as much smaller: scenes, and not flat details of them."""
        c = self._config
        return round((c.photo_size or c.image_size * 9 / 8) * size / c.image_size)

    def report(self, values: list[float], measured: Mapping[str, float], **details: Any) -> StepReport:
        """See `Task.report`."""
        content, style, tv, grid, temporal = values
        return StepReport(
            content=content,
            style=style,
            tv=tv,
            grid=grid,
            temporal=temporal,
            validation=measured.get("objective"),
            **details,
        )

    def score(self, made: Tensor, photos: Tensor) -> dict[str, float]:
        """Nothing but the objective."""
        return {}


class UpscaleTask:
    """To enlarge pictures."""

    PHOTO_SIZE = 512  # pixels; COCO's are taken as they are, and what a camera blurs is left out

    temporal = 0.0

    def __init__(self, config: UpscaleTrainConfig, device: torch.device, group: ProcessGroup) -> None:
        self.objective = build_reconstruction(config, device, group)
        features = self.objective.features
        self.origin = {} if features is None else {"vgg_sha256": weights_digest(features)}
        self.factor, self._photo_size = config.network.factor, config.photo_size

    def given(self, crop: Levels) -> Levels:
        """The crop at low resolution."""
        return reduced(crop, self.factor)

    def photo_size(self, size: int) -> int:
        """Photographs are what they are: reduced, they would be sharper than any other."""
        return max(size, self._photo_size or self.PHOTO_SIZE)

    def report(self, values: list[float], measured: Mapping[str, float], **details: Any) -> UpscaleReport:
        """See `Task.report`."""
        feature, pixel, grid = values
        return UpscaleReport(
            feature=feature,
            pixel=pixel,
            grid=grid,
            validation=measured.get("objective"),
            psnr=measured.get("psnr"),
            ssim=measured.get("ssim"),
            **details,
        )

    def score(self, made: Tensor, photos: Tensor) -> dict[str, float]:
        """PSNR and SSIM as the literature takes them, as if both pictures had been saved."""
        found = [
            tuple(
                measure(*(luma(to_uint8(image), self.factor) for image in pair)) for measure in (psnr, ssim)
            )
            for pair in zip(made, photos, strict=True)
        ]
        return dict(zip(("psnr", "ssim"), np.mean(found, axis=0).tolist(), strict=True))

    def sheet(self, network: Painter, crops: Tensor) -> tuple[Levels, Tensor]:
        """A row for each photograph: low resolution, bicubic, ours, original; see `Sheet`."""
        rows, values = [], []
        for crop in crops.numpy():
            low = reduced(crop, self.factor)
            made = network(from_uint8(low.transpose(1, 2, 0))[None])[0]
            cells = low.repeat(self.factor, axis=1).repeat(self.factor, axis=2)
            row = [cells, enlarged(low, self.factor), to_uint8(made).transpose(2, 0, 1), crop]
            rows.append(np.concatenate(row, axis=2))
            values.append(made.flatten()[::7])
        return np.concatenate(rows, axis=1).transpose(1, 2, 0), torch.cat(values)


def open_task(config: TaskConfig, device: torch.device, group: ProcessGroup) -> Task:
    """The task of a run.

    Raises:
        InputError: a painting or weights that cannot be read.
    """
    if isinstance(config, UpscaleTrainConfig):
        return UpscaleTask(config, device, group)
    return StyleTask(config, device, group)

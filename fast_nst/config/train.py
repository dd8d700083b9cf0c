"""Settings for training a style."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fast_nst.config.checks import check_least
from fast_nst.config.loss import BY_OBJECTIVE
from fast_nst.config.network import PRESETS, NetworkConfig, Preset
from fast_nst.config.recipe import EXTERNAL
from fast_nst.config.run import TaskName
from fast_nst.config.style_run import LEAST_STYLE_SIZE, StyleRunConfig
from fast_nst.errors import InputError

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class _Style:
    """The first option: fields come in the order of the base classes, from the last to the first."""

    style: Path = field(metadata=EXTERNAL)
    """style image"""


# Steps, batch, size and learning rate are those of Johnson et al. 2016, section 4.1.
@dataclass(frozen=True)
class TrainConfig(StyleRunConfig, _Style):
    """Train a style transfer network from one style image and a folder of content images."""

    task: TaskName = "style"
    """what to train; --task super-resolution --help lists its options"""
    style_size: int = BY_OBJECTIVE
    """shorter side of the style image, pixels: larger makes larger brush strokes [default: 256;
    --objective dimensionless, paper: 384]"""
    start_style_size: int | None = None
    """with --start-size: shorter side of the style image in that first stage, pixels [default: reduced as
    much as the crops, so that strokes keep their share of the picture]"""
    preset: Preset = "default"
    """network: full, half or quarter width, or the paper's own"""
    upsample: Literal["preset", "tied", "free", "paper"] = "preset"
    """fractionally-strided convolutions, to override the preset"""

    border_weight: float = BY_OBJECTIVE
    """weight of the border loss: near its edges an image is painted as if it went on beyond them, so that a
    long training paints no frame; a tenth more work [default: 20; --objective paper, --preset paper: 0]"""
    flat_share: float = 1 / 16
    """share of the training crops that are replaced by flat, two-tone and gradient pictures; without them a
    white frame becomes nearly black"""

    def __post_init__(self) -> None:
        if isinstance(self.style, str):
            object.__setattr__(self, "style", Path(self.style))
        if self.style_size is None:
            object.__setattr__(self, "style_size", self.loss.preset.style_size)
        super().__post_init__()
        if self.task != "style":
            raise InputError(f"TrainConfig is for the task style, got {self.task!r}: UpscaleTrainConfig is")
        if self.start_style_size is not None:
            if self.start_size is None:
                raise InputError("--start-style-size needs --start-size, the stage that it is for")
            check_least(self, {"start_style_size": LEAST_STYLE_SIZE})
        if self.border_weight is None:
            weight = 0.0 if self.network.norm == "batch" else self.loss.preset.border_weight
            object.__setattr__(self, "border_weight", weight)
        check_least(self, {"border_weight": 0})
        if self.border_weight and self.network.norm == "batch":
            raise InputError(
                f"--preset {self.preset} has batch normalization, where an image's result depends on the "
                f"batch, and no border loss; give --border-weight 0, got {self.border_weight}"
            )
        if not 0 <= self.flat_share <= 1:
            raise InputError(f"--flat-share is a share from 0 to 1, got {self.flat_share}")

    @property
    def first_style_size(self) -> int:
        """Shorter side of the style image in the first stage."""
        if self.start_style_size is not None:
            return self.start_style_size
        crop = self.start_size or self.image_size
        return max(LEAST_STYLE_SIZE, round(self.style_size * crop / self.image_size))

    @property
    def name(self) -> str:
        """The style image's name."""
        return self.style.stem.replace("_", "-")

    @property
    def network(self) -> NetworkConfig:
        """The preset with its overrides."""
        preset = PRESETS[self.preset]
        if self.upsample == "preset":
            return preset
        return dataclasses.replace(preset, upsample=self.upsample)

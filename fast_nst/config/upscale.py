"""Super-resolution: training it and using it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fast_nst.config.checks import check_least
from fast_nst.config.loss import LossNetwork
from fast_nst.config.network import UPSCALE_PRESETS, UpscaleNetConfig, UpscalePreset
from fast_nst.config.run import RunConfig, TaskName
from fast_nst.config.stylize import InferenceConfig, Precision
from fast_nst.errors import InputError

__all__ = ["EvaluateConfig", "ReconstructionConfig", "UpscaleConfig", "UpscaleLoss", "UpscaleTrainConfig"]

UpscaleLoss = Literal["feature", "pixel"]


@dataclass(frozen=True)
class ReconstructionConfig:
    """Layers and weights of the objective (Johnson et al. 2016, sections 3.2 and 4.2)."""

    feature_layers: tuple[str, ...] = ("relu2_2",)
    """with --loss feature: layers of the loss network whose features are compared"""
    # Features alone ask for as much fine structure as a photograph has, wherever it belongs: a network that
    # cannot know that produces a mesh of 3 pixels. At 150 a trace of it is left in sand and wool at x4.
    pixel_weight: float = 350.0
    """with --loss feature: weight of the mean squared error of pixels, added to the feature loss"""
    grid_weight: float = 20.0
    """with --loss feature: weight of the checkerboard loss, of patterns with the period of the factor"""

    def __post_init__(self) -> None:
        check_least(self, {"pixel_weight": 0, "grid_weight": 0})
        if not self.feature_layers:
            raise InputError("--feature-layers needs at least one layer, such as relu2_2")


@dataclass(frozen=True)
class UpscaleTrainConfig(RunConfig):
    """Train a super-resolution model from a folder of photographs."""

    task: TaskName = "super-resolution"
    """what to train; --task style --help lists its options"""
    factor: int | None = None
    """upscaling factor: 2, 4 or 8 [default: the preset's, else 4]"""
    loss: UpscaleLoss = "feature"
    """feature loss, for results that look sharp, or pixel loss, for the highest PSNR"""
    # Johnson et al. 2016, section 4.2: 200,000 steps of 4 patches of 288 x 288, Adam with rate 1e-3.
    steps: int = 200_000
    """optimizer steps"""
    image_size: int = 288
    """side of the square patches at full resolution, pixels"""
    preset: UpscalePreset = "modern"
    """architecture: modern for any factor, or the paper's x4 or x8"""
    blocks: int | None = None
    """residual blocks [default: the preset's]"""
    upsample: Literal["preset", "paper", "tied", "shuffle"] = "preset"
    """upsampling layers, to override the preset"""

    objective: ReconstructionConfig = field(default_factory=ReconstructionConfig)

    def __post_init__(self) -> None:
        network = self.network  # checks the factor, which the sides of patches depend on
        object.__setattr__(self, "factor", network.factor)
        super().__post_init__()
        if self.task != "super-resolution":
            raise InputError(f"UpscaleTrainConfig is for super-resolution, got {self.task!r}: TrainConfig is")

    @property
    def multiple(self) -> int:
        """So that patches are reduced to whole pixels."""
        return max(4, self.network.factor)

    @property
    def name(self) -> str:
        """``x4``, or ``x4-pixel``."""
        return f"x{self.network.factor}" + ("-pixel" if self.loss == "pixel" else "")

    @property
    def network(self) -> UpscaleNetConfig:
        """The preset with its overrides."""
        preset = UPSCALE_PRESETS[self.preset]
        if self.preset != "modern" and self.factor not in (None, preset.factor):
            raise InputError(
                f"--preset {self.preset} is for factor {preset.factor}, got --factor {self.factor}; "
                f"give --preset x{self.factor}, or leave one of them out"
            )
        upsample = preset.upsample if self.upsample == "preset" else self.upsample
        factor = preset.factor if self.factor is None else self.factor
        blocks = preset.blocks if self.blocks is None else self.blocks
        return dataclasses.replace(preset, factor=factor, blocks=blocks, upsample=upsample)


@dataclass(frozen=True)
class _Model:
    """The first options, as in `StylizeConfig`."""

    factor: int | None = None
    """upscaling factor [default: the model's, else 4]"""
    model: str | None = None
    """a bundled model's name or a .safetensors file [default: x4 or x8, as the factor says]"""
    # Johnson et al. 2016 match histograms where features were learnt, which say little about flat colors.
    match_histogram: Literal["auto", "on", "off"] = "auto"
    """match the colors of results to their inputs; auto does so for models trained with a feature loss"""
    backend: Literal["auto", "torch", "compile"] = "auto"
    """engine (compile takes a minute before the first picture)"""


@dataclass(frozen=True)
class UpscaleConfig(InferenceConfig, _Model):
    """Upscale images with a super-resolution model."""

    @property
    def name(self) -> str:
        """The model's name or file."""
        return self.model or f"x{self.factor or 4}"


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate super-resolution models on the test sets of the literature."""

    model: tuple[str, ...] = ()
    """bundled names or .safetensors files to compare with bicubic interpolation"""
    data: tuple[str, ...] = ()
    """folders of test images: Set5, Set14, BSD100"""
    factor: int = 4
    """upscaling factor"""
    out: Path = Path("evaluation")
    """folder for table.md, results.json and the crops"""
    match_histogram: Literal["auto", "on", "off"] = "auto"
    """as in fast-nst upscale"""
    loss_network: LossNetwork = "vgg16"
    """network whose features are compared"""
    vgg_weights: Path | None = None
    """its weights, .safetensors or .pth [default: downloaded once]"""
    feature_layer: str = "relu2_2"
    """layer of that network; empty for no feature distances"""
    crops: int = 5
    """number of images to show a crop of, spread evenly over all"""
    device: str = "auto"
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: Precision = "fp32"
    """precision of the convolutions"""
    overwrite: bool = False
    """replace an earlier evaluation in the folder"""

    def __post_init__(self) -> None:
        if self.factor not in (2, 4, 8):
            raise InputError(f"--factor must be 2, 4 or 8, got {self.factor}")
        check_least(self, {"crops": 0})
        if not self.data:
            raise InputError("--data FOLDER must be given, such as --data Set5 Set14")

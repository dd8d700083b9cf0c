"""Every tunable, as frozen dataclasses: its help text, its unit and where the number comes from.

One tree gives the command line's flags, the TOML file of a run, the Python API and the checkpoint's metadata.
The text under a field is its help. Nothing here imports torch, so ``--help`` is quick.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fast_nst.errors import InputError

__all__ = [
    "PRESETS",
    "ExportConfig",
    "LossConfig",
    "NetworkConfig",
    "StylizeConfig",
    "TrainConfig",
]

LossNetwork = Literal["vgg16", "vgg19"]
Preset = Literal["default", "small", "tiny", "paper"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Backend = Literal["auto", "torch", "compile", "openvino", "onnx"]

# The paper's four layers for VGG-16 (section 4.1). VGG-19 has a fourth convolution in blocks 3 and 4; the
# second is taken there: half-way into its block, and a quarter cheaper than the last.
STYLE_LAYERS: dict[str, tuple[str, ...]] = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    "vgg19": ("relu1_2", "relu2_2", "relu3_2", "relu4_2"),
}


@dataclass(frozen=True)
class NetworkConfig:
    """The image transformation network (Johnson et al. 2016, supplementary material, table 1)."""

    widths: tuple[int, int, int] = (32, 64, 128)
    """channels at full, half and quarter size"""
    blocks: int = 5
    """residual blocks"""
    norm: Literal["instance", "batch"] = "instance"
    """the paper has batch norm; its released models instance norm, which suits one style better"""
    upsample: Literal["tied", "free", "paper"] = "tied"
    """fractionally-strided convolution: 4x4 tied to nearest x2 + 3x3, 4x4 free, or the paper's 3x3"""
    padding: Literal["reflect", "paper"] = "reflect"
    """reflection at every convolution, or once at the input as in the paper"""
    output: Literal["linear", "tanh"] = "linear"
    """what follows the last convolution"""
    # The released code multiplies by 150 on a scale of 0 to 255, around the mean of the data.
    tanh_scale: float = 0.588
    """half the range of the scaled tanh, in units of the picture's range"""

    def __post_init__(self) -> None:
        # The upper limits are far beyond use: a damaged file is to be refused before it fills the memory.
        if len(self.widths) != 3 or not 1 <= min(self.widths) <= max(self.widths) <= 4096:
            raise InputError(f"widths are three numbers of channels from 1 to 4096, got {self.widths}")
        if not 0 <= self.blocks <= 100:
            raise InputError(f"blocks must lie between 0 and 100, got {self.blocks}")
        if not 0 < self.tanh_scale < float("inf"):
            raise InputError(f"tanh_scale must be a finite number above 0, got {self.tanh_scale}")


PRESETS: dict[str, NetworkConfig] = {
    "default": NetworkConfig(),
    "small": NetworkConfig(widths=(16, 32, 64)),
    "tiny": NetworkConfig(widths=(8, 16, 32)),
    "paper": NetworkConfig(norm="batch", upsample="paper", padding="paper", output="tanh"),
}


@dataclass(frozen=True)
class LossConfig:
    """Weights and layers of the perceptual objective (Johnson et al. 2016, section 3.2)."""

    objective: Literal["dimensionless", "paper"] = "dimensionless"
    """relative errors, whose weights suit any painting, or the paper's unnormalised sums"""
    content_weight: float = 1.0
    """weight of the content term"""
    # Relative errors of both kinds are of order 1 untrained. At 5, a trained network keeps the photograph
    # readable and reaches a tenth to a fifth of its style distance; the README has the table.
    style_weight: float = 5.0
    """weight of the style term"""
    # The paper gives only a range, 1e-6 to 1e-4, for a sum over 0-255 pixels; ours is a mean on [0, 1].
    tv_weight: float = 1.0
    """weight of the total-variation term"""
    # Phases of the 4-pixel grid differ by about 2 grey levels untreated; at 100 that costs as much as a tenth
    # of the objective, and far less once it is gone.
    grid_weight: float = 100.0
    """weight of the energy of a grid of period 2 or 4 in what the network paints"""
    # The arXiv text says relu2_2, the conference text and the released code relu3_3. The shallower one keeps
    # lines and faces better at the same style distance.
    content_layers: tuple[str, ...] = ("relu2_2",)
    """layers compared for content"""
    style_layers: tuple[str, ...] = ()
    """layers compared for style [default: relu1_2 relu2_2 relu3_3 relu4_3, for vgg19 relu3_2 relu4_2]"""

    def __post_init__(self) -> None:
        for name in ("content_weight", "style_weight", "tv_weight", "grid_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{_flag(name)} must be a finite number of at least 0, got {value}")
        if not (self.content_weight or self.style_weight or self.tv_weight):
            raise InputError("the content, style and tv weights are all 0: there is nothing to learn")
        if not self.content_layers:
            raise InputError("--content-layers needs at least one layer, such as relu2_2")

    def style_layers_for(self, arch: str) -> tuple[str, ...]:
        """The layers asked for, else the defaults of that loss network."""
        return self.style_layers or STYLE_LAYERS[arch]


@dataclass(frozen=True)
class TrainConfig:
    """Train a style network from one painting and a folder of photographs."""

    style: Path
    """the painting"""
    dataset: str
    """photographs: a folder (sub-folders too), a .zip read in place, or the word coco"""
    out: Path | None = None
    """the checkpoint to write [default: STYLE.safetensors]"""
    run: Path | None = None
    """folder for state, logs and previews [default: runs/STYLE]"""
    resume: bool = False
    """go on from the last saved state of the run folder"""
    overwrite: bool = False
    """replace an existing checkpoint and start the run folder afresh"""

    # Johnson et al. 2016, section 4.1: 40,000 steps of 4 at 256 x 256, Adam with learning rate 1e-3.
    steps: int = 40_000
    """optimiser steps"""
    minutes: float | None = None
    """stop after this many minutes, even before --steps; the learning rate decays to fit"""
    batch_size: int = 4
    """photographs in a step"""
    image_size: int = 256
    """side of the square training crops, pixels"""
    # A step on crops of 128 costs a quarter of one on 256, and teaches nearly all of a style; but what is
    # trained on small crops alone is off on large pictures, so the last steps take the full size.
    start_size: int | None = None
    """side of the crops of a first, quicker stage, pixels [default: no such stage]"""
    start_steps: int | None = None
    """steps of that first stage"""
    photo_size: int | None = None
    """shorter side to which photographs are reduced before cropping [default: 9/8 of --image-size]"""
    style_size: int = 384
    """shorter side of the painting, pixels: larger makes larger brush strokes"""
    max_images: int | None = None
    """use at most this many photographs of the dataset"""
    max_bad: float = 0.01
    """stop when more than this share of the photographs cannot be read"""
    download: bool = False
    """with --dataset coco: download it when it is not there (19 GB)"""

    preset: Preset = "default"
    """network: full, half or quarter width, or the paper's own"""
    upsample: Literal["preset", "tied", "free", "paper"] = "preset"
    """fractionally-strided kernels, where they are to differ from the preset's"""
    warm_start: Path | None = None
    """start from another trained style of the same network, a file or a bundled name: far fewer steps"""

    loss: LossConfig = field(default_factory=LossConfig)
    loss_network: LossNetwork = "vgg16"
    """the frozen network whose features are compared"""
    vgg_weights: Path | None = None
    """its weights, .safetensors or .pth [default: downloaded once]"""
    vgg_release: Literal["IMAGENET1K_V1", "IMAGENET1K_FEATURES"] = "IMAGENET1K_V1"
    """torchvision's weights or the original Caffe ones (their normalisation differs)"""

    learning_rate: float = 1e-3
    """Adam's peak learning rate"""
    warmup: int = 50
    """steps over which the learning rate rises to its peak"""
    # The paper keeps the rate constant; a cosine to zero ends at a lower loss for the same number of steps.
    decay: Literal["cosine", "constant"] = "cosine"
    """how the learning rate falls to the end of the run"""

    save_every: int = 500
    """steps between saved states"""
    report_every: int = 10
    """steps between reports; reading a loss waits for the device"""
    preview_every: int = 500
    """steps between previews, besides early ones"""
    seed: int = 0
    """of the weights, the order of the photographs and their crops"""
    device: str = "auto"
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """arithmetic of the convolutions; auto takes bf16 where the device has units for it"""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; auto takes it where a compiler exists and the run is long enough to pay for it"""
    workers: int = 2
    """threads that read photographs"""
    max_pixels: int = 110_000_000
    """refuse a painting or photograph with more pixels than this before decoding it"""
    licence: str | None = None
    """written into the checkpoint, such as MIT; yours to choose if the painting is yours or free"""

    def __post_init__(self) -> None:
        for name in ("style", "out", "run", "warm_start", "vgg_weights"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        at_least = {"steps": 1, "batch_size": 1, "image_size": 32, "style_size": 32, "save_every": 1}
        at_least |= {
            "report_every": 1,
            "preview_every": 1,
            "warmup": 0,
            "workers": 0,
            "seed": 0,
            "max_pixels": 1,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InputError(f"{_flag(name)} must be at least {least}, got {getattr(self, name)}")
        if self.seed >= 2**63:
            raise InputError(f"--seed must be below 2**63, got {self.seed}")
        if self.image_size % 4:
            near = round(self.image_size / 4) * 4
            raise InputError(f"--image-size must be a multiple of 4, got {self.image_size}; take {near}")
        self._check_stages()
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"--minutes must be above 0, got {self.minutes}")
        if self.max_images is not None and self.max_images < 1:
            raise InputError(f"--max-images must be at least 1, got {self.max_images}")
        if self.photo_size is not None and self.photo_size < self.image_size:
            sizes = f"--image-size {self.image_size}, got {self.photo_size}"
            raise InputError(f"--photo-size must be at least {sizes}: crops are cut from it")
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"--max-bad is a share from 0 to 1, got {self.max_bad}")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"--learning-rate must lie between 0 and 1, got {self.learning_rate}")

    def _check_stages(self) -> None:
        if (self.start_size is None) != (self.start_steps is None):
            raise InputError("--start-size and --start-steps make one stage: give both or neither")
        if self.start_steps is None or self.start_size is None:
            return
        if self.minutes is not None:
            raise InputError("--minutes and --start-steps exclude each other: a stage has its own end")
        if not 0 < self.start_steps < self.steps:
            raise InputError(
                f"--start-steps must lie between 1 and --steps {self.steps}, got {self.start_steps}"
            )
        if self.start_size % 4 or not 32 <= self.start_size < self.image_size:
            limits = f"at least 32 and below --image-size {self.image_size}"
            raise InputError(f"--start-size must be a multiple of 4, {limits}, got {self.start_size}")

    @property
    def network(self) -> NetworkConfig:
        """The preset with what overrides it."""
        preset = PRESETS[self.preset]
        if self.upsample == "preset":
            return preset
        return dataclasses.replace(preset, upsample=self.upsample)


@dataclass(frozen=True)
class StylizeConfig:
    """Stylise pictures with a trained style."""

    style: str = "starry-night"
    """a bundled style's name (fast-nst styles lists them) or a .safetensors file"""
    out: str | None = None
    """file or folder to write, - for stdout [default: NAME_STYLE.EXT in the current folder]"""
    size: int | None = None
    """longer side of the result, pixels: smaller makes larger strokes [default: the picture's own]"""
    format: str | None = None
    """file format of the result, such as png or jpg [default: the output's ending, else the input's]"""
    quality: int = 95
    """of JPEG, WebP and AVIF, 1 to 100"""
    max_pixels: int = 110_000_000
    """refuse pictures with more pixels than this before decoding them"""
    batch_size: int = 1
    """pictures of equal size stylised together"""
    overwrite: bool = False
    """replace existing files"""
    skip_existing: bool = False
    """leave out inputs whose output is there already"""
    device: str = "auto"
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: Precision = "auto"
    """arithmetic of the convolutions; auto is bf16 where there are matrix units for it, else fp32"""
    backend: Backend = "auto"
    """engine; auto is the fastest that is installed (compile takes a minute before the first picture)"""
    json: bool = False
    """print one JSON record a picture to stdout"""

    def __post_init__(self) -> None:
        for name in ("size", "batch_size", "max_pixels", "quality"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{_flag(name)} must be at least 1, got {value}")
        if self.quality > 100:
            raise InputError(f"--quality goes from 1 to 100, got {self.quality}")
        if self.overwrite and self.skip_existing:
            raise InputError("--overwrite and --skip-existing exclude each other; give one")


@dataclass(frozen=True)
class ExportConfig:
    """Write a trained style in a format of other programs."""

    format: Literal["onnx", "pt2", "openvino"] = "onnx"
    """ONNX, PyTorch's torch.export, or OpenVINO's .xml and .bin"""
    pixels: Literal["float", "uint8"] = "float"
    """(B, 3, H, W) RGB in [0, 1], or (B, H, W, 3) RGB levels of 0 to 255, in and out"""
    out: Path | None = None
    """file to write [default: STYLE.onnx, .pt2 or .xml in the current folder]"""
    overwrite: bool = False
    """replace existing files"""


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")

"""Options of the commands around the optimizer: optimize, reconstruct, study and compare.

Dataclasses as in `fast_nst.config.optimize`; torch is not imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fast_nst.config import LossNetwork
from fast_nst.config.checks import check_least
from fast_nst.config.optimize import GatysConfig, Start, start_named
from fast_nst.errors import InputError
from fast_nst.io.limits import MAX_PIXELS

__all__ = ["CompareConfig", "OptimizeConfig", "ReconstructConfig", "StudyConfig"]


@dataclass(frozen=True)
class OptimizeConfig(GatysConfig):
    """Options of `fast-nst optimize`: the optimizer's, and where the results are written."""

    out: Path | None = None
    """file to write, or a folder [default: CONTENT_STYLE.EXT in the current folder]"""
    run: Path | None = None
    """folder for metrics.jsonl, loss.png and previews [default: not written]"""
    preview_every: int = 50
    """iterations between previews in the run folder"""
    quality: int = 95
    """of JPEG, WebP and AVIF, 1 to 100"""
    max_pixels: int = MAX_PIXELS
    """refuse images with more pixels than this before decoding them"""
    overwrite: bool = False
    """replace existing files"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, {"preview_every": 1, "max_pixels": 1, "quality": 1})
        if self.quality > 100:
            raise InputError(f"--quality goes from 1 to 100, got {self.quality}")


@dataclass(frozen=True)
class _NetworkConfig:
    """The loss network and the device, which every job needs."""

    loss_network: LossNetwork = "vgg19"
    """the frozen network whose features are compared"""
    vgg_weights: Path | None = None
    """its weights, .safetensors or .pth [default: downloaded once]"""
    device: str = "auto"
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """precision of the loss network; auto is bf16 on GPUs that have it, and on processors where it is faster
    as measured; else fp32"""
    seed: int = 0
    """seed of the noise"""
    overwrite: bool = False
    """replace existing files"""

    def __post_init__(self) -> None:
        for name in ("vgg_weights", "out"):
            if isinstance(value := getattr(self, name, None), str):
                object.__setattr__(self, name, Path(value))
        check_least(self, {"seed": 0})


@dataclass(frozen=True)
class ReconstructConfig(_NetworkConfig):
    """Reconstruct a content image from single layers, and the texture of a style image from several."""

    out: Path = Path("reconstructions.png")
    """the contact sheet to write"""
    size: int = 256
    """longer side of each image, pixels"""
    steps: int = 200
    """iterations of L-BFGS for each"""
    # Figure 1 of Gatys et al. 2016, with the layers of their text.
    layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    """content from each alone; texture from each with all those before it"""
    pooling: Literal["max", "average"] = "average"
    """average gives smoother textures (Gatys et al.)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, {"size": 16, "steps": 1})
        if not self.layers:
            raise InputError("--layers needs at least one layer, such as conv3_1")


@dataclass(frozen=True)
class StudyConfig(_NetworkConfig):
    """Vary one option of the optimizer and keep the others fixed."""

    out: Path = Path("studies")
    """folder for the reports, one folder per study; runs that studies share are computed once"""
    size: int = 256
    """longer side of each image, pixels"""
    steps: int = 300
    """iterations of each run"""
    # Wang's analysis used Adam, and its claims of iterations are about that.
    optimizer: Literal["adam", "lbfgs"] = "adam"
    """Adam with learning rate 5 on 8-bit levels, or L-BFGS"""
    tv_share: float = 0.02
    """weight of total variation, where on: that of the content image is this share of its objective"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, {"size": 16, "steps": 2, "tv_share": 0})


@dataclass(frozen=True)
class CompareConfig(_NetworkConfig):
    """Measure a trained style against the optimizer on the objective that it was trained with."""

    style: str = "starry-night"
    """a bundled style's name (fast-nst styles lists them) or a .safetensors file"""
    content: Path | None = None
    """a content image or a folder of them"""
    style_image: Annotated[Path | None, tyro.conf.arg(aliases=("--painting",))] = None
    """the image the style was trained from [default: the original near the style or the content images,
    else the bundled copy]"""
    sizes: tuple[int, ...] = (256, 512, 1024)
    """sides of the square center crops, pixels"""
    iterations: int = 500
    """of the optimizer, for the loss curves"""
    images: Annotated[tuple[int, ...], tyro.conf.arg(aliases=("--photos",))] = (16, 4, 1)
    """content images whose loss is measured at each size; the last number holds for further sizes"""
    starts: tuple[Start, ...] = ("noise", "content")
    """images the optimizer starts from: noise, content, style"""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """arithmetic of both sides"""
    timed: int = 10
    """iterations and passes timed at each size, after the warm-up"""
    only: Literal["both", "speed", "loss"] = "both"
    """measure speed only, or loss only"""
    out: Path = Path("comparison")
    """folder for table.md, results.json, speed.png, loss.png, index.html and pictures"""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "starts", tuple(start_named(start) for start in self.starts))
        for name in ("content", "style_image"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        check_least(self, {"iterations": 2, "timed": 3})
        for name in ("sizes", "images", "starts"):
            if not getattr(self, name):
                raise InputError(f"--{name} needs at least one value")
        if min(self.sizes) < 32:
            raise InputError(f"--sizes must be at least 32, got {min(self.sizes)}")
        if min(self.images) < 1:
            raise InputError(f"--images must be at least 1, got {min(self.images)}")

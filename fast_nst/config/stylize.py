"""Options of stylizing pictures and videos, and of exporting styles."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fast_nst.config.checks import check_least
from fast_nst.config.controls import ControlsConfig
from fast_nst.config.video import CameraConfig, VideoConfig
from fast_nst.errors import InputError
from fast_nst.io.limits import MAX_PIXELS
from fast_nst.serialization import parse_bytes

__all__ = [
    "DEFAULT_STYLE",
    "LIVE_STYLE",
    "Backend",
    "EnginePrecision",
    "ExportConfig",
    "ExportPageConfig",
    "InferenceConfig",
    "Precision",
    "StylizeConfig",
]

# Full width keeps faces that the gallery's strokes cross; the gallery is fast enough for a camera.
DEFAULT_STYLE, LIVE_STYLE = "starry-night-full", "starry-night"

Precision = Literal["auto", "fp32", "bf16", "fp16"]
EnginePrecision = Literal["auto", "fastest", "fp32", "bf16", "fp16", "int8"]
Backend = Literal["auto", "torch", "compile", "openvino", "onnx"]


@dataclass(frozen=True)
class InferenceConfig:
    """Options shared by all commands that turn pictures into pictures."""

    out: str | None = None
    """file or folder to write, - for stdout [default: NAME_MODEL.EXT in the current folder]"""
    format: str | None = None
    """file format of the result, such as png or jpg [default: the output's ending, else the input's]"""
    quality: int = 95
    """of JPEG, WebP and AVIF, 1 to 100"""
    max_pixels: int = MAX_PIXELS
    """refuse pictures with more pixels than this before decoding them"""
    batch_size: int = 1
    """pictures of equal size computed together"""
    overwrite: bool = False
    """replace existing files"""
    skip_existing: bool = False
    """skip inputs whose output exists"""
    device: str = "auto"
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: EnginePrecision = "auto"
    """precision of the convolutions; auto is bf16 on GPUs, and on processors with matrix units for it where
    it is faster as measured; else fp32; fastest takes int8 too, if the engine has it"""
    memory: str | None = None
    """limit, such as 2GB; what does not fit is computed in parts [default: three quarters of what is free]"""
    json: bool = False
    """print one JSON record a picture to stdout"""
    shard: str | None = None
    """process one part of the pictures, such as 0/4, 1/4, 2/4 or 3/4 [default: as torchrun or srun says]"""
    manifest: str | None = None
    """append one JSON record a picture to this file, which shards can share"""

    def __post_init__(self) -> None:
        for name in ("out", "manifest"):  # shells leave the ~ of --out=~/x to us
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, os.path.expanduser(value))
        if self.memory is not None:
            parse_bytes(self.memory, "--memory")
        check_least(self, {"batch_size": 1, "max_pixels": 1, "quality": 1})
        if self.quality > 100:
            raise InputError(f"--quality goes from 1 to 100, got {self.quality}")
        if self.overwrite and self.skip_existing:
            raise InputError("--overwrite and --skip-existing exclude each other; give one")
        if self.manifest == "":
            raise InputError("--manifest is empty; give a file")

    @property
    def longer_side(self) -> int | None:
        """The longer side that pictures are resized to, pixels; None: they keep their size."""
        return None


@dataclass(frozen=True)
class _Style:
    """What comes first: fields of bases stand in the order of the bases, from the last to the first."""

    style: str | None = None
    """a bundled style's name (fast-nst styles lists them), a .safetensors file or a painting [default:
    starry-night-full; for the camera the gallery's starry-night, which is several times as fast]"""


@dataclass(frozen=True)
class StylizeConfig(InferenceConfig, _Style):
    """Stylize pictures, videos and the camera with a trained style."""

    out: str | None = None
    """file or folder to write, - for stdout [default: NAME_STYLE.EXT in the current folder]"""
    format: str | None = None
    """file format of the result, such as png, jpg or mp4 [default: the output's ending, else the input's]"""
    quality: int = 95
    """of JPEG, WebP, AVIF and videos, 1 to 100"""
    batch_size: int = 1
    """pictures of equal size, or frames of a video, computed together"""
    json: bool = False
    """print one JSON record a picture or video to stdout"""

    size: int | None = None
    """longer side of the result, pixels: smaller makes larger strokes [default: the picture's own]"""
    refine: str | None = None
    """with --style PAINTING.jpg: train its style on the given pictures first, for a time such as 3m or 90s"""
    controls: ControlsConfig = field(default_factory=ControlsConfig)
    backend: Backend = "auto"
    """engine; auto is the fastest that is installed, as measured once on this machine (compile takes a minute
    before the first picture)"""
    video: VideoConfig = field(default_factory=VideoConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    cluster: bool = False
    """use all machines of a Ray cluster, or all processors of this one"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, {"size": 1})
        if self.refine is not None:
            _ = self.refine_minutes
        self.controls.check()
        self.video.check()
        self.camera.check()
        if self.cluster and self.shard is not None:
            raise InputError("--cluster divides the pictures itself; leave out --shard")

    @property
    def refine_minutes(self) -> float:
        """``--refine`` in minutes; 0 if it is not given."""
        if self.refine is None:
            return 0.0
        found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?)\s*([sm]?)", self.refine.strip())
        minutes = float(found[1]) / (60 if found[2] == "s" else 1) if found else 0.0
        if not 0 < minutes <= 600:
            raise InputError(f"--refine is a time such as 3m or 90s, at most 600m, got {self.refine!r}")
        return minutes

    @property
    def longer_side(self) -> int | None:
        """``--size``."""
        return self.size


@dataclass(frozen=True)
class ExportConfig:
    """Write a trained style in a format of other programs."""

    format: Literal["onnx", "pt2", "openvino"] = "onnx"
    """ONNX, PyTorch's torch.export, or OpenVINO's .xml and .bin"""
    pixels: Literal["float", "uint8"] = "float"
    """(B, 3, H, W) RGB in [0, 1], or (B, H, W, 3) RGB levels of 0 to 255, in and out"""
    fixed_size: str | None = None
    """HEIGHTxWIDTH of the only images it takes, one at a time: for OpenCV's DNN module (5.0 computes the 9x1
    convolution of other exports wrongly) and Core ML converters [default: any size]"""
    out: Path | None = None
    """file to write [default: STYLE.onnx, .pt2 or .xml in the current folder]"""
    overwrite: bool = False
    """replace existing files"""

    def __post_init__(self) -> None:
        _ = self.size

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, where they are fixed."""
        if self.fixed_size is None:
            return None
        found = re.fullmatch(r"([0-9]{1,5})[xX×]([0-9]{1,5})", self.fixed_size)
        height, width = (int(found[1]), int(found[2])) if found else (0, 0)
        if not (1 <= height <= 8192 and 1 <= width <= 8192):
            raise InputError(
                f"--fixed-size {self.fixed_size!r} is not HEIGHTxWIDTH with sides of 1 to 8192, like 480x640"
            )
        return height, width


@dataclass(frozen=True)
class ExportPageConfig:
    """Write the page for the browser as a folder of static files."""

    ort: Path | None = None
    """folder with the unpacked files of ONNX Runtime Web, for work without a network [default: the cache
    folder, to which they are downloaded once]"""
    overwrite: bool = False
    """write into a folder that holds files already; files of the page are replaced"""

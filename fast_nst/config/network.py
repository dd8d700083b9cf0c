"""The networks: their shapes, and the presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fast_nst.errors import InputError

__all__ = [
    "NORM_EPSILON",
    "PRESETS",
    "UPSCALE_PRESETS",
    "GalleryNetConfig",
    "NetworkConfig",
    "Preset",
    "StylePredictorConfig",
    "UpscaleNetConfig",
    "UpscalePreset",
]

Preset = Literal["default", "small", "tiny", "paper"]
UpscalePreset = Literal["modern", "x4", "x8"]

NORM_EPSILON = 1e-5  # of every norm, added to the variance; that of torch's own norms


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
    alignment: Literal["pad", "crop"] = "pad"
    """for sides that are not multiples of 4: pad the input, or crop the result (imported styles)"""
    output: Literal["linear", "tanh"] = "linear"
    """output activation"""
    # The released code multiplies by 150 on a scale of 0 to 255, around the mean of the data.
    tanh_scale: float = 0.588
    """half the range of the scaled tanh, in units of the image range"""

    def __post_init__(self) -> None:
        # The upper limits are far beyond use: a damaged file is refused before it fills the memory.
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
class UpscaleNetConfig:
    """The super-resolution network (Johnson et al. 2016, supplementary material, table 2)."""

    factor: int = 4
    """upscaling factor: 2, 4 or 8"""
    width: int = 64
    """channels of every feature map"""
    narrowing: bool = False
    """halve the channels after each fractionally-strided convolution; the paper keeps them"""
    # The supplementary table has four, the main text says five.
    blocks: int = 4
    """residual blocks"""
    kernel: int = 9
    """side of the first convolution's kernel, and of the last one's where it works at the result's size"""
    norm: Literal["none", "batch"] = "batch"
    """the paper has batch norm; without a norm, contrast passes through as it is"""
    upsample: Literal["paper", "tied", "shuffle"] = "paper"
    """fractionally-strided convolutions: the paper's 3x3, or 4x4 tied to nearest x2 + 3x3; or a 3x3 and a
    pixel shuffle"""
    padding: Literal["zero", "reflect"] = "zero"
    """padding mode"""
    base: Literal["none", "bicubic"] = "none"
    """what the output is added to: nothing, or the bicubic interpolation of the input"""
    output: Literal["linear", "tanh"] = "tanh"
    """output activation"""
    tanh_scale: float = 0.588
    """half the range of the scaled tanh, in units of the image range"""

    def __post_init__(self) -> None:
        if self.factor not in (2, 4, 8):
            raise InputError(f"--factor must be 2, 4 or 8, got {self.factor}")
        if not 1 <= self.width <= 4096:
            raise InputError(f"width must lie between 1 and 4096, got {self.width}")
        if self.narrowing and self.width < self.factor:
            raise InputError(f"width must be at least the factor to narrow, got {self.width}")
        if not 0 <= self.blocks <= 100:
            raise InputError(f"--blocks must lie between 0 and 100, got {self.blocks}")
        if self.kernel not in (3, 5, 7, 9):
            raise InputError(f"kernel must be 3, 5, 7 or 9, got {self.kernel}")
        if not 0 < self.tanh_scale < float("inf"):
            raise InputError(f"tanh_scale must be a finite number above 0, got {self.tanh_scale}")


UPSCALE_PRESETS: dict[str, UpscaleNetConfig] = {
    "x4": UpscaleNetConfig(factor=4),
    "x8": UpscaleNetConfig(factor=8),
    # Nearly all work is done at the small size, and the network learns the residual of bicubic interpolation.
    "modern": UpscaleNetConfig(
        blocks=8,
        kernel=3,
        norm="none",
        upsample="tied",
        narrowing=True,
        padding="reflect",
        base="bicubic",
        output="linear",
    ),
}


@dataclass(frozen=True)
class GalleryNetConfig:
    """The network of many styles: conditional instance normalization (Dumoulin, Shlens, Kudlur 2017)."""

    widths: tuple[int, ...] = (16, 48)
    """channels at 1/2, 1/4 ... of the size; the residual blocks work at the last one"""
    blocks: int = 4
    """residual blocks at the lowest resolution"""
    stem: int = 5
    """side of the first convolution's kernel"""
    rows: int = 1
    """rows of norm parameters: one for each style and stroke scale, one that gives the content image back"""

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= 4 or not 1 <= min(self.widths) <= max(self.widths) <= 4096:
            raise InputError(f"widths are 1 to 4 numbers of channels from 1 to 4096, got {self.widths}")
        if not 0 <= self.blocks <= 100:
            raise InputError(f"blocks must lie between 0 and 100, got {self.blocks}")
        if self.stem not in (3, 5, 7, 9):
            raise InputError(f"stem must be 3, 5, 7 or 9, got {self.stem}")
        if not 1 <= self.rows <= 10_000:
            raise InputError(f"rows must lie between 1 and 10000, got {self.rows}")

    @property
    def stride(self) -> int:
        """The sides of an extended image are multiples of this."""
        return int(2 ** len(self.widths))


@dataclass(frozen=True)
class StylePredictorConfig:
    """The network that predicts rows of a gallery from style images (Ghiasi et al. 2017)."""

    statistics: int = 2944
    """numbers that describe a style image: mean and deviation of each channel of the style layers"""
    components: int = 64
    """principal components that are kept of them"""
    width: int = 128
    """features of the hidden layers"""

    def __post_init__(self) -> None:
        for name in ("statistics", "components", "width"):
            if not 1 <= getattr(self, name) <= 100_000:
                raise InputError(f"{name} must lie between 1 and 100000, got {getattr(self, name)}")

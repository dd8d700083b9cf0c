"""The super-resolution network of Johnson, Alahi and Fei-Fei 2016 and its variants.

Images go in as ``(B, 3, H, W)``, RGB, nominally in [0, 1], for every H and W from 1 upwards, and come out
``factor`` times as high and wide. All but the upsampling is computed at the input size.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.config import UpscaleNetConfig
from fast_nst.config.network import NORM_EPSILON
from fast_nst.models.padding import padding_of
from fast_nst.models.resampling import bicubic_kernel
from fast_nst.models.transform_net import PaddedConv, Upsample, reflection_pad

__all__ = ["BicubicBase", "UpscaleNet"]


class BicubicBase(nn.Module):
    """Bicubic upsampling of ``(B, 3, H, W)`` by an integer factor, in fp32 whatever autocast says.

    The network's residual is small beside it and may be computed in 16 bits.
    """

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        # Not persistent: a constant of the factor, not a weight.
        self.register_buffer("kernel", torch.tensor(bicubic_kernel(factor))[:, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, 3, factor H, factor W)``."""
        b, c, h, w = images.shape
        with torch.autocast(images.device.type, enabled=False):
            wide = images if images.dtype == torch.float64 else images.float()
            planes = F.pad(wide.reshape(b * c, 1, h, w), (2, 2, 2, 2), mode="replicate")
            cells = F.conv2d(planes, self.kernel.to(wide.dtype))
            big = F.pixel_shuffle(cells, self.factor)
        return big.reshape(b, c, h * self.factor, w * self.factor)


class _Block(nn.Module):
    """Two 3x3 convolutions and an identity skip, no ReLU after the addition (Gross and Wilber 2016)."""

    def __init__(self, config: UpscaleNetConfig) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(config, 3), _norm(config, config.width)
        self.conv2, self.norm2 = _conv(config, 3), _norm(config, config.width)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return x + branch


def _conv(
    config: UpscaleNetConfig, kernel: int, *, inputs: int = 0, outputs: int = 0, bias: bool | None = None
) -> nn.Module:
    """A convolution with the config's padding; inputs and outputs default to its width."""
    inputs, outputs = inputs or config.width, outputs or config.width
    bias = config.norm == "none" if bias is None else bias
    if config.padding == "reflect":
        return PaddedConv(inputs, outputs, kernel, bias=bias)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)


def _norm(config: UpscaleNetConfig, width: int) -> nn.Module:
    return nn.BatchNorm2d(width, eps=NORM_EPSILON) if config.norm == "batch" else nn.Identity()


class UpscaleNet(nn.Module):
    """The super-resolution network.

    Args:
        config: factor, width, depth, norm, upsampling, padding, base and output; see `UPSCALE_PRESETS`.

    Layers: k x k, residual blocks, and either log2 of the factor fractionally-strided convolutions and a
    k x k, each convolution but the last followed by the norm and a ReLU; or a 3x3 to ``3 factor²`` channels,
    which are then the pixels of a cell each. Where it is added to a bicubic base, the last convolution starts
    at zero: the network begins as bicubic upsampling, all pixels of a cell alike (Aitken et al. 2017).
    """

    def __init__(self, config: UpscaleNetConfig | None = None) -> None:
        super().__init__()
        config = config or UpscaleNetConfig()
        self.config = config
        body = nn.Sequential()

        def stage(name: str, module: nn.Module, width: int) -> None:
            body.add_module(name, module)
            body.add_module(f"{name}_norm", _norm(config, width))
            body.add_module(f"{name}_relu", nn.ReLU())

        width = config.width
        stage("conv1", _conv(config, config.kernel, inputs=3), width)
        for i in range(1, config.blocks + 1):
            body.add_module(f"block{i}", _Block(config))
        if config.upsample == "shuffle":
            last = _conv(config, 3, outputs=3 * config.factor**2, bias=True)
        else:
            for i in range(1, round(math.log2(config.factor)) + 1):
                wide, width = width, width // 2 if config.narrowing else width
                up = Upsample(wide, width, config.upsample, bias=config.norm == "none")
                stage(f"up{i}", up, width)
            last = _conv(config, config.kernel, inputs=width, outputs=3, bias=True)
        body.add_module("last", last)
        self.body = body
        self.shuffle = config.factor if config.upsample == "shuffle" else 1
        self.base = BicubicBase(config.factor) if config.base == "bicubic" else None
        if self.base is not None:
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)``, nominally in [0, 1], to ``(B, 3, factor H, factor W)``, unclamped."""
        h, w = (side * self.config.factor for side in images.shape[-2:])
        padded = reflection_pad(images, *padding_of(self.config, *images.shape[-2:]))
        out: Tensor = F.pixel_shuffle(self.body(padded), self.shuffle)
        if self.config.output == "tanh":
            out = 0.5 + self.config.tanh_scale * torch.tanh(out)
        if self.base is not None:
            out = self.base(padded) + out
        return out[..., :h, :w]

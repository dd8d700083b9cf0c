"""The image transformation network of Johnson, Alahi and Fei-Fei 2016 and its variants.

Strided convolutions, residual blocks, fractionally-strided convolutions. Images in and out are
``(B, 3, H, W)``, RGB, nominally in [0, 1]; the output has the input's size for every H and W from 1 upwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.config import NetworkConfig
from fast_nst.config.network import NORM_EPSILON
from fast_nst.models.padding import padding_of, reflected_indices

__all__ = [
    "InstanceNorm",
    "PaddedConv",
    "TransformNet",
    "Upsample",
    "centered_for_16_bits",
    "reflection_pad",
    "tied_kernel",
]


def reflection_pad(images: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """Reflection padding by any amount, also beyond the size of the image.

    Args:
        images: ``(B, C, H, W)``, H and W at least 1.
    """
    h, w = images.shape[-2:]
    if not (left or right or top or bottom):
        return images
    if max(left, right) < w and max(top, bottom) < h:
        return F.pad(images, (left, right, top, bottom), mode="reflect")
    rows = torch.from_numpy(reflected_indices(h, top, bottom)).to(images.device)
    columns = torch.from_numpy(reflected_indices(w, left, right)).to(images.device)
    return images.index_select(-2, rows).index_select(-1, columns)


class InstanceNorm(nn.Module):
    """Instance normalization with affine parameters (Ulyanov et al. 2016).

    The statistics are biased and taken in fp32 over the positions of each channel of each image.
    """

    eps = NORM_EPSILON

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape and dtype."""
        wide = x if x.dtype == torch.float64 else x.float()
        var, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
        scale = self.weight.view(-1, 1, 1) * torch.rsqrt(var + self.eps)
        return (wide * scale + (self.bias.view(-1, 1, 1) - mean * scale)).to(x.dtype)


class PaddedConv(nn.Module):
    """A convolution with reflection padding, so that borders look like the rest of the image.

    ``bias=False`` in front of a norm: the bias cancels there, its gradient is rounding noise, and Adam
    would change it at random.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, bias: bool) -> None:
        super().__init__()
        self.margin = kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(reflection_pad(x, *(self.margin,) * 4))
        return out


def _nearest_upsample(x: Tensor) -> Tensor:
    """Nearest-neighbor x2 of ``(B, C, H, W)``, by repeating and not by indexing.

    Compiled for a CPU, the gradient of ``F.interpolate`` scatters and takes half of the network's backward
    pass; the gradient of a repetition is a sum over four neighbors.
    """
    b, c, h, w = x.shape
    last = x.permute(0, 2, 3, 1)  # repeated with channels innermost, so that channels_last stays so
    big = last[:, :, None, :, None].expand(b, h, 2, w, 2, c).reshape(b, 2 * h, 2 * w, c)
    return big.permute(0, 3, 1, 2)


def tied_kernel(weight: Tensor) -> Tensor:
    r"""The 4x4 kernel of a stride-2 fractionally-strided convolution equal to nearest x2 and a 3x3.

    Each output position depends on two input positions in each direction; the taps that fall on the same
    one are summed. In one dimension :math:`k = (w_2, w_1 + w_2, w_0 + w_1, w_0)`.

    Args:
        weight: ``(C_out, C_in, 3, 3)``.

    Returns:
        ``(C_in, C_out, 4, 4)``, the layout of ``conv_transpose2d``.
    """
    add = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    return torch.einsum("au,ocuv,bv->coab", add, weight, add)


def centered_for_16_bits(images: Tensor) -> Tensor:
    """``(B, C, H, W)`` less the mean of each channel where autocast is on, else as it is.

    Where a convolution pads by reflection and an instance norm follows, both give the same result. In 16 bits
    the first gives a better one: a nearly flat image varies by less than the rounding error of features that
    have its mean, and the norms enlarge both alike: its gradient would be mostly that error.
    """
    if not torch.is_autocast_enabled(images.device.type):
        return images
    return images - images.mean((2, 3), keepdim=True)


class Upsample(nn.Module):
    """Twice the size by a stride-½ convolution.

    Args:
        kind: ``tied``: nearest x2, reflection padding, 3x3, whose 4x4 equivalent is `tied_kernel`; leaves no
            grid. ``free``: a 4x4 kernel of its own. ``paper``: 3x3, zero padding, Johnson et al. 2016.
    """

    def __init__(self, inputs: int, outputs: int, kind: str, *, bias: bool) -> None:
        super().__init__()
        self.kind = kind
        self.conv: nn.Module
        if kind == "tied":
            self.conv = nn.Conv2d(inputs, outputs, 3, bias=bias)
        elif kind == "free":
            # Reflecting the output by 1 is replicating the input by 1; 3 = 1 + that margin of 2.
            self.conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=3, bias=bias)
        else:
            self.conv = nn.ConvTranspose2d(
                inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=bias
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C_in, H, W)`` to ``(B, C_out, 2H, 2W)``."""
        if self.kind == "tied":
            x = reflection_pad(_nearest_upsample(x), 1, 1, 1, 1)
        elif self.kind == "free":
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        out: Tensor = self.conv(x)
        return out


def _norm(kind: str, channels: int) -> nn.Module:
    return InstanceNorm(channels) if kind == "instance" else nn.BatchNorm2d(channels, eps=NORM_EPSILON)


class Residual(nn.Module):
    """Two 3x3 convolutions and an identity skip, no ReLU after the addition (Gross and Wilber 2016).

    With ``padded=False`` the convolutions lose two positions on each side, and the skip is cropped to match.
    """

    def __init__(self, channels: int, norm: str, *, padded: bool) -> None:
        super().__init__()
        self.padded = padded
        self.conv1, self.norm1 = self._conv(channels), _norm(norm, channels)
        self.conv2, self.norm2 = self._conv(channels), _norm(norm, channels)

    def _conv(self, channels: int) -> nn.Module:
        if self.padded:
            return PaddedConv(channels, channels, 3, bias=False)
        return nn.Conv2d(channels, channels, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape, or to four positions less in each direction when unpadded."""
        branch: Tensor = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        skip = x if self.padded else x[..., 2:-2, 2:-2]
        return skip + branch


class TransformNet(nn.Module):
    """The image transformation network: content images in, stylized images out.

    Args:
        config: widths, depth, norm, upsampling, padding and output; see the presets in ``config.py``.

    Layers: 9x9, two 3x3 of stride 2, ``blocks`` residual blocks, two fractionally-strided convolutions, 9x9;
    every convolution but the last is followed by a norm and a ReLU.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        config = config or NetworkConfig()
        self.config = config
        first, second, third = config.widths
        margin_once = config.padding == "paper"
        conv = self._unreflected if margin_once else PaddedConv
        body = nn.Sequential()

        def stage(name: str, module: nn.Module, channels: int) -> None:
            body.add_module(name, module)
            body.add_module(f"{name}_norm", _norm(config.norm, channels))
            body.add_module(f"{name}_relu", nn.ReLU())

        stage("conv1", conv(3, first, 9, 1, bias=False), first)
        stage("conv2", conv(first, second, 3, 2, bias=False), second)
        stage("conv3", conv(second, third, 3, 2, bias=False), third)
        for i in range(1, config.blocks + 1):
            body.add_module(f"block{i}", Residual(third, config.norm, padded=not margin_once))
        stage("up1", Upsample(third, second, config.upsample, bias=False), second)
        stage("up2", Upsample(second, first, config.upsample, bias=False), first)
        body.add_module("conv4", conv(first, 3, 9, 1, bias=True))
        self.body = body

    @staticmethod
    def _unreflected(inputs: int, outputs: int, kernel: int, stride: int = 1, *, bias: bool) -> nn.Module:
        """The paper pads with reflections once, at the input; its convolutions then pad with zeros."""
        return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)``, nominally in [0, 1], to the same shape, unclamped."""
        h, w = images.shape[-2:]
        inputs = images
        if self.config.norm == "instance" and self.config.padding == "reflect":
            inputs = centered_for_16_bits(images)
        out: Tensor = self.body(reflection_pad(inputs, *padding_of(self.config, h, w)))
        if self.config.output == "tanh":
            # [0, 1] with the paper's headroom: their 150 tanh around the mean spans more than 0 to 255.
            out = 0.5 + self.config.tanh_scale * torch.tanh(out)
        return out[..., :h, :w]

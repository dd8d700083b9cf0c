"""One network, many styles: shared convolutions, and a row of norm parameters for each style.

Conditional instance normalization (Dumoulin, Shlens and Kudlur 2017), on a network designed for latency:
the first convolution halves the image at once, the residual blocks work at a quarter of the size, and the
last layer makes the three output channels from half the size. Images in and out are
``(B, 3, H, W)``, RGB, nominally in [0, 1]; the output has the input's size for every H and W from 1 upwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.config import GalleryNetConfig
from fast_nst.config.network import NORM_EPSILON
from fast_nst.models.padding import padding_of
from fast_nst.models.transform_net import PaddedConv, Upsample, centered_for_16_bits, reflection_pad

__all__ = ["ConditionalInstanceNorm", "GalleryNet", "color_change", "color_root"]

_LEAST_VARIANCE = 1e-4  # of colors: the root is divided by


class ConditionalInstanceNorm(nn.Module):
    """Instance normalization whose affine parameters are a mixture of rows, one row for each style.

    Dumoulin, Shlens and Kudlur 2017, equation 5. The statistics are biased and taken in fp32.
    """

    eps = NORM_EPSILON

    def __init__(self, rows: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(rows, channels))
        self.bias = nn.Parameter(torch.zeros(rows, channels))

    def forward(self, x: Tensor, mixture: Tensor) -> Tensor:
        """Normalize ``(B, C, H, W)`` with the rows of each image.

        Args:
            mixture: ``(B, R)``, the weight of each row; they usually sum to 1.
        """
        wide = x if x.dtype == torch.float64 else x.float()
        var, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = mixture @ self.weight, mixture @ self.bias
        scale = weight[:, :, None, None] * torch.rsqrt(var + self.eps)
        return (wide * scale + (bias[:, :, None, None] - mean * scale)).to(x.dtype)


class _Stage(nn.Module):
    """A convolution, its norm and a ReLU."""

    def __init__(self, conv: nn.Module, rows: int, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = conv, ConditionalInstanceNorm(rows, channels)

    def forward(self, x: Tensor, mixture: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x), mixture))


class _Residual(nn.Module):
    """Two 3x3 convolutions with norms and an identity skip, no ReLU after the addition."""

    def __init__(self, rows: int, channels: int) -> None:
        super().__init__()
        self.conv1 = PaddedConv(channels, channels, 3, bias=False)
        self.norm1 = ConditionalInstanceNorm(rows, channels)
        self.conv2 = PaddedConv(channels, channels, 3, bias=False)
        self.norm2 = ConditionalInstanceNorm(rows, channels)

    def forward(self, x: Tensor, mixture: Tensor) -> Tensor:
        branch = F.relu(self.norm1(self.conv1(x), mixture))
        out: Tensor = x + self.norm2(self.conv2(branch), mixture)
        return out


class GalleryNet(nn.Module):
    """The network of many styles: content images and mixtures of rows in, stylized images out.

    Args:
        config: widths, depth and the number of rows.

    Layers: strided convolutions to the lowest resolution, ``blocks`` residual blocks, fractionally-strided
    convolutions back to half the size, each with a conditional norm and a ReLU; then one to three channels
    at full size and, for each row, a 3 x 3 color matrix and an offset.
    """

    def __init__(self, config: GalleryNetConfig) -> None:
        super().__init__()
        self.config = config
        rows, widths = config.rows, config.widths
        sides = (config.stem, *(3,) * (len(widths) - 1))
        inputs = (3, *widths[:-1])
        self.down = nn.ModuleList(
            _Stage(PaddedConv(i, o, side, 2, bias=False), rows, o)
            for i, o, side in zip(inputs, widths, sides, strict=True)
        )
        self.blocks = nn.ModuleList(_Residual(rows, widths[-1]) for _ in range(config.blocks))
        narrowing = widths[::-1]
        self.up = nn.ModuleList(
            _Stage(Upsample(i, o, "tied", bias=False), rows, o) for i, o in itertools.pairwise(narrowing)
        )
        self.out = Upsample(widths[0], 3, "tied", bias=False)
        self.color = nn.Parameter(torch.eye(3).repeat(rows, 1, 1))
        self.offset = nn.Parameter(torch.full((rows, 3), 0.5))

    def row_parameters(self) -> list[nn.Parameter]:
        """The parameters that a style has for itself, each with the rows as its first dimension."""
        norms = (m for m in self.modules() if isinstance(m, ConditionalInstanceNorm))
        return [*(p for norm in norms for p in (norm.weight, norm.bias)), self.color, self.offset]

    @torch.no_grad()
    def start_with_colors(self, styles: Sequence[Tensor | None]) -> None:
        """Begin every row with the colors of its style image: their mean, and a root of their covariance.

        Args:
            styles: ``(3, H, W)`` in [0, 1] for each row; None leaves a row as it is.
        """
        for row, style in enumerate(styles):
            if style is not None:
                self.offset[row], self.color[row] = color_root(style.detach().cpu())

    def forward(self, images: Tensor, mixture: Tensor) -> Tensor:
        """``(B, 3, H, W)``, nominally in [0, 1], to the same shape, unclamped.

        Args:
            mixture: ``(B, R)``, the weight of each row.
        """
        h, w = images.shape[-2:]
        x = reflection_pad(centered_for_16_bits(images), *padding_of(self.config, h, w))
        for stage in self.down:
            x = stage(x, mixture)
        for block in self.blocks:
            x = block(x, mixture)
        for stage in self.up:
            x = stage(x, mixture)
        x = self.out(x)
        with torch.autocast(x.device.type, enabled=False):  # a 16-bit color is off by half a level
            color = torch.einsum("br,roc->boc", mixture, self.color)
            out = torch.einsum("boc,bchw->bohw", color, x.float())
            out = out + (mixture @ self.offset)[:, :, None, None]
        return out[..., :h, :w]


def color_root(image: Tensor) -> tuple[Tensor, Tensor]:
    """The mean ``(3,)`` of an image's colors and the symmetric root ``(3, 3)`` of their covariance, in fp64.

    Args:
        image: ``(3, H, W)``.
    """
    colors = image.flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(colors))
    return colors.mean(dim=1), (vectors * values.clamp_min(_LEAST_VARIANCE).sqrt()) @ vectors.T


def color_change(image: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix ``(3, 3)`` and offset ``(3,)`` that give an image another one's color mean and covariance; fp64.

    Gatys et al. 2017, equations 10 and 11.

    Args:
        image, wanted: ``(3, H, W)``.
    """
    (mean, root), (wanted_mean, wanted_root) = color_root(image), color_root(wanted)
    matrix = wanted_root @ torch.linalg.inv(root)
    return matrix, wanted_mean - matrix @ mean

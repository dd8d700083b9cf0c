"""Other projects' networks: the names of their parts and their pixel formats.

All share the architecture of Johnson et al. 2016 with instance norm and reflection at every convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CONVS", "FAMILIES", "NORMS", "Family"]

# Our names; {} stands for the number of a residual block.
CONVS = ("conv1", "conv2", "conv3", "block{}.conv1", "block{}.conv2", "up1", "up2", "conv4")
NORMS = ("conv1_norm", "conv2_norm", "conv3_norm", "block{}.norm1", "block{}.norm2", "up1_norm", "up2_norm")


@dataclass(frozen=True)
class Family:
    """The names of one project's convolutions and norms, and its pixel format."""

    project: str
    convs: tuple[str, ...]
    """its convolutions, in the order of `CONVS`; {} stands for the number of a residual block"""
    norms: tuple[str, ...]
    """its norms, in the order of `NORMS`"""
    pixels: Literal["levels", "imagenet"]
    """0 to 255, or normalized with the ImageNet mean and deviation, on the way in and out"""
    bgr: bool = False
    """blue first, in and out"""
    first_block: int = 1
    upsample: Literal["tied", "paper"] = "tied"
    skip: int = 1
    """how many times a residual block adds its input"""


def _plain(up: tuple[str, str, str]) -> tuple[str, ...]:
    """The convolutions of pytorch/examples and its derivatives; the names of the last three differ."""
    res = ("res{}.conv1.conv2d", "res{}.conv2.conv2d")
    return ("conv1.conv2d", "conv2.conv2d", "conv3.conv2d", *res, *up)


_PLAIN_NORMS = ("in1", "in2", "in3", "res{}.in1", "res{}.in2", "in4", "in5")

FAMILIES = (
    Family(
        "pytorch/examples",
        _plain(("deconv1.conv2d", "deconv2.conv2d", "deconv3.conv2d")),
        _PLAIN_NORMS,
        pixels="levels",
    ),
    # Its blocks add the identity twice, in `out = out + residual` and again in what they return.
    Family(
        "yakhyo/fast-neural-style-transfer",
        _plain(("upsample_conv1.conv2d", "upsample_conv2.conv2d", "upsample_conv3.conv2d")),
        _PLAIN_NORMS,
        pixels="levels",
        skip=2,
    ),
    Family(
        "gordicaleksa/pytorch-neural-style-johnson",
        _plain(("up1.conv2d.conv2d", "up2.conv2d.conv2d", "up3.conv2d")),
        _PLAIN_NORMS,
        pixels="imagenet",
    ),
    # Read by OpenCV, so blue comes first. Its Tanh variant has the same names and cannot be distinguished.
    Family(
        "rrmina/fast-neural-style-pytorch",
        (
            *(f"ConvBlock.{i}.conv_layer" for i in (0, 2, 4)),
            *(f"ResidualBlock.{{}}.conv{i}.conv_layer" for i in (1, 2)),
            "DeconvBlock.0.conv_transpose",
            "DeconvBlock.2.conv_transpose",
            "DeconvBlock.4.conv_layer",
        ),
        (
            *(f"ConvBlock.{i}.norm_layer" for i in (0, 2, 4)),
            *(f"ResidualBlock.{{}}.conv{i}.norm_layer" for i in (1, 2)),
            "DeconvBlock.0.norm_layer",
            "DeconvBlock.2.norm_layer",
        ),
        pixels="levels",
        bgr=True,
        first_block=0,
        upsample="paper",
    ),
    Family(
        "eriklindernoren/Fast-Neural-Style-Transfer",
        (
            *(f"model.{i}.block.1" for i in range(3)),
            *(f"model.{{}}.block.{i}.block.1" for i in range(2)),
            *(f"model.{i}.block.1" for i in (8, 9, 10)),
        ),
        (
            *(f"model.{i}.norm" for i in range(3)),
            *(f"model.{{}}.block.{i}.norm" for i in range(2)),
            *(f"model.{i}.norm" for i in (8, 9)),
        ),
        pixels="imagenet",
        first_block=3,
    ),
    Family(
        "igreat/fast-style-transfer",
        (
            *(f"layers.{i}.conv" for i in (0, 3, 6)),
            *(f"layers.{{}}.conv{i}.conv" for i in (1, 2)),
            *(f"layers.{i}.conv.conv" for i in (14, 17)),
            "layers.20.conv",
        ),
        (
            *(f"layers.{i}" for i in (1, 4, 7)),
            *(f"layers.{{}}.instance_norm{i}" for i in (1, 2)),
            *(f"layers.{i}" for i in (15, 18)),
        ),
        pixels="imagenet",
        first_block=9,
    ),
)

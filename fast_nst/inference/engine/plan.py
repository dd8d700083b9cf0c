"""A folded network as plain arrays, which every engine is built from, and rewrites of its layers.

`fast_nst.inference.engine.folding` makes it from the weights of a network. Torch is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import GalleryNetConfig, UpscaleNetConfig
from fast_nst.config.network import NORM_EPSILON
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.padding import AnyConfig, Padding, padding_of

__all__ = ["EPSILON", "Array", "Border", "Layer", "Plan", "merge_output", "shuffled", "taking_levels"]

Array = NDArray[np.float32]
Border = Literal["reflect", "repeat", "zero"]

EPSILON = NORM_EPSILON


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution with what stands before and behind it: border, convolution, norm, ReLU, skip.

    Attributes:
        weight: ``(C_out, C_in, kh, kw)``; of a `fractional` one ``(C_in, C_out, kh, kw)``.
        bias: ``(C_out,)``; None if there is none.
        border: what the input is extended with: its mirror image, its outermost positions, or zeros.
        margin: rows above and below, columns left and right, that the input is extended by.
        stride: 1 or 2; a `fractional` layer has 2 and makes its input twice as large.
        crop: rows and columns taken off (before, after) the full result of a `fractional` convolution.
        norm: weight and bias of an instance norm, each ``(C_out,)``; None if none follows.
        skip: None, or how many positions are cropped from each side of the residual that is added at the end:
            the input of the layer before.
        shuffle: of how many rows and columns a cell is whose values the convolution's channels are.
    """

    name: str
    weight: Array
    bias: Array | None
    border: Border
    margin: tuple[int, int]
    stride: int = 1
    fractional: bool = False
    crop: tuple[int, int] = (0, 0)
    norm: tuple[Array, Array] | None = None
    relu: bool = False
    skip: int | None = None
    shuffle: int = 1


@dataclass(frozen=True, eq=False)
class Plan:
    """A folded network.

    It takes ``(B, 3, H, W)`` images, RGB in [0, 1], padded by reflection as `padding` says, and returns them
    unclamped; the result is cropped to `factor` times H x W from its top left corner.

    Attributes:
        layers: in order; the first takes the picture, the last gives the result.
        config: of the network it was made from.
        base: what it makes of the picture is added to the result; None if nothing is. In fp32 always: the
            picture is large beside what is added to it.
    """

    layers: tuple[Layer, ...]
    config: AnyConfig
    base: Layer | None = None

    @property
    def factor(self) -> int:
        """How many times higher and wider the result is."""
        return self.config.factor if isinstance(self.config, UpscaleNetConfig) else 1

    @property
    def tanh_scale(self) -> float | None:
        """The result is ``0.5 + tanh_scale * tanh(x)`` of the last layer's x; None if it is x itself."""
        config = self.config
        if isinstance(config, GalleryNetConfig) or config.output != "tanh":
            return None
        return config.tanh_scale

    def is_skipped(self, index: int) -> bool:
        """Whether the input of this layer is the residual that the next one adds."""
        return index + 1 < len(self.layers) and self.layers[index + 1].skip is not None

    def padding(self, height: int, width: int) -> Padding:
        """The reflection padding that an image of this size needs."""
        return padding_of(self.config, height, width)


def taking_levels(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The same layers for a picture in levels, 0 to 255.

    Levels are exact in bf16, which knows whole numbers up to 256; most of their 255ths are not.
    """
    first, *others = layers
    return replace(first, weight=first.weight / np.float32(MAX_LEVEL)), *others


def shuffled(layer: Layer) -> Layer:
    """A stride-½ convolution, 3x3 or 4x4, as one of 2x2 to four times the channels and a pixel shuffle.

    Output 2m + p is ``x[m] k[p] + x[m - 1] k[p + 2]`` in each direction: all four phases of a cell see the
    same 2x2 positions, so the result is the same with as many multiplications.
    """
    c_in, c_out, kernel, _ = layer.weight.shape
    missing = 4 - kernel  # what a 3x3 lacks is zero, and so is the last position of its result
    full = np.pad(layer.weight, ((0, 0), (0, 0), (0, missing), (0, missing)))
    # Axes in, out, tap, phase, tap, phase; taps are turned around: from the earlier position to the later.
    taps = full.reshape(c_in, c_out, 2, 2, 2, 2)[:, :, ::-1, :, ::-1]
    weight = np.ascontiguousarray(taps.transpose(1, 3, 5, 0, 2, 4).reshape(4 * c_out, c_in, 2, 2))
    bias = None if layer.bias is None else layer.bias.repeat(4)
    before, after = layer.crop[0], layer.crop[1] + missing
    border, margin = layer.border, layer.margin
    if min(before, after) >= 2:  # the 2x2 stays within the map, which costs the outermost two positions
        before, after = before - 2, after - 2
    else:
        border, margin = "zero", (1, 1)
    return replace(
        layer,
        weight=weight,
        bias=bias,
        border=border,
        margin=margin,
        stride=1,
        fractional=False,
        crop=(before, after),
        shuffle=2,
    )


def merge_output(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The same layers with the last two, see `folding`, as one k x k convolution again."""
    if layers[-1].name != "conv4_rows":
        return layers
    *others, columns, rows = layers
    outputs, _, _, width = rows.weight.shape
    _, inputs, height, _ = columns.weight.shape
    weight = columns.weight.reshape(outputs, width, inputs, height).transpose(0, 2, 3, 1)
    merged = replace(
        rows, name="conv4", weight=np.ascontiguousarray(weight), margin=(columns.margin[0], rows.margin[1])
    )
    return *others, merged

"""Exact rewrites of a trained network into a faster one with the same results. Torch is not needed for it.

The result is a `Plan`: convolutions, each with the border it wants, the norm and the ReLU behind it. Four
rewrites, all exact but for rounding:

* nearest x2, reflection and a 3x3 become a stride-½ convolution with a 4x4 kernel on a map extended by
  repetition, 4/9 of the multiplications (see `tied_kernel`);
* the last 9x9, whose three output channels leave vector units idle, becomes a 9x1 to 27 channels, one for
  each output channel and column of the kernel, and a 1x9 that adds up the columns, each shifted to its place;
* a batch norm, whose statistics are fixed, is multiplied into the convolution before it;
* the bias of a convolution before an instance norm is dropped: the norm subtracts it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import NetworkConfig, UpscaleNetConfig
from fast_nst.errors import InputError
from fast_nst.inference.engine.plan import EPSILON, Array, Border, Layer, Plan
from fast_nst.models.resampling import bicubic_kernel

__all__ = ["as_fp32", "as_fp64", "check_finite", "fold_weights", "upsampling_layer", "weight_of"]


def fold_weights(
    config: NetworkConfig | UpscaleNetConfig, tensors: Mapping[str, NDArray[np.generic]]
) -> Plan:
    """The plan of a network.

    Args:
        tensors: its state dict as arrays, named as in `TransformNet` or `UpscaleNet`, of any float type.

    Raises:
        InputError: a weight is NaN or infinite. Engines do not show it: OpenVINO's ReLU makes 0 of NaN.
    """
    check_finite(tensors)
    if isinstance(config, UpscaleNetConfig):
        return Plan(tuple(_upscaler_layers(config, tensors)), config, _base(config))
    return Plan(tuple(_layers(config, tensors)), config)


def check_finite(tensors: Mapping[str, NDArray[np.generic]]) -> None:
    """Refuse weights that are NaN or infinite."""
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise InputError(
                f"the network holds NaN or infinity in {name}: the file is damaged; train it again"
            )


def _layers(config: NetworkConfig, tensors: Mapping[str, NDArray[np.generic]]) -> Iterator[Layer]:
    border: Border = "zero" if config.padding == "paper" else "reflect"
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2)):
        weight, bias, norm = _normed(tensors, f"body.{name}", f"body.{name}_norm")
        half = weight.shape[-1] // 2
        yield Layer(name, weight, bias, border, (half, half), stride, norm=norm, relu=True)
    padded = config.padding == "reflect"
    for i in range(1, config.blocks + 1):
        for half in (1, 2):
            stem = f"body.block{i}"
            weight, bias, norm = _normed(tensors, f"{stem}.conv{half}", f"{stem}.norm{half}")
            margin = (1, 1) if padded else (0, 0)
            skip = None if half == 1 else (0 if padded else 2)
            name = f"block{i}_{half}"
            yield Layer(name, weight, bias, "reflect", margin, norm=norm, relu=half == 1, skip=skip)
    for name in ("up1", "up2"):
        weight, bias, norm = _normed(
            tensors, f"body.{name}", f"body.{name}_norm", fractional=config.upsample != "tied"
        )
        yield upsampling_layer(name, config.upsample, weight, bias, norm)
    yield from _split(border, weight_of(tensors, "body.conv4"), _bias(tensors, "body.conv4"))


def _upscaler_layers(config: UpscaleNetConfig, tensors: Mapping[str, NDArray[np.generic]]) -> Iterator[Layer]:
    border: Border = "reflect" if config.padding == "reflect" else "zero"
    half = config.kernel // 2
    weight, bias, _ = _normed(tensors, "body.conv1", "body.conv1_norm")
    yield Layer("conv1", weight, bias, border, (half, half), relu=True)
    for i in range(1, config.blocks + 1):
        for part in (1, 2):
            stem = f"body.block{i}"
            weight, bias, _ = _normed(tensors, f"{stem}.conv{part}", f"{stem}.norm{part}")
            skip = None if part == 1 else 0
            yield Layer(f"block{i}_{part}", weight, bias, border, (1, 1), relu=part == 1, skip=skip)
    weight, bias = weight_of(tensors, "body.last"), _bias(tensors, "body.last")
    if config.upsample == "shuffle":
        yield Layer("last", weight, bias, border, (1, 1), shuffle=config.factor)
        return
    for i in range(1, round(math.log2(config.factor)) + 1):
        name, free = f"up{i}", config.upsample != "tied"
        kernel, shift, _ = _normed(tensors, f"body.{name}", f"body.{name}_norm", fractional=free)
        yield upsampling_layer(name, config.upsample, kernel, shift, None)
    yield from _split(border, weight, bias)


def _base(config: UpscaleNetConfig) -> Layer | None:
    """Bicubic upsampling: of each color a cell of factor x factor values, from 5 x 5 around its place."""
    if config.base == "none":
        return None
    cell = bicubic_kernel(config.factor)
    weight = np.zeros((3, len(cell), 3, 5, 5), np.float32)
    for color in range(3):
        weight[color, :, color] = cell
    return Layer("base", weight.reshape(-1, 3, 5, 5), None, "repeat", (2, 2), shuffle=config.factor)


def upsampling_layer(
    name: str, kind: str, weight: Array, bias: Array | None, norm: tuple[Array, Array] | None
) -> Layer:
    """A stride-½ convolution.

    Uncropped, it gives ``2 H + kernel - 2`` positions. Extended by 1 at each border, the middle 2H of
    2H + 6 are wanted of the 4x4 kinds; unextended, the paper's 3x3 has one position too many, the first.
    """
    if kind == "paper":
        return Layer(name, weight, bias, "zero", (0, 0), 2, True, (1, 0), norm, relu=True)
    kernel = _tied(weight) if kind == "tied" else weight
    return Layer(name, kernel, bias, "repeat", (1, 1), 2, True, (3, 3), norm, relu=True)


def _tied(weight: Array) -> Array:
    """`fast_nst.models.transform_net.tied_kernel`, which explains it, for arrays."""
    add = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float64)
    kernel = np.einsum("au,ocuv,bv->coab", add, weight.astype(np.float64), add)
    return np.ascontiguousarray(kernel, np.float32)


def _split(border: Border, weight: Array, bias: Array | None) -> Iterator[Layer]:
    """A k x k convolution to few channels, as k x 1 to k times as many and a 1 x k that adds them up."""
    outputs, inputs, height, width = weight.shape
    columns = weight.transpose(0, 3, 1, 2).reshape(outputs * width, inputs, height, 1)
    yield Layer("conv4_columns", np.ascontiguousarray(columns), None, border, (height // 2, 0))
    place = np.zeros((outputs, outputs, width, 1, width), np.float32)
    for o in range(outputs):
        place[o, o, :, 0] = np.eye(width)
    yield Layer("conv4_rows", place.reshape(outputs, -1, 1, width), bias, border, (0, width // 2))


def _normed(
    tensors: Mapping[str, NDArray[np.generic]], conv: str, norm: str, *, fractional: bool = False
) -> tuple[Array, Array | None, tuple[Array, Array] | None]:
    """Weight, bias and instance norm of a convolution, a batch norm multiplied in; perhaps it has no norm."""
    weight = weight_of(tensors, conv)
    if f"{norm}.weight" not in tensors:
        return weight, _bias(tensors, conv), None
    scale, shift = (as_fp32(tensors, f"{norm}.{part}") for part in ("weight", "bias"))
    if f"{norm}.running_var" not in tensors:
        return weight, None, (scale, shift)
    mean, var = (as_fp64(tensors[f"{norm}.running_{part}"]) for part in ("mean", "var"))
    factor = scale.astype(np.float64) / np.sqrt(var + EPSILON)
    before = _bias(tensors, conv)
    bias = shift + ((0.0 if before is None else before) - mean) * factor
    shape = (1, -1, 1, 1) if fractional else (-1, 1, 1, 1)
    return (weight * factor.reshape(shape)).astype(np.float32), bias.astype(np.float32), None


def weight_of(tensors: Mapping[str, NDArray[np.generic]], stem: str) -> Array:
    """The weight of a convolution that stands alone or behind its padding, by the name of either."""
    return as_fp32(tensors, f"{stem}.weight" if f"{stem}.weight" in tensors else f"{stem}.conv.weight")


def _bias(tensors: Mapping[str, NDArray[np.generic]], stem: str) -> Array | None:
    name = f"{stem}.bias" if f"{stem}.weight" in tensors else f"{stem}.conv.bias"
    return as_fp32(tensors, name) if name in tensors else None


def as_fp32(tensors: Mapping[str, NDArray[np.generic]], name: str) -> Array:
    """A tensor by its name, contiguous, in fp32."""
    return np.ascontiguousarray(tensors[name], np.float32)


def as_fp64(array: NDArray[np.generic]) -> NDArray[np.float64]:
    """An array in float64."""
    return np.asarray(array, np.float64)

"""A folded network as an ONNX graph: what OpenVINO and onnxruntime run, and what is exported.

Batch, height and width are dynamic. Two kinds of pixels: ``uint8``, ``(B, H, W, 3)`` levels in and out,
clipped and rounded inside; ``float``, ``(B, 3, H, W)`` in [0, 1] in, the same clipped to [0, 1] out.

And two kinds of norms: ``fused``, the operator of that name; ``apart``, means of rows and of those, for
engines whose operator adds up a whole map value by value in fp32. OpenVINO's is off by up to 11 levels in a
photograph of 9 megapixels, by 45 in one of 20, and in pale pictures of one; apart, norms take a few percent
more time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fast_nst.inference.engine.folding import EPSILON, Layer, Plan, taking_levels
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.padding import MIN_SIZE, whole

__all__ = ["INPUT", "OUTPUT", "TOTAL", "Norms", "Pixels", "build_graph"]

Pixels = Literal["uint8", "float"]
Norms = Literal["fused", "apart"]
INPUT, OUTPUT, TOTAL = "picture", "painted", "total"
OPSET, IR_VERSION = 17, 8  # read by everything since 2022
_BORDERS = {"reflect": "reflect", "repeat": "edge", "zero": "constant"}


def build_graph(
    plan: Plan, about: Mapping[str, Any], *, pixels: Pixels, norms: Norms = "fused", total: bool = False
) -> onnx.ModelProto:
    """The graph of a plan, for pictures of any size; ``about`` goes into its metadata.

    Args:
        total: add a second output, ``(B,)`` fp32: the sum of the last layer's values for each picture, which
            is finite where all of them are. Clipping and the cast to uint8 would hide NaN and infinity.
    """
    graph = _Graph(norms)
    residual = x = graph.picture(plan, pixels)
    for layer in taking_levels(plan.layers) if pixels == "uint8" else plan.layers:
        x, residual = graph.layer(layer, x, residual), x
    graph.painting(plan, x, pixels, total)
    return graph.model(about, pixels)


class _Graph:
    """Nodes and constants as they are added; values are known by their names."""

    def __init__(self, norms: Norms) -> None:
        self.norms = norms
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.ends: list[onnx.ValueInfoProto] = []

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """A node with one output, whose name is returned."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, array: NDArray[Any] | list[int], name: str = "") -> str:
        """Lists are positions and sizes, int64; equal ones are stored once."""
        values = np.asarray(array, np.int64) if isinstance(array, list) else array
        name = name or f"{values.dtype}_{'_'.join(map(str, values.ravel()))}_{values.ndim}"
        self.constants.setdefault(name, numpy_helper.from_array(values, name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def picture(self, plan: Plan, pixels: Pixels) -> str:
        """The input, extended, as ``(B, 3, H, W)`` floats."""
        axes, shape, kind = (2, 3), ["batch", 3, "height", "width"], TensorProto.FLOAT
        if pixels == "uint8":
            axes, shape, kind = (1, 2), ["batch", "height", "width", 3], TensorProto.UINT8
        self.ends.append(helper.make_tensor_value_info(INPUT, kind, shape))
        x, margin = INPUT, plan.frame(MIN_SIZE, MIN_SIZE).left
        for axis in axes:
            walk = self._walk(self._size(axis), margin, whole(plan.config))
            x = self.add("Gather", x, walk, axis=axis)
        if pixels == "float":
            return x
        return self.add("Transpose", self.add("Cast", x, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])

    def _size(self, axis: int) -> str:
        """Of the input, as ``(1,)``."""
        return self.add("Gather", self.add("Shape", INPUT), self.constant([axis]), axis=0)

    def _walk(self, size: str, margin: int, stride: int) -> str:
        """`padding.mirrored` from ``margin`` before the first position to the end of the frame."""
        one, two, side = self.constant([1]), self.constant([2]), self.constant([stride])
        up = self.add("Div", self.add("Add", size, self.constant([stride - 1])), side)
        end = self.add("Max", self.add("Mul", up, side), self.constant([MIN_SIZE]))
        end = self.add("Squeeze", self.add("Add", end, self.constant([margin])))
        start, step = (self.constant(np.array(n, np.int64)) for n in (-margin, 1))
        period = self.add("Max", self.add("Mul", self.add("Sub", size, one), two), one)
        index = self.add("Mod", self.add("Range", start, end, step), period)
        return self.add("Min", index, self.add("Sub", period, index))

    def layer(self, layer: Layer, x: str, residual: str) -> str:
        """A `Layer`."""
        rows, columns = layer.margin
        if rows or columns:
            pads = self.constant([0, 0, rows, columns] * 2)
            x = self.add("Pad", x, pads, mode=_BORDERS[layer.border])
        values = [self.constant(layer.weight, f"{layer.name}.weight")]
        if layer.bias is not None:
            values.append(self.constant(layer.bias, f"{layer.name}.bias"))
        strides = [layer.stride] * 2
        if layer.fractional:
            before, after = layer.crop
            # Of the second end fewer are cropped than of the first: what is to be given back.
            x = self.add("ConvTranspose", x, *values, strides=strides, pads=[before, before, after, after])
        else:
            x = self.add("Conv", x, *values, strides=strides)
        if layer.norm is not None:
            x = self._normed(x, layer.name, *layer.norm)
        if layer.relu:
            x = self.add("Relu", x)
        if layer.skip is not None:
            x = self.add("Add", x, self._cropped(residual, layer.skip))
        return x

    def _normed(self, x: str, name: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        shape = (-1,) if self.norms == "fused" else (-1, 1, 1)
        scale, shift = (
            self.constant(array.reshape(shape), f"{name}.norm_{part}")
            for array, part in ((weight, "weight"), (bias, "bias"))
        )
        if self.norms == "fused":
            return self.add("InstanceNormalization", x, scale, shift, epsilon=EPSILON)
        mean = self._mean(x)
        square = self.add("Pow", self.add("Sub", x, mean), self.number(2))
        var = self.add("Add", self._mean(square), self.number(EPSILON))
        scale = self.add("Div", scale, self.add("Sqrt", var))
        shift = self.add("Sub", shift, self.add("Mul", mean, scale))
        return self.add("Add", self.add("Mul", x, scale), shift)

    def _mean(self, x: str) -> str:
        """Of each channel, ``(B, C, 1, 1)``."""
        rows = self.add("ReduceMean", x, axes=[3], keepdims=1)
        # Doubled and halved, for OpenVINO makes one mean, and a poor one, of two that follow each other.
        twice = self.add("ReduceMean", self.add("Mul", rows, self.number(2)), axes=[2], keepdims=1)
        return self.add("Mul", twice, self.number(0.5))

    def _cropped(self, x: str, crop: int) -> str:
        if not crop:
            return x
        starts, ends, axes = ([crop] * 2, [-crop] * 2, [2, 3])
        return self.add("Slice", x, *(self.constant(values) for values in (starts, ends, axes)))

    def painting(self, plan: Plan, x: str, pixels: Pixels, total: bool) -> None:
        """The output: clipped, for levels rounded, and cropped to the picture."""
        raw = x  # also before tanh, which makes 1 of infinity
        if plan.tanh_scale is not None:
            x = self.add("Mul", self.add("Tanh", x), self.number(plan.tanh_scale))
            x = self.add("Add", x, self.number(0.5))
        axes, shape, kind = (2, 3), ["batch", 3, "height", "width"], TensorProto.FLOAT
        if pixels == "uint8":
            axes, shape, kind = (1, 2), ["batch", "height", "width", 3], TensorProto.UINT8
            x = self.add("Mul", x, self.number(MAX_LEVEL))
            x = self.add("Round", self.add("Clip", x, self.number(0), self.number(MAX_LEVEL)))
            x = self.add("Transpose", self.add("Cast", x, to=kind), perm=[0, 2, 3, 1])
        else:
            x = self.add("Clip", x, self.number(0), self.number(1))
        ends = self.add("Concat", self._size(axes[0]), self._size(axes[1]), axis=0)
        x = self.add("Slice", x, self.constant([0, 0]), ends, self.constant(list(axes)))
        self.output(OUTPUT, x, kind, shape)
        if total:
            added = self.add("ReduceSum", raw, self.constant([1, 2, 3]), keepdims=0)
            self.output(TOTAL, added, TensorProto.FLOAT, ["batch"])

    def output(self, name: str, x: str, kind: int, shape: Sequence[object]) -> None:
        """A value that the graph returns."""
        self.nodes.append(helper.make_node("Identity", [x], [name]))
        self.ends.append(helper.make_tensor_value_info(name, kind, shape))

    def model(self, about: Mapping[str, Any], pixels: Pixels) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = helper.make_graph(
            self.nodes, "fast_nst", self.ends[:1], self.ends[1:], list(self.constants.values())
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="fast-nst")
        told = {"fast_nst": json.dumps(dict(about), sort_keys=True), "pixels": pixels, "colors": "RGB"}
        helper.set_model_props(model, told)
        onnx.checker.check_model(model)
        return model

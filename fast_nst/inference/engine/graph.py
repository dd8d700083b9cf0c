"""A folded network as an ONNX graph, for OpenVINO, onnxruntime and exported files.

Pixels are ``uint8``: ``(B, H, W, 3)`` levels in and out, clipped and rounded inside; or ``float``:
``(B, 3, H, W)``, [0, 1] in, clipped to [0, 1] out. Batch, height and width are dynamic, or, given a size, one
image of that size: every index is then a constant, and the operators are those that OpenCV's DNN module has.

Norms are ``fused``, the operator of that name; or ``apart``, means of rows and of those, for engines whose
operator sums a whole feature map value by value in fp32. OpenVINO's is off by up to 11 levels in a content
image of 9 megapixels, by 45 in one of 20, and in pale ones of 1; apart, norms take a few percent more time.

With ``int8`` the convolutions of the residual blocks multiply integers: their weights in 255 levels for each
output channel, their input in 256 levels between the least and the greatest value that it has in this image,
so nothing has to be calibrated and nothing is ever clipped. Offset and scale need not be undone: the instance
norm behind the convolution subtracts any constant and divides by any factor, but for its epsilon.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fast_nst.inference.engine.plan import EPSILON, Layer, Plan, merge_output, shuffled, taking_levels
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.padding import MIN_SIZE, least_size, reflected_indices, size_multiple

__all__ = ["INPUT", "OUTPUT", "TOTAL", "GraphBuilder", "Norms", "Pixels", "Upsampling", "build_graph"]

Pixels = Literal["uint8", "float"]
Upsampling = Literal["transposed", "shuffled"]
Norms = Literal["fused", "apart"]
INPUT, OUTPUT = "image", "stylized"  # programs that run exported files use these names
TOTAL = "total"
OPSET, IR_VERSION = 17, 8  # read by everything since 2022
_LEAST_SPAN = 1e-12  # of a map or a weight, which is divided by
_MOST = 127  # of the levels of a weight
_BORDERS = {"reflect": "reflect", "repeat": "edge", "zero": "constant"}


def build_graph(
    plan: Plan,
    metadata: Mapping[str, Any],
    *,
    pixels: Pixels,
    norms: Norms = "fused",
    size: tuple[int, int] | None = None,
    total: bool = False,
    upsampling: Upsampling = "transposed",
    int8: bool = False,
) -> onnx.ModelProto:
    """The graph of a style's plan, which for int8 needs instance norms in its residual blocks.

    Args:
        metadata: metadata, stored in the model.
        size: height and width of the only image it takes; None: batches of any size.
        total: add a second output, ``(B,)`` fp32: the sum of the last layer's values for each image, which
            is finite where all of them are. Clipping and the cast to uint8 would hide NaN and infinity.
        upsampling: of stride-½ convolutions: ONNX's operator, or a 2 x 2 convolution and a pixel shuffle, for
            engines in which that operator is slow.
        int8: convolutions of the residual blocks in 8-bit integers.
    """
    graph = GraphBuilder(norms, size, upsampling, int8=int8)
    layers = taking_levels(plan.layers) if pixels == "uint8" else plan.layers
    residual = x = graph.input(plan, pixels)
    # OpenCV 5.0 miscomputes k x 1 convolutions; as one k x k it takes no more multiplications.
    picture = x
    for layer in layers if size is None else merge_output(layers):
        x, residual = graph.layer(layer, x, residual), x
    if plan.base is not None:
        base = taking_levels((plan.base,))[0] if pixels == "uint8" else plan.base
        x = graph.add("Add", x, graph.layer(base, picture, picture))
    graph.output(plan, x, pixels, total)
    return graph.model(metadata, pixels)


class GraphBuilder:
    """Nodes and constants as they are added; values are known by their names."""

    def __init__(
        self, norms: Norms, size: tuple[int, int] | None, upsampling: Upsampling, *, int8: bool = False
    ) -> None:
        self.norms, self.fixed, self.upsampling, self.int8 = norms, size, upsampling, int8
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
        """A scalar constant in fp32."""
        return self.constant(np.array(value, np.float32))

    def _end(self, name: str, pixels: Pixels) -> None:
        """Declare the input or the output."""
        batch, *sides = (1, *self.fixed) if self.fixed else ("batch", "height", "width")
        shape, kind = [batch, 3, *sides], TensorProto.FLOAT
        if pixels == "uint8":
            shape, kind = [batch, *sides, 3], TensorProto.UINT8
        self.ends.append(helper.make_tensor_value_info(name, kind, shape))

    def input(self, plan: Plan, pixels: Pixels) -> str:
        """The padded input, as ``(B, 3, H, W)`` floats."""
        self._end(INPUT, pixels)
        x = INPUT
        if self.fixed is None:
            margin = plan.padding(MIN_SIZE, MIN_SIZE).left
            for axis in (1, 2) if pixels == "uint8" else (2, 3):
                sides = size_multiple(plan.config), least_size(plan.config)
                positions = self._padded_indices(self._size(axis), margin, *sides)
                x = self.add("Gather", x, positions, axis=axis)
        if pixels == "uint8":
            x = self.add("Transpose", self.add("Cast", x, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        return x if self.fixed is None else self._padded(x, plan, *self.fixed)

    def _padded(self, x: str, plan: Plan, height: int, width: int) -> str:
        """An image of the fixed size, padded."""
        left, right, top, bottom = plan.padding(height, width)
        if not any((left, right, top, bottom)):
            return x
        if max(top, bottom) < height and max(left, right) < width:
            return self.add("Pad", x, self.constant([0, 0, top, left, 0, 0, bottom, right]), mode="reflect")
        x = self.add("Gather", x, self.constant(reflected_indices(height, top, bottom), "rows"), axis=2)
        return self.add("Gather", x, self.constant(reflected_indices(width, left, right), "columns"), axis=3)

    def _size(self, axis: int) -> str:
        """Of the input, as ``(1,)``."""
        return self.add("Gather", self.add("Shape", INPUT), self.constant([axis]), axis=0)

    def _padded_indices(self, size: str, margin: int, stride: int, least: int) -> str:
        """`padding.reflected_indices` from ``margin`` before the first position to the end of the frame."""
        one, two, side = self.constant([1]), self.constant([2]), self.constant([stride])
        up = self.add("Div", self.add("Add", size, self.constant([stride - 1])), side)
        end = self.add("Max", self.add("Mul", up, side), self.constant([least]))
        end = self.add("Squeeze", self.add("Add", end, self.constant([margin])))
        start, step = (self.constant(np.array(n, np.int64)) for n in (-margin, 1))
        period = self.add("Max", self.add("Mul", self.add("Sub", size, one), two), one)
        index = self.add("Mod", self.add("Range", start, end, step), period)
        return self.add("Min", index, self.add("Sub", period, index))

    def layer(self, layer: Layer, x: str, residual: str) -> str:
        """A `Layer`."""
        if layer.fractional and self.upsampling == "shuffled":
            layer = shuffled(layer)
        step = None
        if self.int8 and layer.name.startswith("block"):
            x, step = self._quantized(x, layer)
        rows, columns = layer.margin
        if rows or columns:
            pads = self.constant([0, 0, rows, columns] * 2)
            x = self.add("Pad", x, pads, mode=_BORDERS[layer.border])
        if step is not None:
            x = self.add("DequantizeLinear", x, *self._units(np.uint8))
            weight, step = self._quantized_weight(layer, step)
            values = [weight]
        else:
            values = [self.constant(layer.weight, f"{layer.name}.weight")]
        if layer.bias is not None:
            values.append(self.constant(layer.bias, f"{layer.name}.bias"))
        # ONNX may leave the kernel's shape to the weights; OpenCV and others read it from here alone.
        settings = {"strides": [layer.stride] * 2, "kernel_shape": list(layer.weight.shape[2:])}
        if layer.fractional:
            before, after = layer.crop
            # Of the second end fewer are cropped than of the first: what is to be given back.
            x = self.add("ConvTranspose", x, *values, pads=[before, before, after, after], **settings)
        else:
            x = self.add("Conv", x, *values, **settings)
        if layer.shuffle > 1:
            x = self._cropped(self.add("DepthToSpace", x, blocksize=layer.shuffle, mode="CRD"), layer.crop)
        if layer.norm is not None:
            x = self._normed(x, layer.name, *layer.norm, step)
        if layer.relu:
            x = self.add("Relu", x)
        if layer.skip is not None:
            x = self.add("Add", x, self._cropped(residual, (layer.skip, layer.skip)))
        return x

    def _quantized(self, x: str, layer: Layer) -> tuple[str, str]:
        """A layer's input in levels, 0 to 255, and how far they are apart, ``(B, 1, 1, 1)``."""
        span = self.add("ReduceMax", x, axes=[1, 2, 3], keepdims=1)
        if layer.skip is None:  # the input of a block; within it a ReLU comes before, and the least is 0
            least = self.add("ReduceMin", x, axes=[1, 2, 3], keepdims=1)
            x, span = self.add("Sub", x, least), self.add("Sub", span, least)
        step = self.add("Mul", self.add("Max", span, self.number(_LEAST_SPAN)), self.number(1 / MAX_LEVEL))
        x = self.add("QuantizeLinear", self.add("Div", x, step), *self._units(np.uint8))
        return x, step

    def _units(self, kind: type[np.integer[Any]]) -> tuple[str, str]:
        """Scale and zero of integers that stand for themselves."""
        return self.number(1), self.constant(np.array(0, kind), f"zero_{kind.__name__}")

    def _quantized_weight(self, layer: Layer, step: str) -> tuple[str, str]:
        """The weight in levels, and what one of the results is worth, ``(B, C_out, 1, 1)``."""
        largest = np.abs(layer.weight).max(axis=(1, 2, 3), keepdims=True)
        scale = (np.maximum(largest, _LEAST_SPAN) / _MOST).astype(np.float32)
        levels = np.rint(layer.weight / scale).astype(np.int8)
        weight = self.add(
            "DequantizeLinear", self.constant(levels, f"{layer.name}.weight"), *self._units(np.int8)
        )
        return weight, self.add("Mul", step, self.constant(scale.reshape(1, -1, 1, 1), f"{layer.name}.scale"))

    def _normed(self, x: str, name: str, weight: NDArray[Any], bias: NDArray[Any], step: str | None) -> str:
        """Instance norm; of values that are to be multiplied by a step, if there is one."""
        shape = (-1,) if self.norms == "fused" else (-1, 1, 1)
        scale, shift = self.norm_parameters(name, weight, bias, shape)
        if self.norms == "fused":
            x = x if step is None else self.add("Mul", x, step)
            return self.add("InstanceNormalization", x, scale, shift, epsilon=EPSILON)
        mean = self._mean(x)
        square = self.add("Pow", self.add("Sub", x, mean), self.number(2))
        epsilon = self.number(EPSILON)
        if step is not None:
            epsilon = self.add("Div", epsilon, self.add("Mul", step, step))
        var = self.add("Add", self._mean(square), epsilon)
        scale = self.add("Div", scale, self.add("Sqrt", var))
        shift = self.add("Sub", shift, self.add("Mul", mean, scale))
        return self.add("Add", self.add("Mul", x, scale), shift)

    def norm_parameters(
        self, name: str, weight: NDArray[Any], bias: NDArray[Any], shape: tuple[int, ...]
    ) -> tuple[str, str]:
        """Weight and bias of the norm of the layer of that name, in that shape."""
        return (
            self.constant(weight.reshape(shape), f"{name}.norm_weight"),
            self.constant(bias.reshape(shape), f"{name}.norm_bias"),
        )

    def _mean(self, x: str) -> str:
        """Of each channel, ``(B, C, 1, 1)``."""
        rows = self.add("ReduceMean", x, axes=[3], keepdims=1)
        # Doubled and halved: OpenVINO fuses two means that follow each other into an inaccurate one.
        twice = self.add("ReduceMean", self.add("Mul", rows, self.number(2)), axes=[2], keepdims=1)
        return self.add("Mul", twice, self.number(0.5))

    def _cropped(self, x: str, crop: tuple[int, int]) -> str:
        """Without so many positions before and after the rest, in both directions."""
        if not any(crop):
            return x
        starts, ends, axes = ([crop[0]] * 2, [-crop[1] or np.iinfo(np.int64).max] * 2, [2, 3])
        return self.add("Slice", x, *(self.constant(values) for values in (starts, ends, axes)))

    def output(self, plan: Plan, x: str, pixels: Pixels, total: bool) -> None:
        """The output: clipped, rounded if it is levels, and cropped to the size of the input."""
        self._end(OUTPUT, pixels)
        raw = x  # also before tanh, which makes 1 of infinity
        if plan.tanh_scale is not None:
            x = self.add("Mul", self.add("Tanh", x), self.number(plan.tanh_scale))
            x = self.add("Add", x, self.number(0.5))
        axes = (2, 3)
        if pixels == "uint8":
            axes = (1, 2)
            x = self.add("Mul", x, self.number(MAX_LEVEL))
            x = self.add("Round", self.add("Clip", x, self.number(0), self.number(MAX_LEVEL)))
            x = self.add("Transpose", self.add("Cast", x, to=TensorProto.UINT8), perm=[0, 2, 3, 1])
        else:
            x = self.add("Clip", x, self.number(0), self.number(1))
        ends = None
        if self.fixed is None:
            ends = self.add("Concat", self._size(axes[0]), self._size(axes[1]), axis=0)
        elif any(plan.padding(*self.fixed)):
            ends = self.constant(list(self.fixed))
        if ends is not None:
            x = self.add("Slice", x, self.constant([0, 0]), ends, self.constant(list(axes)))
        self.nodes.append(helper.make_node("Identity", [x], [OUTPUT]))
        if total:
            added = self.add("ReduceSum", raw, self.constant([1, 2, 3]), keepdims=0)
            self.nodes.append(helper.make_node("Identity", [added], [TOTAL]))
            self.ends.append(helper.make_tensor_value_info(TOTAL, TensorProto.FLOAT, ["batch"]))

    def model(self, metadata: Mapping[str, Any], pixels: Pixels) -> onnx.ModelProto:
        """The finished, checked model."""
        return self.checked_model(self.ends[:1], self.ends[1:], metadata, pixels)

    def checked_model(
        self,
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
        metadata: Mapping[str, Any],
        pixels: Pixels,
    ) -> onnx.ModelProto:
        """The model of the nodes so far, with its metadata."""
        graph = helper.make_graph(self.nodes, "fast_nst", inputs, outputs, list(self.constants.values()))
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="fast-nst")
        entries = {"fast_nst": json.dumps(dict(metadata), sort_keys=True), "pixels": pixels, "colors": "RGB"}
        helper.set_model_props(model, entries)
        onnx.checker.check_model(model)
        return model

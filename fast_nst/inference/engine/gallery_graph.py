"""A network of many styles as an ONNX graph whose styles are mixed by an input.

Besides the images it takes ``style_weights``, ``(R,)`` fp32, the weight of each row for all images of the
batch. Where they sum to less than 1, the rest is the content image's share in the result: weights of 0 give
the content image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fast_nst.config import GalleryNetConfig
from fast_nst.inference.engine.folding import as_fp32
from fast_nst.inference.engine.gallery_folding import fold_gallery, norms_by_layer
from fast_nst.inference.engine.graph import GraphBuilder, Norms, Pixels, Upsampling
from fast_nst.inference.engine.plan import taking_levels
from fast_nst.io.images import MAX_LEVEL

__all__ = ["WEIGHTS", "build_gallery_graph"]

WEIGHTS = "style_weights"
_LEAST = 1e-6  # of the weights' sum that they are divided by


def build_gallery_graph(
    config: GalleryNetConfig,
    tensors: Mapping[str, NDArray[np.generic]],
    metadata: Mapping[str, Any],
    *,
    pixels: Pixels,
    norms: Norms = "fused",
    total: bool = False,
    upsampling: Upsampling = "transposed",
    int8: bool = False,
) -> onnx.ModelProto:
    """The graph of a network of many styles.

    Args:
        tensors: its state dict as arrays.
        metadata: stored in the model.
        pixels, norms, total, upsampling, int8: as in `build_graph`.

    Raises:
        InputError: a weight is NaN or infinite.
    """
    first = np.eye(config.rows, dtype=np.float32)[0]
    neutral = {**tensors, "color": np.tile(np.eye(3, dtype=np.float32), (config.rows, 1, 1))}
    plan = fold_gallery(config, neutral, first)
    graph = _GalleryGraph(config, tensors, norms, upsampling, int8)
    layers = taking_levels(plan.layers) if pixels == "uint8" else plan.layers
    residual = x = picture = graph.input(plan, pixels)
    for layer in layers[:-1]:
        x, residual = graph.layer(layer, x, residual), x
    x = graph.layer(replace(layers[-1], bias=None), x, residual)
    graph.output(plan, graph.colored(x, picture, pixels), pixels, total)
    return graph.model(metadata, pixels)


class _GalleryGraph(GraphBuilder):
    """Norms and colors are sums of rows by their weights."""

    def __init__(
        self,
        config: GalleryNetConfig,
        tensors: Mapping[str, NDArray[np.generic]],
        norms: Norms,
        upsampling: Upsampling,
        int8: bool = False,
    ) -> None:
        super().__init__(norms, None, upsampling, int8=int8)
        self._tensors, self._names = tensors, norms_by_layer(config)
        sum_of_all = self.add("ReduceSum", WEIGHTS, self.constant([0]), keepdims=1)
        self._share = self.add("Min", sum_of_all, self.number(1))
        shares = self.add("Div", WEIGHTS, self.add("Max", sum_of_all, self.number(_LEAST)))
        self._shares = self.add("Reshape", shares, self.constant([1, config.rows]))
        self._rows = config.rows

    def _mixed(self, name: str, shape: list[int]) -> str:
        """A tensor with the rows as its first dimension, summed by their weights, in another shape."""
        table = as_fp32(self._tensors, name).reshape(self._rows, -1)
        return self.add(
            "Reshape", self.add("MatMul", self._shares, self.constant(table, name)), self.constant(shape)
        )

    def norm_parameters(
        self, name: str, weight: NDArray[Any], bias: NDArray[Any], shape: tuple[int, ...]
    ) -> tuple[str, str]:
        """See `GraphBuilder.norm_parameters`."""
        stem = self._names[name]
        if len(shape) > 1:  # with all four axes, or OpenVINO stores whole feature maps anew: 16 % of the time
            shape = (1, *shape)
        return self._mixed(f"{stem}.weight", list(shape)), self._mixed(f"{stem}.bias", list(shape))

    def colored(self, x: str, picture: str, pixels: Pixels) -> str:
        """The mixed color matrix and offset, and the content image's share."""
        x = self.add("Conv", x, self._mixed("color", [3, 3, 1, 1]), kernel_shape=[1, 1])
        x = self.add("Add", x, self._mixed("offset", [1, 3, 1, 1]))
        rest = self.add("Sub", self.number(1), self._share)
        if pixels == "uint8":
            rest = self.add("Div", rest, self.number(MAX_LEVEL))
        return self.add("Add", self.add("Mul", x, self._share), self.add("Mul", picture, rest))

    def model(self, metadata: Mapping[str, Any], pixels: Pixels) -> onnx.ModelProto:
        """See `GraphBuilder.model`."""
        weights = helper.make_tensor_value_info(WEIGHTS, TensorProto.FLOAT, [self._rows])
        picture, *results = self.ends
        return self.checked_model([picture, weights], results, metadata, pixels)

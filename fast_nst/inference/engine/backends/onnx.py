"""The folded network run by onnxruntime on the processor, in fp32. Torch is needed in the first run only."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fast_nst.inference.engine.backends.base import Source
from fast_nst.inference.engine.cache import load_or_make
from fast_nst.system.cpu import thread_limit

if TYPE_CHECKING:
    from torch import Tensor

    from fast_nst.inference.engine.graph import Pixels

__all__ = ["OnnxBackend"]

GRAPH = 1  # counts changes of the graph, so that what older versions kept is not taken


class OnnxBackend:
    """A style in onnxruntime."""

    name, device, precision, maps = "onnx", "cpu", "fp32", 11.5

    def __init__(self, source: Source) -> None:
        self._source = source
        self._session = cache(self._opened)  # most programs paint one kind of pixels
        self._session("uint8")

    def levels(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Backend.levels`."""
        return self._run("uint8", np.ascontiguousarray(pictures))

    def images(self, images: Tensor) -> Tensor:
        """See `Backend.images`."""
        import torch

        array = images.detach().to("cpu", torch.float32).contiguous().numpy()
        return torch.from_numpy(self._run("float", array)).to(images.device)

    def _run(self, pixels: Pixels, array: NDArray[Any]) -> NDArray[Any]:
        session = self._session(pixels)
        out: NDArray[Any] = session.run(None, {session.get_inputs()[0].name: array})[0]
        return out

    def _opened(self, pixels: Pixels) -> Any:
        def make() -> tuple[Any, bytes]:
            from fast_nst.inference.engine.graph import build_graph

            graph = build_graph(self._source.plan(), self._source.about, pixels=pixels)
            data: bytes = graph.SerializeToString()
            return load(data), data

        def load(data: bytes) -> Any:
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if (threads := thread_limit()) is not None:
            options.intra_op_num_threads = threads
        key = self._source.key and f"{self._source.key} {pixels} onnx graph {GRAPH}"
        return load_or_make(key, make, load)

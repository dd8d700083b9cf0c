"""The folded network run by onnxruntime on the processor, in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fast_nst.inference.engine.backends.base import Source
from fast_nst.inference.engine.backends.graph_backend import GRAPH, GraphBackend
from fast_nst.inference.engine.cache import load_or_make
from fast_nst.system.cpu import thread_limit
from fast_nst.system.onnxruntime import onnxruntime

if TYPE_CHECKING:
    from fast_nst.inference.engine.graph import Pixels

__all__ = ["OnnxBackend"]


class OnnxBackend(GraphBackend):
    """A trained network in onnxruntime."""

    name, title, precision, maps = "onnx", "onnxruntime", "fp32", 11.5

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._sessions: dict[Pixels, Any] = {}
        self._session("uint8")  # most programs run one kind of pixels

    def _run(self, pixels: Pixels, images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        session = self._session(pixels)
        inputs = [images] if self._source.mixture is None else [images, self._source.mixture.weights]
        names = (one.name for one in session.get_inputs())
        out, total = session.run(None, dict(zip(names, inputs, strict=True)))
        return out, total

    def _session(self, pixels: Pixels) -> Any:
        """Opened when first wanted."""
        if pixels not in self._sessions:
            self._sessions[pixels] = self._opened(pixels)
        return self._sessions[pixels]

    def _opened(self, pixels: Pixels) -> Any:
        def make() -> tuple[Any, bytes]:
            data = self._graph(pixels, "fused")
            return load(data), data

        def load(data: bytes) -> Any:
            return onnxruntime().InferenceSession(data, options, providers=["CPUExecutionProvider"])

        options = onnxruntime().SessionOptions()
        options.log_severity_level = 4  # errors are raised too
        if (threads := thread_limit()) is not None:
            options.intra_op_num_threads = threads
        key = self._source.key and f"{self._source.key} {pixels} onnx graph {GRAPH}"
        return load_or_make(key, make, load)

    def _after_fork(self) -> None:
        """Sessions work on, in the calling thread."""

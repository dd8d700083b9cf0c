"""What the engines that run the ONNX graph share: see `fast_nst.inference.engine.graph`."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fast_nst.inference.engine.backends.base import Backend, Source, not_finite
from fast_nst.system.forking import call_in_child

if TYPE_CHECKING:
    from torch import Tensor

    from fast_nst.inference.engine.graph import Norms, Pixels

__all__ = ["GRAPH", "GraphBackend"]

GRAPH = 4  # the version of the graph, in the cache's keys: entries of older versions are not loaded


class GraphBackend(Backend):
    """An engine that runs the ONNX graph on the processor. Torch is needed only where the cache is empty."""

    device, mixes_at_once = "cpu", True

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def remixed(self, source: Source) -> GraphBackend | None:
        """See `Backend.remixed`."""
        if source.mixture is None or self._source.mixture is None or source.key != self._source.key:
            return None
        other = copy.copy(self)
        other._source = source
        call_in_child(other._renew)
        return other

    def _run_uint8(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self._finite("uint8", np.ascontiguousarray(images))

    def _run_float(self, images: Tensor) -> Tensor:
        import torch

        array = images.detach().to("cpu", torch.float32).contiguous().numpy()
        return torch.from_numpy(self._finite("float", array)).to(images.device)

    def _finite(self, pixels: Pixels, images: NDArray[Any]) -> NDArray[Any]:
        out, total = self._run(pixels, images)
        if not np.isfinite(total).all():
            raise not_finite(self.precision)
        return out

    def _graph(self, pixels: Pixels, norms: Norms, *, int8: bool = False) -> bytes:
        from fast_nst.inference.engine.graph import build_graph

        if (mixture := self._source.mixture) is not None:
            many: bytes = mixture.graph(pixels=pixels, norms=norms, int8=int8).SerializeToString()
            return many
        graph = build_graph(
            self._source.plan(), self._source.metadata, pixels=pixels, norms=norms, total=True, int8=int8
        )
        data: bytes = graph.SerializeToString()
        return data

    @abstractmethod
    def _run(self, pixels: Pixels, images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The images and their totals, see `build_graph`."""

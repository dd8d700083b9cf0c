"""The folded network run by OpenVINO on the processor. From the second run on torch is not needed for it.

What OpenVINO has compiled is kept on disk, under the digest of the style's file and everything else it
depends on; read from there it is ready to run in a third of the time.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from numpy.typing import NDArray

from fast_nst.inference.engine.backends.base import EngineError, Source
from fast_nst.inference.engine.cache import load_or_make
from fast_nst.system.cpu import cpu_fingerprint, cpu_has_matrix_units, thread_limit

if TYPE_CHECKING:
    from torch import Tensor

    from fast_nst.inference.engine.graph import Norms, Pixels

__all__ = ["OpenVinoBackend"]

GRAPH = 1  # counts changes of the graph, so that what older versions kept is not taken
LARGE = 1 << 20  # pixels; in larger pictures norms are computed apart in bf16 too, see `graph`
_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """A style in OpenVINO.

    Args:
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where there are matrix units for it. Left to itself
            OpenVINO would take bf16 unasked.

    Raises:
        EngineError: it cannot be run in that precision here.
    """

    name, device = "openvino", "cpu"

    def __init__(self, source: Source, precision: str) -> None:
        self._source = source
        wanted = ("bf16" if cpu_has_matrix_units() else "fp32") if precision == "auto" else precision
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[wanted],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if (threads := thread_limit()) is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._requests: dict[tuple[Pixels, Norms], Any] = {}
        self._latest: Any = None  # of them
        self.precision = wanted
        # Not every processor has what was asked for; OpenVINO then takes fp32.
        hint = self._request("uint8", 0).get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
        self.precision = wanted if hint.get_type_name() == _HINTS[wanted] else "fp32"
        self.maps = 3.9 if self.precision == "fp32" else 2.0

    def levels(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Backend.levels`."""
        return self._run("uint8", np.ascontiguousarray(pictures))

    def images(self, images: Tensor) -> Tensor:
        """See `Backend.images`."""
        import torch

        array = images.detach().to("cpu", torch.float32).contiguous().numpy()
        return torch.from_numpy(self._run("float", array)).to(images.device)

    def _run(self, pixels: Pixels, array: NDArray[Any]) -> NDArray[Any]:
        height, width = array.shape[1:3] if pixels == "uint8" else array.shape[2:]
        out: NDArray[Any] = self._request(pixels, height * width).infer([array], share_inputs=True)[0]
        return out

    def _request(self, pixels: Pixels, size: int) -> Any:
        """For pictures of so many pixels; compiled when first wanted."""
        norms: Norms = "apart" if self.precision == "fp32" or size > LARGE else "fused"
        if (pixels, norms) not in self._requests:
            self._requests[pixels, norms] = self._compiled(pixels, norms).create_infer_request()
        request = self._requests[pixels, norms]
        if self._latest is not None and self._latest is not request:
            self._latest.get_compiled_model().release_memory()
        self._latest = request
        return request

    def _compiled(self, pixels: Pixels, norms: Norms) -> Any:
        settings = " ".join(f"{name}={value}" for name, value in self._settings.items())
        versions = f"graph {GRAPH} openvino {openvino.__version__} {cpu_fingerprint()}"
        key = self._source.key and f"{self._source.key} {pixels} {norms} {versions} {settings}"

        def make() -> tuple[Any, bytes]:
            from fast_nst.inference.engine.graph import build_graph

            graph = build_graph(self._source.plan(), self._source.about, pixels=pixels, norms=norms)
            model = _core().read_model(graph.SerializeToString())
            try:
                compiled = _core().compile_model(model, "CPU", self._settings)
            except RuntimeError as error:  # such as bf16 where instructions are limited by the environment
                hint = self._settings["INFERENCE_PRECISION_HINT"]
                reason = str(error).strip().splitlines()[-1].split(". ")[0]
                raise EngineError(f"OpenVINO cannot run this in {hint} on this processor: {reason}") from None
            return compiled, compiled.export_model().getvalue()

        def load(data: bytes) -> Any:
            return _core().import_model(data, "CPU", self._settings)

        return load_or_make(key, make, load)


@cache
def _core() -> Any:
    return openvino.Core()

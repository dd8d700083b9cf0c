"""The folded network run by OpenVINO on the processor.

Compiled models are cached on disk, under the digest of the network's file and everything else they depend
on; loaded from there they are ready to run in a third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fast_nst.inference.engine.backends.base import EngineError, Source
from fast_nst.inference.engine.backends.graph_backend import GRAPH, GraphBackend
from fast_nst.inference.engine.cache import load_or_make
from fast_nst.system.cpu import cpu_fingerprint, cpu_multiplies_int8, thread_limit
from fast_nst.system.openvino import openvino

if TYPE_CHECKING:
    from fast_nst.inference.engine.graph import Norms, Pixels

__all__ = ["OpenVinoBackend"]

LARGE = 1 << 20  # pixels; in larger images norms are computed apart in bf16 too, see `graph`
UNWRITTEN = np.finfo(np.float32).min  # what the totals hold before a run, and no sum of pixels is
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_of_parents: list[Any] = []  # requests made before a fork: deleted in the child, they would wait for threads


@dataclass
class _Requests:
    """The compiled models' requests, shared by the mixtures of one network."""

    made: dict[tuple[Pixels, Norms], Any] = field(default_factory=dict)
    latest: Any = None
    """of them"""


class OpenVinoBackend(GraphBackend):
    """A trained network in OpenVINO.

    Args:
        precision: ``fp32`` or ``bf16``, or ``int8``: the residual blocks' convolutions in 8-bit integers, the
            rest in fp32. Left to itself OpenVINO would take bf16 on more processors.

    Raises:
        EngineError: it cannot run in that precision here.
    """

    name, title = "openvino", "OpenVINO"

    def __init__(self, source: Source, precision: str) -> None:
        super().__init__(source)
        if precision == "int8":
            _check_int8(source)
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if (threads := thread_limit()) is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._requests = _Requests()
        self.precision = precision
        # Not every processor has what was asked for; OpenVINO then takes fp32.
        hint = self._request("uint8", 0).get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
        self.precision = precision if hint.get_type_name() == _HINTS[precision] else "fp32"
        self.maps = 2.0 if self.precision == "bf16" else 3.9

    def _run(self, pixels: Pixels, images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        height, width = images.shape[1:3] if pixels == "uint8" else images.shape[2:]
        request = self._request(pixels, height * width)
        # Memory of ours for the results, new for each run: a run that failed leaves what was there before.
        out, total = np.empty_like(images), np.full(len(images), UNWRITTEN, np.float32)
        images = np.require(images, requirements="W")  # OpenVINO refuses memory that is read-only
        request.set_input_tensor(0, openvino().Tensor(images, shared_memory=True))
        if self._source.mixture is not None:
            request.set_input_tensor(1, openvino().Tensor(self._source.mixture.weights, shared_memory=True))
        for index, result in enumerate((out, total)):
            request.set_output_tensor(index, openvino().Tensor(result, shared_memory=True))
        try:
            request.start_async()  # infer() returns from some failures, such as no memory, as if it had run
            request.wait()
        except BaseException:  # such as Ctrl-C between the two: it still writes to memory of ours
            _wait_for_the_end(request)
            raise
        if (total == UNWRITTEN).any():
            raise MemoryError("OpenVINO wrote no result, and no reason why")
        return out, total

    def _request(self, pixels: Pixels, size: int) -> Any:
        """For images of so many pixels; compiled when first wanted."""
        norms: Norms = "apart" if self.precision != "bf16" or size > LARGE else "fused"
        requests = self._requests
        if (pixels, norms) not in requests.made:
            requests.made[pixels, norms] = self._compiled(pixels, norms).create_infer_request()
        request = requests.made[pixels, norms]
        if requests.latest is not None and requests.latest is not request:
            requests.latest.get_compiled_model().release_memory()
        requests.latest = request
        return request

    def _compiled(self, pixels: Pixels, norms: Norms) -> Any:
        int8 = self.precision == "int8"
        words = [f"graph {GRAPH} openvino {openvino().__version__} {cpu_fingerprint()}"]
        words += [f"{name}={value}" for name, value in self._settings.items()] + ["int8"] * int8
        key = self._source.key and " ".join([self._source.key, pixels, norms, *words])

        def make() -> tuple[Any, bytes]:
            model = _core().read_model(self._graph(pixels, norms, int8=int8))
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

    def _after_fork(self) -> None:
        """Requests wait for threads of the parent; new ones, of a model that is loaded again, do not."""
        _of_parents.append(self._requests)
        self._requests = _Requests()


def _check_int8(source: Source) -> None:
    """Refuse what would be wrong in silence."""
    if not source.normed:
        raise EngineError("int8 needs a network of styles whose residual blocks have instance norms")
    if not cpu_multiplies_int8():
        raise EngineError("int8 needs a processor with VNNI; on this one sums would overflow")


def _wait_for_the_end(request: Any) -> None:
    while True:
        try:
            request.wait()
        except KeyboardInterrupt:
            continue
        except Exception:  # why it failed is what is being raised already
            pass
        return


@cache
def _core() -> Any:
    return openvino().Core()

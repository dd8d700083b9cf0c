"""The interface of an engine: images in, stylized or upscaled images out, checked and safe for threads."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fast_nst.errors import InputError, first_line
from fast_nst.inference.engine.plan import Plan
from fast_nst.system.forking import call_in_child
from fast_nst.system.memory import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Backend", "EngineError", "MixtureSource", "Source", "not_finite"]


class EngineError(InputError):
    """An engine that is installed and cannot run the network on this machine."""


def not_finite(precision: str) -> InputError:
    """The error for a result that holds NaN or infinity, which no pixel can show."""
    if precision == "fp32":
        return InputError(
            "the result is not finite (NaN or infinity): the weights or the input are damaged, "
            "or too large for --precision fp32"
        )
    return InputError(f"the result is not finite (NaN or infinity) in {precision}; give --precision fp32")


@dataclass(frozen=True)
class Source:
    """A trained network, as an engine gets it.

    Attributes:
        metadata: the metadata of its file.
        plan: makes its plan; called only where the cache has no compiled model.
        key: of its bytes, for the cache; None if they come from no file.
        mixture: of a network of many styles, how they are mixed.
        normed: whether an instance norm follows every convolution of its residual blocks, as int8 needs.
    """

    metadata: Mapping[str, Any]
    plan: Callable[[], Plan]
    key: str | None = None
    mixture: MixtureSource | None = None
    normed: bool = False


@dataclass(frozen=True, eq=False)
class MixtureSource:
    """A mixture of a network's styles, for engines that take it as an input.

    Attributes:
        weights: ``(R,)`` fp32, of the rows; what is missing to 1 is the content image's share.
        graph: makes the ONNX graph of all styles, see `build_gallery_graph`; takes pixels and norms.
    """

    weights: NDArray[np.float32]
    graph: Callable[..., Any]


class Backend(ABC):
    """A trained network on an engine.

    Safe for threads: calls take turns, since one call uses every core and holds the memory of one image.
    Safe after a fork.

    Attributes:
        name: of the engine, as ``--backend`` has it.
        device: it runs on, as ``--device`` has it.
        precision: it computes in: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        maps: what it holds at once, in fp32 maps as wide as the first convolution's at the image's full
            size, as `benchmarks/peak.py` measures it on images of 1 to 9 megapixels, and a tenth more.
        factor: the result's height and width over the image's.
    """

    name: str
    device: str
    precision: str
    maps: float
    factor: int = 1
    mixes_at_once: ClassVar[bool] = False
    """whether `remixed` works"""
    title: ClassVar[str]
    """the engine's own name, for messages"""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        call_in_child(self._renew)

    def run_uint8(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stylize or upscale.

        Args:
            images: ``(B, H, W, 3)`` RGB, any H and W from 1; left as they are.

        Returns:
            A new array, ``(B, H * factor, W * factor, 3)``, clipped and rounded.

        Raises:
            InputError: the result holds NaN or infinity.
            MemoryError: the engine ran out of memory, on any device.
        """
        b, h, w, c = images.shape
        with self._turn():
            out = self._run_uint8(images)
        self._check_shape(out.shape, (b, h * self.factor, w * self.factor, c))
        return out

    def run_float(self, images: Tensor) -> Tensor:
        """Stylize or upscale.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1], of any float type, on any device.

        Returns:
            ``(B, 3, H * factor, W * factor)``, fp32, clipped to [0, 1], on the same device.

        Raises:
            InputError: the result holds NaN or infinity.
            MemoryError: the engine ran out of memory, on any device.
        """
        b, c, h, w = images.shape
        with self._turn():
            out = self._run_float(images)
        self._check_shape(tuple(out.shape), (b, c, h * self.factor, w * self.factor))
        return out

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for other threads' calls; every engine's out-of-memory error becomes a MemoryError."""
        with self._lock:
            try:
                yield
            except MemoryError:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise MemoryError(f"{self.title}: {first_line(error)}") from error
                raise

    def remixed(self, source: Source) -> Backend | None:
        """The same engine with another mixture of its network's styles; None if it has to be opened anew.

        Calls of both take turns.
        """
        return None

    def _check_shape(self, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if found != expected:
            raise RuntimeError(f"{self.title} returned shape {found} instead of {expected}")

    def _renew(self) -> None:
        """In a forked child: whoever held the lock is not there, nor are the engine's threads."""
        self._lock = threading.RLock()
        self._after_fork()

    @abstractmethod
    def _after_fork(self) -> None:
        """Replace what does not work in a forked child."""

    @abstractmethod
    def _run_uint8(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `run_uint8`; called by one thread at a time."""

    @abstractmethod
    def _run_float(self, images: Tensor) -> Tensor:
        """See `run_float`; called by one thread at a time."""

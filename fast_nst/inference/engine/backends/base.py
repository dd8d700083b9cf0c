"""What every engine can do, and what it gets to do it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fast_nst.errors import InputError
from fast_nst.inference.engine.folding import Plan

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Backend", "EngineError", "Source"]


class EngineError(InputError):
    """An engine that is installed and cannot run the network on this processor."""


@dataclass(frozen=True)
class Source:
    """A style, as an engine gets it.

    Attributes:
        about: the metadata of its file.
        plan: makes its plan; called only where nothing ready to run is kept from an earlier run.
        key: of its bytes, to keep things under; None if they come from no file.
    """

    about: Mapping[str, Any]
    plan: Callable[[], Plan]
    key: str | None = None


class Backend(Protocol):
    """A style on an engine.

    Attributes:
        name: of the engine, as ``--backend`` has it.
        device: it runs on, as ``--device`` has it.
        precision: it computes in: ``fp32``, ``bf16`` or ``fp16``.
    """

    name: str
    device: str
    precision: str

    @property
    def maps(self) -> float:
        """What it holds at once, in fp32 maps as wide as the first convolution's at the picture's full size.

        As `benchmarks/peak.py` measures it on pictures of 1 to 9 megapixels, and a tenth more.
        """

    def levels(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Paint ``(B, H, W, 3)`` RGB levels, any H and W: the same shape, clipped and rounded.

        Raises:
            InputError: the arithmetic overflowed, as fp16 can.
        """

    def images(self, images: Tensor) -> Tensor:
        """Paint ``(B, 3, H, W)`` floats in [0, 1]: the same shape in fp32, clipped, on the same device."""

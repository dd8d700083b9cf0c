"""What both of the engine's fronts do: pictures at once where they fit, else one by one, else in parts."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fast_nst.errors import InputError
from fast_nst.inference.engine.backends.base import Backend
from fast_nst.io.images import Picture
from fast_nst.system.memory import free_memory, is_out_of_memory, resident_memory

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Predictor", "ignore"]

_log = logging.getLogger("fast_nst")

SHARE = 0.75  # of the memory that is free; the rest is for what else the machine does meanwhile


def ignore(share: float) -> None:
    """Nobody wants to know how far a picture is."""


class Predictor(ABC):
    """A trained network on an engine, within a limit of memory.

    Attributes:
        backend: the engine.
        memory: bytes that `pictures` keeps the whole process under; None: three quarters of what is free.
    """

    in_parts: ClassVar[str]
    """what is done with a picture that does not fit, for a person"""
    backend: Backend
    memory: int | None
    _held: int = 0
    """bytes that the engine has kept of the last pictures, to be used again for the next ones"""

    def __str__(self) -> str:
        """Where and how it computes, in three words."""
        return f"{self.backend.device} {self.backend.precision} {self.backend.name}"

    def __call__(self, images: Tensor) -> Tensor:
        """Stylize or enlarge.

        Args:
            images: ``(3, H, W)`` or ``(B, 3, H, W)``, RGB, [0, 1], any H and W from 1 upwards.

        Returns:
            As many images, fp32 in [0, 1], on the device they came from: of the same shape, or of the
            network's factor times the height and width, their histogram not matched.

        Raises:
            InputError: another shape, or integers.
        """
        if images.ndim not in (3, 4) or images.shape[-3] != 3 or images.numel() == 0:
            raise InputError(f"expected (3, H, W) or (B, 3, H, W) images, got shape {tuple(images.shape)}")
        if not images.is_floating_point():
            raise InputError(f"expected float images in [0, 1], got {images.dtype}; from_uint8 converts")
        if images.ndim == 3:
            return self.backend.images(images.unsqueeze(0))[0]
        return self.backend.images(images)

    def pictures(
        self, pictures: Sequence[Picture], *, progress: Callable[[float], None] = ignore
    ) -> list[Picture]:
        """Stylize or enlarge pictures of equal size; alpha is carried over, or enlarged with them.

        In one batch where that fits into the memory, or else one by one; a picture that does not fit even so
        in strips or tiles, with the same result.

        Args:
            progress: told the share of a picture that is done, from 0 to 1, while it is done in parts.

        Raises:
            InputError: the arithmetic overflowed, as fp16 can; or there is no room for parts either.
        """
        height, width, count = pictures[0].height, pictures[0].width, len(pictures)
        free = self._free_memory(height, width, count)
        fits = free is None or self._needed(height, width, count) <= free + self._held
        if fits:
            try:
                made = self._levels(np.stack([picture.rgb for picture in pictures]))
                return [self._finished(one, rgb) for one, rgb in zip(pictures, made, strict=True)]
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
        if count > 1:
            return [made for one in pictures for made in self.pictures([one], progress=progress)]
        if fits:
            _log.warning("%d x %d pixels: out of memory; %s", width, height, self.in_parts)
        return [self._in_parts(pictures[0], progress)]

    def _levels(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        before, self._held = resident_memory() - self._held, 0
        made = self.backend.levels(pictures)
        self._held = max(0, resident_memory() - before - made.nbytes)
        return made

    def _free_memory(self, height: int, width: int, count: int) -> int | None:
        """Bytes that computing may take besides the results; None if there is no limit to be known."""
        results = self._result_bytes(height, width) * count
        if self.memory is not None:
            return self.memory - resident_memory() - results
        if self.backend.device != "cpu":
            return None  # it says so when it is full
        return int(SHARE * free) - results if (free := free_memory()) else None

    @abstractmethod
    def _needed(self, height: int, width: int, count: int) -> int:
        """About the bytes that so many whole pictures take besides the results."""

    @abstractmethod
    def _result_bytes(self, height: int, width: int) -> int:
        """Bytes of what becomes of one picture."""

    @abstractmethod
    def _finished(self, picture: Picture, made: NDArray[np.uint8]) -> Picture:
        """The result from the levels that the engine made of a picture."""

    @abstractmethod
    def _in_parts(self, picture: Picture, progress: Callable[[float], None]) -> Picture:
        """One picture in little memory."""

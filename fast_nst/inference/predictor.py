"""What `Stylizer` and `Upscaler` share: images of several kinds, in one piece or in parts."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from fast_nst.errors import InputError
from fast_nst.inference import flat_pictures
from fast_nst.inference.engine.backends.base import Backend
from fast_nst.inference.engine.backends.choice import advise_faster
from fast_nst.io.conversion import in_kind_of, to_picture
from fast_nst.io.images import Picture
from fast_nst.system.forking import call_in_child
from fast_nst.system.memory import free_memory, is_out_of_memory, resident_memory

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Predictor", "no_progress"]

_log = logging.getLogger("fast_nst")

SLOW = 1.0  # seconds for a picture, from which on a faster engine is worth a message
SHARE = 0.75  # of the memory that is free; the rest is for what else the machine does meanwhile
# Floats may overshoot [0, 1], as resizing does; beyond this they are in another range.
OVERSHOOT = 0.5

T = TypeVar("T")


def no_progress(share: float) -> None:
    """The progress callback that does nothing."""


class Predictor(ABC):
    """A trained network on an engine, within a limit of memory.

    Safe for threads: calls take turns, since one call uses every core, and the limit is for all of them.
    After a fork it works in the child too, with PyTorch in one thread there and without a GPU.

    Args:
        backend: the engine.
        memory: bytes that `pictures` limits the whole process to; None: three quarters of what is free.
        stylizes: run flat pictures beside a reference, see `flat_pictures`.
        may_advise: say so where the network is slow and another engine would be faster.
    """

    in_parts: ClassVar[str]
    """what is done with a picture that does not fit, for messages"""

    def __init__(
        self, backend: Backend, memory: int | None, *, stylizes: bool = False, may_advise: bool = False
    ) -> None:
        self.backend, self.memory = backend, memory
        self._stylizes, self._may_advise = stylizes, may_advise
        self._retained = 0
        """bytes that the engine holds from the last pictures, and uses again for the next ones"""
        self._renew()
        call_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()  # of this process; one may be held by a thread of the parent

    def __str__(self) -> str:
        """Device, precision and engine."""
        return f"{self.backend.device} {self.backend.precision} {self.backend.name}"

    @property
    def device(self) -> str:
        """Where the engine runs, as ``--device`` has it."""
        return self.backend.device

    @property
    def precision(self) -> str:
        """What the engine computes in: ``fp32``, ``bf16`` or ``fp16``."""
        return self.backend.precision

    @overload
    def __call__(self, image: Tensor) -> Tensor: ...
    @overload
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
    @overload
    def __call__(self, image: Picture) -> Picture: ...
    @overload
    def __call__(self, image: str | PathLike[str]) -> Any: ...
    @overload
    def __call__(self, image: T) -> T: ...

    def __call__(self, image: Any) -> Any:
        """Stylize or upscale an image of any size; the result comes in the same kind.

        Args:
            image: a Pillow image, an ``(H, W, 3)`` RGB uint8 array, a `Picture`, or the path of a file: see
                `pictures`. Or a float tensor, ``(3, H, W)`` or ``(B, 3, H, W)``: see `run_float`.

        Returns:
            A Pillow image (also for a path), array, `Picture` or tensor.

        Raises:
            InputError: another kind, shape or range.
            ImageReadError: a file that cannot be read.
        """
        if _is_tensor(image):
            return self.run_float(image)
        (result,) = self.pictures([to_picture(image)])
        return in_kind_of(image, result)

    def run_uint8(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stylize or upscale a batch of equal size in one piece, without a look at the memory.

        Args:
            images: ``(B, H, W, 3)`` uint8 RGB, any H and W from 1.

        Returns:
            As many new images, of the same size or upscaled by the factor; a histogram is not matched.

        Raises:
            InputError: another shape or dtype; the result holds NaN or infinity.
            MemoryError: they do not fit.
        """
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or images.size == 0:
            raise InputError(
                f"expected (B, H, W, 3) uint8 images, got {images.dtype} of shape {images.shape}"
            )
        run = self.backend.run_uint8
        return flat_pictures.run_uint8(run, images) if self._stylizes else run(images)

    def run_float(self, images: Tensor) -> Tensor:
        """Stylize or upscale tensors in one piece.

        Args:
            images: ``(3, H, W)`` or ``(B, 3, H, W)``, RGB, [0, 1], any H and W from 1.

        Returns:
            As many images, fp32 in [0, 1], on the device they came from: of the same size or upscaled by the
            factor; a histogram is not matched.

        Raises:
            InputError: another shape, integers, values far outside [0, 1]; NaN or infinity, in the images or
                in the result.
            MemoryError: they do not fit.
        """
        if images.ndim not in (3, 4) or images.shape[-3] != 3 or images.numel() == 0:
            raise InputError(f"expected (3, H, W) or (B, 3, H, W) images, got shape {tuple(images.shape)}")
        if not images.is_floating_point():
            raise InputError(f"expected float images in [0, 1], got {images.dtype}; from_uint8 converts")
        low, high = (float(bound) for bound in images.detach().aminmax())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError("the image is not finite: it holds NaN or infinity")
        if low < -OVERSHOOT or high > 1 + OVERSHOOT:
            raise InputError(
                f"expected float images in [0, 1], got values from {low:g} to {high:g}; "
                "scale them, or convert uint8 with from_uint8"
            )
        batch = images.unsqueeze(0) if images.ndim == 3 else images
        run = self.backend.run_float
        made = flat_pictures.run_float(run, batch) if self._stylizes else run(batch)
        return made[0] if images.ndim == 3 else made

    def pictures(
        self, pictures: Sequence[Picture], *, progress: Callable[[float], None] = no_progress
    ) -> list[Picture]:
        """Stylize or upscale pictures of equal size; alpha is copied, or upsampled with them.

        In one batch where that fits into the memory, or else one by one; a picture that does not fit even so
        in row bands or tiles, with the same result.

        Args:
            progress: called with the share of a picture that is done, from 0 to 1, while it is done in parts.

        Raises:
            InputError: the result holds NaN or infinity, as fp16 can overflow; or the parts do
                not fit either.
        """
        with self._lock:
            return self._pictures(pictures, progress)

    def _pictures(self, pictures: Sequence[Picture], progress: Callable[[float], None]) -> list[Picture]:
        height, width, count = pictures[0].height, pictures[0].width, len(pictures)
        free = self._free_memory(height, width, count)
        fits = free is None or self._needed(height, width, count) <= free + self._retained
        if fits:
            try:
                made = self._run(np.stack([picture.rgb for picture in pictures]))
                return [self._finished(one, rgb) for one, rgb in zip(pictures, made, strict=True)]
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
        if count > 1:
            return [made for one in pictures for made in self._pictures([one], progress)]
        if fits:
            _log.warning("%d x %d pixels: out of memory; %s", width, height, self.in_parts)
        return [self._in_parts(pictures[0], progress)]

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        before, self._retained = resident_memory() - self._retained, 0
        started = time.perf_counter()
        made = self.run_uint8(images)
        if self._may_advise and time.perf_counter() - started > SLOW * len(images):
            self._may_advise = False
            advise_faster(self.backend.name, self.device, self.precision)
        self._retained = max(0, resident_memory() - before - made.nbytes)
        return made

    def _free_memory(self, height: int, width: int, count: int) -> int | None:
        """Bytes that computing may take besides the results; None if no limit is known."""
        results = self._result_bytes(height, width) * count
        if self.memory is not None:
            return self.memory - resident_memory() - results
        if self.backend.device != "cpu":
            return None  # it raises an error when it is full
        return int(SHARE * free) - results if (free := free_memory()) else None

    @abstractmethod
    def _needed(self, height: int, width: int, count: int) -> int:
        """About the bytes that so many whole pictures take besides the results."""

    @abstractmethod
    def _result_bytes(self, height: int, width: int) -> int:
        """Bytes of the result of one picture."""

    @abstractmethod
    def _finished(self, picture: Picture, made: NDArray[np.uint8]) -> Picture:
        """The result of a picture from its pixels, ``(H, W, 3)``."""

    @abstractmethod
    def _in_parts(self, picture: Picture, progress: Callable[[float], None]) -> Picture:
        """One picture in little memory."""


def _is_tensor(value: object) -> bool:
    """By name: torch need not be imported to know that something is none of its own."""
    return any(kind.__module__.split(".")[0] == "torch" for kind in type(value).__mro__)

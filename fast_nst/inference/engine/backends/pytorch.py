"""The folded network run by PyTorch: on every device it supports, eagerly or compiled."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.config import UpscaleNetConfig
from fast_nst.inference.engine.backends.base import Backend, EngineError, Source, not_finite
from fast_nst.inference.engine.folded_net import DTYPES, FoldedNet, is_finite
from fast_nst.inference.tiled.feature_store import FeatureStore
from fast_nst.inference.tiled.memory_budget import BandPlan, plan_bands
from fast_nst.inference.tiled.row_bands import stylize_in_bands
from fast_nst.inference.tiled.streaming import stream
from fast_nst.io.images import MAX_LEVEL
from fast_nst.system.compiling import Compiled
from fast_nst.system.device import choose_device, choose_precision

__all__ = ["TorchBackend"]

_log = logging.getLogger("fast_nst")


class TorchBackend(Backend):
    """A trained network in PyTorch.

    In a process forked from one that has this engine, torch runs in one thread: the threads that it would
    wait for are the parent's. There is no GPU in such a process; it fails at once.

    Args:
        compiled: by torch.compile, which takes up to a minute for the first image; should it fail, the
            network runs without, after a warning.

    Raises:
        InputError: a device this machine lacks.
    """

    title = "PyTorch"

    def __init__(self, source: Source, device: str, precision: str, *, compiled: bool = False) -> None:
        self._device = choose_device(device)
        self.device = self._device.type if self._device.index is None else str(self._device)
        self.precision = choose_precision(precision, self._device)
        self._eager = FoldedNet(source.plan(), DTYPES[self.precision]).to(self._device)
        self._config, self._last = self._eager.plan.config, (0, 0)
        self.factor = self._eager.plan.factor
        self._spare: dict[int, list[Tensor]] = {}
        self._network = Compiled(self._eager, on=compiled, dynamic=None)
        self._is_forked = False
        super().__init__()

    @property
    def kept_bytes(self) -> int:
        """Memory of the last pictures that is kept for the next ones of their size."""
        return sum(size * len(blocks) for size, blocks in self._spare.items())

    @property
    def name(self) -> str:  # type: ignore[override]
        """``compile``, or ``torch`` where it is not, or no longer, compiled."""
        return "compile" if self._network.on else "torch"

    @property
    def maps(self) -> float:  # type: ignore[override]
        """See `Backend`; where it does not run in row bands, an estimate."""
        return 8 if not self._in_bands else 2.4 if self.precision == "fp32" else 1.2

    def run_in_bands(
        self, rgb: NDArray[np.uint8], planned: BandPlan, progress: Callable[[float], None]
    ) -> NDArray[np.uint8]:
        """Stylize one ``(H, W, 3)`` image in the memory of a plan; as `run_uint8`, with its result.

        Args:
            progress: called with the share that is done, from 0 to 1.
        """
        with self._turn():
            self._check_process()
            return stylize_in_bands(self._eager, rgb, planned, progress=progress)

    @torch.no_grad()  # and not inference_mode, whose tensors nobody may change in place
    def _run_float(self, images: Tensor) -> Tensor:
        self._check_process()
        here = images.detach().to(self._device, torch.float32)
        out = torch.cat([self._streamed(one) for one in here]) if self._in_bands else self._network(here)
        if not is_finite(out):
            raise not_finite(self.precision)
        return out.clamp_(0, 1).contiguous().to(images.device)

    @torch.no_grad()
    def _run_uint8(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """To the device and back as bytes, a quarter of the floats."""
        self._check_process()
        if self._in_bands:
            planned, spare = self._planned(images.shape[1], images.shape[2])
            return np.stack([stylize_in_bands(self._eager, one, planned, spare=spare) for one in images])
        levels = torch.from_numpy(np.array(images, order="C")).to(self._device)
        out = self._network(levels.permute(0, 3, 1, 2).float().div_(MAX_LEVEL))
        if not is_finite(out):
            raise not_finite(self.precision)
        rounded = out.clamp_(0, 1).mul_(MAX_LEVEL).round_().byte().permute(0, 2, 3, 1)
        array: NDArray[np.uint8] = rounded.contiguous().cpu().numpy()
        return array

    @property
    def _in_bands(self) -> bool:
        """On processors, whose caches hold row bands."""
        return (
            self._device.type == "cpu"
            and not self._network.on
            and not isinstance(self._config, UpscaleNetConfig)
        )

    def _streamed(self, image: Tensor) -> Tensor:
        size = image.shape[1], image.shape[2]
        planned, spare = self._planned(*size)
        with FeatureStore(planned.maps, spare) as store:
            rows = planned.rows
            return torch.cat(
                list(stream(self._eager, lambda top, end: image[:, top:end], size, rows=rows, store=store)), 2
            )

    def _planned(self, height: int, width: int) -> tuple[BandPlan, dict[int, list[Tensor]]]:
        """The row bands of an image, and the memory that the last one of its size has left."""
        assert not isinstance(self._config, UpscaleNetConfig)
        if (height, width) != self._last:
            self._last, self._spare = (height, width), {}
        return plan_bands(self._config, height, width, None), self._spare

    def _check_process(self) -> None:
        if self._is_forked and self._device.type != "cpu":
            raise EngineError(
                f"{self.device} cannot be used in a forked process; start processes with multiprocessing's "
                "'spawn' method, or give --device cpu"
            )

    def _after_fork(self) -> None:
        """OpenMP waits for threads that only the parent has, in compiled code as in torch's own."""
        self._is_forked = True
        torch.set_num_threads(1)
        self._network.turn_off()

"""The folded network run by PyTorch: on every device it knows, eagerly or compiled."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError, first_line
from fast_nst.inference.engine.backends.base import Source
from fast_nst.inference.engine.folded_net import DTYPES, FoldedNet
from fast_nst.inference.tiled.feature_store import FeatureStore
from fast_nst.inference.tiled.memory_budget import BandPlan, plan_bands
from fast_nst.inference.tiled.row_bands import stylize_in_bands
from fast_nst.inference.tiled.streaming import stream
from fast_nst.io.images import MAX_LEVEL
from fast_nst.system.device import choose_device, choose_precision

__all__ = ["TorchBackend"]

_log = logging.getLogger(__name__)


class TorchBackend:
    """A style in PyTorch.

    Args:
        compiled: by torch.compile, which takes up to a minute for the first picture; should it fail, the
            network runs without, after a warning.

    Raises:
        InputError: a device this machine lacks.
    """

    def __init__(self, source: Source, device: str, precision: str, *, compiled: bool = False) -> None:
        self._device = choose_device(device)
        self.device = self._device.type if self._device.index is None else str(self._device)
        self.precision = choose_precision(precision, self._device, training=False)
        self.name = "compile" if compiled else "torch"
        self._eager = FoldedNet(source.plan(), DTYPES[self.precision]).to(self._device)
        self._config, self._last = self._eager.plan.config, (0, 0)
        self._spare: dict[int, list[Tensor]] = {}
        self._network: Any = torch.compile(self._eager) if compiled else self._eager

    @torch.no_grad()  # and not inference_mode, whose tensors nobody may change in place
    def images(self, images: Tensor) -> Tensor:
        """See `Backend.images`."""
        here = images.detach().to(self._device, torch.float32)
        painted = torch.cat([self._walked(one) for one in here]) if self._walks else self._paint(here)
        return painted.clamp_(0, 1).contiguous().to(images.device)

    @torch.no_grad()
    def levels(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Backend.levels`. Levels go to the device and back as bytes, a quarter of the floats."""
        if self._walks:
            planned, spare = self._planned(pictures.shape[1], pictures.shape[2])
            return np.stack([stylize_in_bands(self._eager, one, planned, spare=spare) for one in pictures])
        levels = torch.from_numpy(np.array(pictures, order="C")).to(self._device)
        painted = self._paint(levels.permute(0, 3, 1, 2).float().div_(MAX_LEVEL))
        if painted.isnan().any():
            raise InputError(f"the result is not a number in {self.precision}; give --precision fp32")
        out = painted.clamp_(0, 1).mul_(MAX_LEVEL).round_().byte().permute(0, 2, 3, 1)
        array: NDArray[np.uint8] = out.contiguous().cpu().numpy()
        return array

    @property
    def maps(self) -> float:
        """See `Backend`; where it does not walk, an estimate."""
        return 8 if not self._walks else 2.4 if self.precision == "fp32" else 1.2

    @property
    def _walks(self) -> bool:
        """In strips, which stay in a processor's caches."""
        return self._device.type == "cpu" and self.name == "torch" and isinstance(self._config, NetworkConfig)

    def _walked(self, image: Tensor) -> Tensor:
        size = image.shape[1], image.shape[2]
        planned, spare = self._planned(*size)
        with FeatureStore(planned.maps, spare) as store:
            rows = planned.rows
            return torch.cat(
                list(stream(self._eager, lambda top, end: image[:, top:end], size, rows=rows, store=store)), 2
            )

    def _planned(self, height: int, width: int) -> tuple[BandPlan, dict[int, list[Tensor]]]:
        """How a picture is walked, and the memory that one of its size has left."""
        assert isinstance(self._config, NetworkConfig)
        if (height, width) != self._last:
            self._last, self._spare = (height, width), {}
        return plan_bands(self._config, height, width, None), self._spare

    def _paint(self, images: Tensor) -> Tensor:
        try:
            out: Tensor = self._network(images)
        except torch._dynamo.exc.TorchDynamoException as error:  # no working compiler, headers or Triton
            _log.warning("torch.compile failed, going on without it: %s", first_line(error))
            self.name, self._network = "torch", self._eager
            out = self._eager(images)
        return out

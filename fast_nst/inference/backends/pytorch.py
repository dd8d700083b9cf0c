"""The folded network run by PyTorch: on every device it knows, eagerly or compiled."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.device import choose_device, choose_precision
from fast_nst.errors import InputError, first_line
from fast_nst.images import MAX_LEVEL
from fast_nst.inference.backends.base import Source
from fast_nst.inference.folded_net import FoldedNet

__all__ = ["TorchBackend"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
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
        self._eager = FoldedNet(source.plan(), _DTYPES[self.precision]).to(self._device)
        self._network: Any = torch.compile(self._eager) if compiled else self._eager

    @torch.no_grad()  # and not inference_mode, whose tensors nobody may change in place
    def images(self, images: Tensor) -> Tensor:
        """See `Backend.images`."""
        painted = self._paint(images.detach().to(self._device, torch.float32))
        return painted.clamp_(0, 1).contiguous().to(images.device)

    @torch.no_grad()
    def levels(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Backend.levels`. Levels go to the device and back as bytes, a quarter of the floats."""
        levels = torch.from_numpy(np.array(pictures, order="C")).to(self._device)
        painted = self._paint(levels.permute(0, 3, 1, 2).float().div_(MAX_LEVEL))
        if painted.isnan().any():
            raise InputError(f"the result is not a number in {self.precision}; give --precision fp32")
        out = painted.clamp_(0, 1).mul_(MAX_LEVEL).round_().byte().permute(0, 2, 3, 1)
        array: NDArray[np.uint8] = out.contiguous().cpu().numpy()
        return array

    def _paint(self, images: Tensor) -> Tensor:
        try:
            out: Tensor = self._network(images)
        except torch._dynamo.exc.TorchDynamoException as error:  # no working compiler, headers or Triton
            _log.warning("torch.compile failed, going on without it: %s", first_line(error))
            self.name, self._network = "torch", self._eager
            out = self._eager(images)
        return out

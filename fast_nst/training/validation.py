"""How good a network is: the objective on photographs that it is not trained on, always the same ones."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from fast_nst.device import autocast
from fast_nst.losses import LossTerms, PerceptualLoss
from fast_nst.training.batches import as_images
from fast_nst.training.photos import PhotoSource, center_crops

__all__ = ["Validation"]


class Validation:
    """Measures a network on the middles of held-out photographs.

    Args:
        photos: in no training set.
        objective: what the training minimises.
        image_size: side of the crops, pixels.
        device, precision: as in training.

    Attributes:
        bad: name and reason of every photograph that could not be read.
    """

    BATCH = 4

    def __init__(
        self,
        photos: PhotoSource,
        objective: PerceptualLoss,
        *,
        image_size: int,
        device: torch.device,
        precision: str,
    ) -> None:
        self.objective = objective.alone()
        self.device, self.precision = device, precision
        self.bad: dict[str, str] = {}
        self._photos, self._size = photos, image_size

    @functools.cached_property
    def crops(self) -> Tensor:
        """``(N, 3, S, S)`` uint8, read when they are first needed."""
        return center_crops(self._photos, len(self._photos.names), self._size, self.bad)

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """The mean of each term over the photographs, their sum as ``objective``, and their number.

        Args:
            network: in evaluation mode, on the device.
        """
        totals = torch.zeros(len(LossTerms._fields), device=self.device)
        for start in range(0, len(self.crops), self.BATCH):
            crops = self.crops[start : start + self.BATCH]
            terms = self._judge(network, as_images(crops, self.device))
            totals += torch.stack(terms) * len(crops)
        found = dict(zip(LossTerms._fields, (totals / len(self.crops)).tolist(), strict=True))
        return found | {"objective": sum(found.values()), "photographs": len(self.crops)}

    def _judge(self, network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        with autocast(self.device, self.precision):
            return tuple(self.objective(network(images), self.objective.content_target(images)))

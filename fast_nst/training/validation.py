"""How good a network is: the objective on photographs that it is not trained on, always the same ones."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.reconstruction import ReconstructionLoss
from fast_nst.system.device import autocast
from fast_nst.training.data.loader import as_images
from fast_nst.training.data.photos import PhotoSource, center_crops

__all__ = ["Validation"]


def _nothing(made: Tensor, photos: Tensor) -> dict[str, float]:
    """The objective is all there is to know."""
    return {}


class Validation:
    """Measures a network on the middles of held-out photographs.

    Args:
        photos: in no training set.
        objective: what the training minimizes.
        image_size: side of the crops, pixels.
        device, precision: as in training.
        given: makes what the network gets of a ``(3, S, S)`` crop; None: it gets the crop.
        score: what else is to be known of results and photographs, as means over a batch.

    Attributes:
        bad: name and reason of every photograph that could not be read.
    """

    BATCH = 4

    def __init__(
        self,
        photos: PhotoSource,
        objective: PerceptualLoss | ReconstructionLoss,
        *,
        image_size: int,
        device: torch.device,
        precision: str,
        given: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
        score: Callable[[Tensor, Tensor], dict[str, float]] = _nothing,
    ) -> None:
        self.objective = objective.alone()
        self._given, self._score = given, score
        self.device, self.precision = device, precision
        self.bad: dict[str, str] = {}
        self._photos, self._size = photos, image_size

    @functools.cached_property
    def crops(self) -> Tensor:
        """``(N, 3, S, S)`` uint8, read when they are first needed."""
        return center_crops(self._photos, len(self._photos.names), self._size, self.bad)

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """The means over the photographs of each term, of their sum as ``objective``, and of the score.

        Args:
            network: in evaluation mode, on the device.
        """
        names = self.objective.terms._fields
        totals, scores = torch.zeros(len(names), device=self.device), dict[str, float]()
        for start in range(0, len(self.crops), self.BATCH):
            crops = self.crops[start : start + self.BATCH]
            terms, score = self._judge(network, crops)
            totals += torch.stack(terms) * len(crops)
            scores = {name: scores.get(name, 0.0) + value * len(crops) for name, value in score.items()}
        found = dict(zip(names, (totals / len(self.crops)).tolist(), strict=True))
        found["objective"] = sum(found.values())
        found |= {name: total / len(self.crops) for name, total in scores.items()}
        return found | {"photographs": len(self.crops)}

    def _judge(self, network: nn.Module, crops: Tensor) -> tuple[tuple[Tensor, ...], dict[str, float]]:
        images = as_images(crops, self.device)
        given = images if self._given is None else as_images(self._made_of(crops), self.device)
        with autocast(self.device, self.precision):
            made = network(given)
            terms = tuple(self.objective(made, self.objective.content_target(images)))
        return terms, self._score(made, images)

    def _made_of(self, crops: Tensor) -> Tensor:
        assert self._given is not None
        return torch.from_numpy(np.stack([self._given(crop) for crop in crops.numpy()]))

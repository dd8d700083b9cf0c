"""Validation: the objective on photographs that are not trained on, always the same ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fast_nst.system.device import autocast
from fast_nst.training.data.crops import center_crops
from fast_nst.training.data.loader import as_images
from fast_nst.training.data.photos import PhotoSource
from fast_nst.training.objective import Objective

__all__ = ["GalleryValidation", "Validation"]


def _no_scores(results: Tensor, photos: Tensor) -> dict[str, float]:
    return {}


class Validation:
    """Evaluates a network on the center crops of the validation set.

    Args:
        photos: the validation set.
        objective: what the training minimizes.
        image_size: side of the crops, pixels.
        device, precision: as in training.
        network_input: makes the network's input from a ``(3, S, S)`` crop; None: the crop itself.
        score: further metrics of results and photographs, as means over a batch.

    Attributes:
        bad: name and reason of every photograph that could not be read.
    """

    BATCH = 4

    def __init__(
        self,
        photos: PhotoSource,
        objective: Objective,
        *,
        image_size: int,
        device: torch.device,
        precision: str,
        network_input: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
        score: Callable[[Tensor, Tensor], dict[str, float]] = _no_scores,
    ) -> None:
        self.objective = objective.alone()
        self._network_input, self._score = network_input, score
        self.device, self.precision = device, precision
        self.bad: dict[str, str] = {}
        self._photos, self._size = photos, image_size

    @functools.cached_property
    def crops(self) -> Tensor:
        """``(N, 3, S, S)`` uint8, read when they are first needed."""
        return center_crops(self._photos, len(self._photos.names), self._size, self.bad)

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """The means over the photographs of each term, of their sum as ``objective``, and of the scores.

        Args:
            network: in evaluation mode, on the device.
        """
        totals: dict[str, float | Tensor] = {}
        scores: dict[str, float] = {}
        for start in range(0, len(self.crops), self.BATCH):
            crops = self.crops[start : start + self.BATCH]
            terms, score = self._evaluate(network, crops, start)
            totals = {name: totals.get(name, 0.0) + value * len(crops) for name, value in terms.items()}
            scores = {name: scores.get(name, 0.0) + value * len(crops) for name, value in score.items()}
        found = {name: float(value / len(self.crops)) for name, value in totals.items()}
        found["objective"] = sum(found.values())
        found |= {name: value / len(self.crops) for name, value in scores.items()}
        return found | {"photographs": len(self.crops)}

    def _evaluate(
        self, network: nn.Module, crops: Tensor, first: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        images = as_images(crops, self.device)
        inputs = images if self._network_input is None else as_images(self._inputs(crops), self.device)
        with autocast(self.device, self.precision):
            results = network(inputs)
            terms = self.objective(results, self.objective.content_target(images))
        return terms._asdict(), self._score(results, images)

    def _inputs(self, crops: Tensor) -> Tensor:
        assert self._network_input is not None
        return torch.from_numpy(np.stack([self._network_input(crop) for crop in crops.numpy()]))


class GalleryValidation(Validation):
    """Evaluates a network of many styles: the photographs take its rows in turn.

    Args:
        names: the style of each row; None for the row that gives the content image back.
        others: as `Validation`.
    """

    def __init__(self, *others: Any, names: Sequence[str | None], **settings: Any) -> None:
        super().__init__(*others, **settings)
        self._names = names
        self._distances: dict[str, list[float]] = {}

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """As `Validation`, and for each style that was measured its mean distance, unweighted."""
        self._distances = {}
        found = super().__call__(network)
        return found | {f"distance {name}": mean(values) for name, values in self._distances.items()}

    def _evaluate(
        self, network: nn.Module, crops: Tensor, first: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        images = as_images(crops, self.device)
        numbers = [(first + i) % len(self._names) for i in range(len(crops))]
        rows = torch.tensor(numbers, device=self.device)
        with autocast(self.device, self.precision):
            results = network(images, one_hot(rows, len(self._names)).float())
            objective: Any = self.objective
            terms = objective(results, objective.content_target(images, rows))
            distances = objective.style_distances(results, rows)
        for number, distance in zip(numbers, distances.tolist(), strict=True):
            if (name := self._names[number]) is not None:
                self._distances.setdefault(name, []).append(distance)
        return terms._asdict(), {}

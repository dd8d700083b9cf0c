"""The batches of a run, stage after stage."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import RunConfig
from fast_nst.training.data.loader import Batch, PhotoBatches
from fast_nst.training.data.photos import PhotoSource
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.progress import RunProgress

__all__ = ["BatchStream"]


class BatchStream:
    """Gives every batch that a run has still to train on, this process's share of each.

    Args:
        photo_size: short side of the photographs that crops of a size are cut from, pixels.
        network_input: makes the network's input from a ``(3, S, S)`` crop; None: the crop itself.
        flat_share: share of the crops that are flat, see `flat_crops`.
        zoom: how many times less than a scene a crop may show, see `sampling.window_side`.
    """

    def __init__(
        self,
        config: RunConfig,
        photos: PhotoSource,
        group: ProcessGroup,
        *,
        photo_size: Callable[[int], int],
        network_input: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
        flat_share: float = 0.0,
        zoom: float = 1.0,
    ) -> None:
        self.config, self.photos, self.group = config, photos, group
        self._photo_size, self._network_input = photo_size, network_input
        self._flat_share, self._zoom = flat_share, zoom

    def batches(self, progress: RunProgress) -> Generator[Batch]:
        """Batches from the next step to the end. Reads `progress` after each one, sets its `bad`."""
        while not progress.finished:
            stage = progress.stage
            with self._open(stage.image_size, progress) as batches:
                progress.bad = batches.bad
                while not progress.finished and progress.stage == stage:
                    yield next(batches)

    def _open(self, size: int, progress: RunProgress) -> PhotoBatches:
        c = self.config
        return PhotoBatches(
            self.photos,
            batch_size=c.batch_size,
            image_size=size,
            photo_size=self._photo_size(size),
            network_input=self._network_input,
            flat_share=self._flat_share,
            zoom=self._zoom,
            seed=c.seed,
            start_step=progress.step,
            workers=c.workers,
            rank=self.group.rank,
            world_size=self.group.size,
            max_bad=c.max_bad,
            bad=progress.bad,
        )

"""Pictures of a run in progress: a few fixed photographs, how they look now, and the painting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fast_nst.images import from_uint8, save_image, to_uint8
from fast_nst.training.photos import center_crops

if TYPE_CHECKING:
    from fast_nst.training.trainer import Trainer

__all__ = ["Previews"]

EARLY = (50, 100, 200)  # most of what can go wrong shows in the first minutes
COUNT = 4


class Previews:
    """Writes ``previews/step_000500.jpg`` to the run folder: photographs above, stylised below."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.folder = trainer.run / "previews"
        self.folder.mkdir(exist_ok=True)
        if trainer.step == 0:  # those of an earlier run in this folder would pass for ours
            for old in self.folder.glob("step_*.jpg"):
                old.unlink()
        self.crops = center_crops(trainer.photos, COUNT, max(256, trainer.config.image_size))

    def due(self, step: int) -> bool:
        c = self.trainer.config
        return step in EARLY or step % c.preview_every == 0 or step == c.steps

    def save(self, step: int) -> NDArray[np.uint8]:
        """Stylise, write, and return the sheet: ``(H, W, 3)`` uint8."""
        network = self.trainer.network
        photos = [np.ascontiguousarray(crop.permute(1, 2, 0).numpy()) for crop in self.crops]
        network.eval()
        with torch.inference_mode():
            results = [to_uint8(network(from_uint8(p)[None].to(self.trainer.device))[0]) for p in photos]
        network.train()
        sheet = np.concatenate([np.concatenate(photos, axis=1), np.concatenate(results, axis=1)])
        save_image(self.folder / f"step_{step:06}.jpg", sheet, quality=90)
        return sheet

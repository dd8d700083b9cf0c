"""Pictures of a run in progress: a few fixed photographs, and how they look now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fast_nst.images import from_uint8, save_image, to_uint8
from fast_nst.training.photos import PhotoSource, center_crops
from fast_nst.transform_net import TransformNet

__all__ = ["Previews"]

COUNT = 4


class Previews:
    """Writes ``previews/step_000500.jpg``: photographs above, stylised below.

    Args:
        folder: of the previews; made, and for a new run emptied of what an earlier one left.
        photos: the first of them are shown, preferably ones that are not trained on.
        side: of the squares, pixels.
    """

    EARLY = (50, 100, 200)  # most of what can go wrong shows in the first minutes

    def __init__(self, folder: Path, photos: PhotoSource, side: int, *, anew: bool) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        if anew:  # those of an earlier run in this folder would pass for ours
            for old in folder.glob("step_*.jpg"):
                old.unlink()
        self.crops = center_crops(photos, COUNT, side)

    def save(self, network: TransformNet, step: int) -> tuple[NDArray[np.uint8], torch.Tensor]:
        """Stylise and write.

        Args:
            network: in evaluation mode.

        Returns:
            The sheet, ``(H, W, 3)`` uint8, and a sample of the network's values, unclamped, flat.
        """
        device = next(network.parameters()).device
        photos = [np.ascontiguousarray(crop.permute(1, 2, 0).numpy()) for crop in self.crops]
        with torch.inference_mode():
            painted = [network(from_uint8(photo)[None].to(device))[0].cpu() for photo in photos]
        results = [to_uint8(picture) for picture in painted]
        sheet = np.concatenate([np.concatenate(photos, axis=1), np.concatenate(results, axis=1)])
        save_image(self.folder / f"step_{step:06}.jpg", sheet, quality=90)
        return sheet, torch.cat([picture.flatten()[::7] for picture in painted])

"""Pictures of a run in progress: a few fixed photographs, and what the network makes of them now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.io.images import from_uint8, save_image, to_uint8
from fast_nst.training.data.photos import PhotoSource, center_crops

__all__ = ["Painter", "Previews", "Sheet", "stylized"]

COUNT = 4

Painter = Callable[[Tensor], Tensor]
"""a network: ``(B, 3, H, W)`` in, pictures out, on the CPU"""
Sheet = Callable[[Painter, Tensor], tuple[NDArray[np.uint8], Tensor]]
"""makes of a network and ``(N, 3, S, S)`` uint8 photographs one picture, ``(H, W, 3)``, that shows what it
does, and a sample of the network's values, unclamped, flat"""


def stylized(network: Painter, crops: Tensor) -> tuple[NDArray[np.uint8], Tensor]:
    """Photographs above, stylized below; see `Sheet`."""
    photos = [np.ascontiguousarray(crop.permute(1, 2, 0).numpy()) for crop in crops]
    painted = [network(from_uint8(photo)[None])[0] for photo in photos]
    results = [to_uint8(picture) for picture in painted]
    sheet = np.concatenate([np.concatenate(photos, axis=1), np.concatenate(results, axis=1)])
    return sheet, torch.cat([picture.flatten()[::7] for picture in painted])


class Previews:
    """Writes ``previews/step_000500.jpg``.

    Args:
        folder: of the previews; made, and for a new run emptied of what an earlier one left.
        photos: the first of them are shown, preferably ones that are not trained on.
        side: of the squares, pixels.
        sheet: what is shown of them.
    """

    EARLY = (50, 100, 200)  # most of what can go wrong shows in the first minutes

    def __init__(
        self, folder: Path, photos: PhotoSource, side: int, *, anew: bool, sheet: Sheet = stylized
    ) -> None:
        self.folder, self._sheet = folder, sheet
        folder.mkdir(exist_ok=True)
        if anew:  # those of an earlier run in this folder would pass for ours
            for old in folder.glob("step_*.jpg"):
                old.unlink()
        self.crops = center_crops(photos, COUNT, side)

    def save(self, network: nn.Module, step: int) -> tuple[NDArray[np.uint8], Tensor]:
        """Paint and write.

        Args:
            network: in evaluation mode.

        Returns:
            See `Sheet`.
        """
        device = next(network.parameters()).device
        with torch.inference_mode():
            sheet, values = self._sheet(lambda images: network(images.to(device)).cpu(), self.crops)
        save_image(self.folder / f"step_{step:06}.jpg", sheet, quality=90)
        return sheet, values

"""Previews of a run: a few fixed photographs, and the network's results at that step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.io.images import MAX_LEVEL, from_uint8, save_image, to_uint8
from fast_nst.training.data.crops import center_crops
from fast_nst.training.data.photos import PhotoSource

__all__ = ["NetworkFunction", "PreviewSheet", "Previews", "gallery_sheet", "style_sheet"]

COUNT = 4

NetworkFunction = Callable[..., Tensor]
"""a network: ``(B, 3, H, W)`` in [0, 1] in, results out, on the CPU; one of many styles also takes their
mixture, ``(B, R)``"""
PreviewSheet = Callable[[NetworkFunction, Tensor], tuple[NDArray[np.uint8], Tensor]]
"""from a network and ``(N, 3, S, S)`` uint8 photographs: one ``(H, W, 3)`` uint8 image that shows the
results, and a sample of its output values, unclamped, flat"""


def style_sheet(style: NDArray[np.uint8]) -> PreviewSheet:
    """Previews of a style: the style image on the left, photographs above, stylized images below.

    Args:
        style: ``(H, W, 3)`` uint8, the style image.
    """

    def sheet(network: NetworkFunction, crops: Tensor) -> tuple[NDArray[np.uint8], Tensor]:
        photos = [np.ascontiguousarray(crop.permute(1, 2, 0).numpy()) for crop in crops]
        outputs = [network(from_uint8(photo)[None])[0] for photo in photos]
        rows = [photos, [to_uint8(image) for image in outputs]]
        grid = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        side = photos[0].shape[0]
        whole = np.concatenate([_beside(style, side, 2 * side), grid], axis=1)
        return whole, torch.cat([image.flatten()[::7] for image in outputs])

    return sheet


def gallery_sheet(rows: int) -> PreviewSheet:
    """Previews of many styles: for each of two photographs, itself and its result in every row.

    Args:
        rows: of the network.
    """

    def sheet(network: NetworkFunction, crops: Tensor) -> tuple[NDArray[np.uint8], Tensor]:
        columns, parts, values = math.ceil(math.sqrt(2 * (rows + 1))), [], []
        for crop in crops[:2]:
            photo = np.ascontiguousarray(crop.permute(1, 2, 0).numpy())
            cells = [photo]
            for mixture in torch.eye(rows):
                result = network(from_uint8(photo)[None], mixture[None])[0]
                cells.append(to_uint8(result))
                values.append(result.flatten()[::97])
            cells += [np.full_like(photo, MAX_LEVEL)] * (-len(cells) % columns)
            lines = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
            parts.append(np.concatenate(lines))
        return np.concatenate(parts), torch.cat(values)

    return sheet


def _beside(style: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The style image as a column of that size, on white, in its own proportions."""
    scale = min(width / style.shape[1], height / style.shape[0])
    size = [max(1, round(scale * side)) for side in style.shape[:2]]
    image = from_uint8(style)[None]
    small = to_uint8(F.interpolate(image, size=size, mode="bilinear", antialias=True)[0])
    column = np.full((height, width, 3), MAX_LEVEL, dtype=np.uint8)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    column[top : top + size[0], left : left + size[1]] = small
    return column


class Previews:
    """Writes ``previews/step_000500.jpg``.

    Args:
        folder: of the previews; made if needed.
        start_over: remove the previews of an earlier run.
        photos: the first of them are shown, preferably ones that are not trained on.
        side: of the squares, pixels.
        sheet: makes the preview.
    """

    EARLY = (50, 100, 200)  # most of what can go wrong shows in the first minutes

    def __init__(
        self, folder: Path, photos: PhotoSource, side: int, *, start_over: bool, sheet: PreviewSheet
    ) -> None:
        self.folder, self._sheet = folder, sheet
        folder.mkdir(exist_ok=True)
        if start_over:  # those of an earlier run in this folder would pass for ours
            for old in folder.glob("step_*.jpg"):
                old.unlink()
        self.crops = center_crops(photos, COUNT, side)

    def save(self, network: nn.Module, step: int) -> tuple[NDArray[np.uint8], Tensor]:
        """Run the network and write the preview.

        Args:
            network: in evaluation mode.

        Returns:
            See `PreviewSheet`.
        """
        device = next(network.parameters()).device
        with torch.inference_mode():
            sheet, values = self._sheet(
                lambda *given: network(*(t.to(device) for t in given)).cpu(), self.crops
            )
        save_image(self.folder / f"step_{step:06}.jpg", sheet, quality=90)
        return sheet, values

"""What a training of many styles begins with: the style image of each row, and a gallery that is extended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fast_nst.config import GalleryTrainConfig
from fast_nst.io.images import load_image
from fast_nst.models.checkpoint import load_gallery, row_names
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import find_gallery
from fast_nst.training.data.loader import as_images
from fast_nst.training.data.photos import PhotoSource, center_crops
from fast_nst.training.data.styles import GalleryStyle
from fast_nst.training.tasks import GalleryTask

__all__ = ["extended_gallery", "load_style_images"]

NEAREST_SIZE = 128  # pixels: side of the image by which the nearest style of a gallery is found


def load_style_images(config: GalleryTrainConfig, styles: Sequence[GalleryStyle]) -> list[Tensor | None]:
    """The style image of each row, ``(3, H, W)`` in [0, 1], style by style.

    First comes None, for the content row, unless a gallery is extended, which has one.

    Raises:
        InputError: a style image that cannot be read.
    """
    images: list[Tensor | None] = [None] if config.extend is None else []
    for style in styles:
        for scale in config.scales:
            side = round(scale * config.style_size)
            images.append(load_image(style.file, short_side=side, max_pixels=config.max_pixels))
    return images


def extended_gallery(gallery: Path, task: GalleryTask, photos: PhotoSource) -> GalleryNet:
    """A trained gallery's network with rows for the task's styles alone, of which only the rows can change.

    Each row begins as the gallery's nearest one, by the style distance of a content image, with the colors
    of its own style image.

    Raises:
        CheckpointError: the gallery cannot be used.
    """
    trained = load_gallery(find_gallery(gallery)).network
    network = GalleryNet(replace(trained.config, rows=len(task.images)))
    names = row_names(network)
    device = next(task.objective.buffers()).device if isinstance(task.objective, nn.Module) else None
    image = as_images(center_crops(photos, 1, NEAREST_SIZE), device or torch.device("cpu"))
    every = trained.to(image.device)(
        image.expand(trained.config.rows, -1, -1, -1), torch.eye(trained.config.rows, device=image.device)
    )
    state = {name: tensor for name, tensor in trained.state_dict().items() if name not in names}
    for name in names:
        state[name] = torch.zeros_like(network.state_dict()[name])
    objective: Any = task.objective
    for row in range(len(task.images)):
        with torch.no_grad():
            rows = torch.full((len(every),), row, device=image.device)
            nearest = int(objective.style_distances(every, rows).argmin())
        for name in names:
            state[name][row] = trained.state_dict()[name][nearest]
    network.load_state_dict(state)
    network.start_with_colors(task.images)
    network.requires_grad_(False)
    for parameter in network.row_parameters():
        parameter.requires_grad_(True)
    return network.to(memory_format=torch.channels_last).train()

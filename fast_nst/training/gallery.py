"""What a training of many styles begins with: the style image of each row, and a gallery that is extended."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fast_nst.config import GalleryTrainConfig
from fast_nst.io.images import load_image
from fast_nst.models.checkpoint import load_gallery
from fast_nst.models.gallery_files import gallery_rows
from fast_nst.models.gallery_loss import GalleryLoss
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import find_gallery
from fast_nst.models.style_prediction import StylePredictor
from fast_nst.training.data.styles import GalleryStyle
from fast_nst.training.tasks import GalleryTask

__all__ = ["extended_gallery", "load_style_images"]


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


def extended_gallery(gallery: Path, task: GalleryTask, config: GalleryTrainConfig) -> GalleryNet:
    """A trained gallery's network with rows for the task's styles alone, of which only the rows can change.

    Each row begins as what is predicted for its style image.

    Raises:
        CheckpointError: the gallery cannot be used.
    """
    file, objective = find_gallery(gallery), task.objective
    assert isinstance(objective, GalleryLoss)
    trained = load_gallery(file)
    device = next(objective.buffers()).device
    predictor = StylePredictor(
        trained.network.to(device),
        gallery_rows(file, trained.metadata),
        objective.features,
        objective.style_layers,
    )
    scales = itertools.cycle(config.scales)
    rows = [
        predictor.row(image.to(device), scale)
        for image, scale in zip(task.images, scales, strict=False)
        if image is not None
    ]
    network = GalleryNet(replace(trained.network.config, rows=len(rows)))
    state = dict(trained.network.state_dict())
    state |= {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    network.load_state_dict(state)
    network.requires_grad_(False)
    for parameter in network.row_parameters():
        parameter.requires_grad_(True)
    return network.to(memory_format=torch.channels_last).train()

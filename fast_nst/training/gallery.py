"""What a training of many styles begins with: the style image of each row, and a gallery that is extended."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fast_nst.config import GalleryTrainConfig
from fast_nst.errors import InputError
from fast_nst.io.images import load_image
from fast_nst.models.checkpoint import load_gallery, row_shapes
from fast_nst.models.gallery_files import gallery_config, gallery_rows
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import ADDED, find_gallery, read_metadata
from fast_nst.models.style_prediction import row_predictor
from fast_nst.training.data.styles import GalleryStyle
from fast_nst.training.tasks import GalleryTask

__all__ = ["extended_gallery", "load_style_images", "warm_gallery"]


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


def extended_gallery(gallery: Path, start: Path | None, task: GalleryTask) -> GalleryNet:
    """A trained gallery's network with rows for the task's styles alone, of which only the rows can change.

    Args:
        start: a style that was added to the gallery before, whose rows are taken; None, and for other styles:
            each row begins as what is predicted for its style image.

    Raises:
        CheckpointError: the gallery or the start cannot be used.
        InputError: the start belongs to another gallery.
    """
    file = find_gallery(gallery if start is None else start)
    if start is not None and read_metadata(file).get(ADDED) != task.details[ADDED]:
        raise InputError(f"--warm-start {file} is no style that was added to {find_gallery(gallery)}")
    network = _with_rows(file, task, kept=start is not None)
    network.requires_grad_(False)
    for parameter in network.row_parameters():
        parameter.requires_grad_(True)
    return network


def warm_gallery(gallery: Path, task: GalleryTask, config: GalleryTrainConfig) -> GalleryNet:
    """A trained gallery's network with rows for the content and the task's styles, all to be trained on.

    A style and scale that the gallery has, by name, keeps its row; the others begin as what is predicted.

    Raises:
        CheckpointError: the gallery cannot be used.
        InputError: it has other convolutions than the network that is trained.
    """
    file = find_gallery(gallery)
    shape = gallery_config(file, read_metadata(file))
    if shape != replace(config.network, rows=shape.rows):
        raise InputError(f"--warm-start {file} is another network: {shape}")
    return _with_rows(file, task, kept=True)


def _with_rows(file: Path, task: GalleryTask, *, kept: bool) -> GalleryNet:
    """A gallery's network with the task's rows.

    Args:
        kept: keep the rows of styles that the gallery has.
    """
    trained = load_gallery(file)
    source, listed = trained.network, gallery_rows(file, trained.metadata)
    predictor = functools.cache(lambda: row_predictor(file, trained))  # where all rows are known, none
    known = {(row.style, row.scale): index for index, row in enumerate(listed)} if kept else {}
    state = dict(source.state_dict())
    rows = []
    for row, image in zip(task.details["rows"], task.images, strict=True):
        index = known.get((row["style"], row["scale"]))
        if index is None and image is not None:
            rows.append(predictor().row(image, row["scale"]))
        else:  # the content row is the first
            rows.append({name: state[name][index or 0] for name in row_shapes(source)})
    network = GalleryNet(replace(source.config, rows=len(rows)))
    network.load_state_dict(state | {name: torch.stack([row[name] for row in rows]) for name in rows[0]})
    return network.train()

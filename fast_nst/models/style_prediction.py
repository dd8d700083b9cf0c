"""A row of a gallery for any painting, at once: by its trained style predictor, or else the nearest row."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fast_nst.config import LossConfig, StylePredictorConfig
from fast_nst.models.checkpoint import (
    GalleryCheckpoint,
    fill_network,
    read_tensors,
    row_shapes,
    write_weights,
)
from fast_nst.models.gallery_files import gallery_rows
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import PREDICTOR, PREDICTS, config_of, predictor_of
from fast_nst.models.nearest_row import NearestRow
from fast_nst.models.style_predictor import StylePredictorNet, describe_style
from fast_nst.models.vgg import load_vgg
from fast_nst.serialization import to_dict

__all__ = ["RowPredictor", "load_predictor", "row_predictor", "save_predictor"]

_LAYERS = LossConfig().style_layers_for("distilled")


class RowPredictor(Protocol):
    """Makes rows of a gallery for style images."""

    def row(self, style: Tensor, scale: float) -> dict[str, Tensor]:
        """The tensors of a row, by name, each without the rows' dimension, on the CPU.

        Args:
            style: ``(3, H, W)`` in [0, 1], the style image at the size of its stroke scale.
            scale: the stroke scale.
        """


class _TrainedPredictor:
    def __init__(self, network: StylePredictorNet) -> None:
        self._network, self._features = network, load_vgg("distilled", _LAYERS)

    @torch.no_grad()
    def row(self, style: Tensor, scale: float) -> dict[str, Tensor]:
        described = describe_style(style.cpu(), scale, self._features, _LAYERS)
        found = self._network(described.at(None))
        return {name: tensor[0] for name, tensor in found.items()}


def row_predictor(file: Path, gallery: GalleryCheckpoint) -> RowPredictor:
    """What predicts rows of a gallery, with the distilled loss network.

    Args:
        file: of the gallery; beside it lies the style predictor, if it has one.
        gallery: what that file holds, on the CPU.

    Raises:
        CheckpointError: a style predictor that cannot be used.
    """
    if (found := predictor_of(file)) is not None:
        return _TrainedPredictor(load_predictor(found, gallery.network))
    rows = gallery_rows(file, gallery.metadata)
    return NearestRow(gallery.network, rows, load_vgg("distilled", _LAYERS), _LAYERS)


def save_predictor(path: Path, network: StylePredictorNet, gallery_sha256: str, **details: object) -> None:
    """Write a style predictor, in fp16.

    Args:
        gallery_sha256: the hash in the metadata of the gallery that it was trained for.

    Raises:
        OSError, CheckpointError: as `save_checkpoint`.
    """
    described = {PREDICTOR: to_dict(network.config), PREDICTS: gallery_sha256}
    write_weights(path, network.state_dict(), {**details, **described})


def load_predictor(path: Path, gallery: GalleryNet) -> StylePredictorNet:
    """A style predictor from its file, in fp32 on the CPU, in evaluation mode.

    Args:
        gallery: the network that it was trained for.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    tensors, metadata = read_tensors(path)
    config = config_of(path, metadata, PREDICTOR, StylePredictorConfig)
    with torch.device("meta"):
        network = StylePredictorNet(config, row_shapes(gallery))
    fill_network(network, tensors, path)
    return network

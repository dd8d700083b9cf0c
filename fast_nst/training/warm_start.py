"""The bundled network that the training of a new one begins with."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from fast_nst.config import GalleryNetConfig, NetworkConfig
from fast_nst.io.images import load_image
from fast_nst.models.gallery_files import gallery_config
from fast_nst.models.gram import gram_matrix
from fast_nst.models.losses import PerceptualLoss, gram_error
from fast_nst.models.model_files import (
    CheckpointError,
    bundled_galleries,
    bundled_networks,
    bundled_style_image,
    network_config,
    read_metadata,
)

__all__ = ["bundled_gallery_of", "nearest_style"]


def bundled_gallery_of(shape: GalleryNetConfig) -> str | None:
    """The bundled gallery with these convolutions, by name; None if there is none."""
    for name, file in bundled_galleries().items():
        with suppress(CheckpointError):
            if replace(gallery_config(file, read_metadata(file)), rows=shape.rows) == shape:
                return name
    return None


def nearest_style(objective: PerceptualLoss, shape: NetworkConfig, style_size: int) -> str | None:
    """The bundled style of this architecture whose painting is nearest to the objective's style image.

    Nearest is the smallest relative error of the Gram matrices, averaged over the style layers.

    Args:
        objective: with the style image's Gram matrices.
        shape: the network that is to be trained.
        style_size: shorter side at which the paintings are compared, pixels.

    Returns:
        Its name; None where no bundled style has this architecture.
    """
    distances = {
        name: _distance(objective, painting, style_size)
        for name, file in bundled_networks().items()
        if _has_shape(file, shape) and (painting := bundled_style_image(file))
    }
    return min(distances, key=lambda name: distances[name], default=None)


def _has_shape(file: Path, shape: NetworkConfig) -> bool:
    try:
        return network_config(file, read_metadata(file)) == shape
    except CheckpointError:
        return False


@torch.no_grad()
def _distance(objective: PerceptualLoss, painting: Path, style_size: int) -> float:
    device = next(objective.buffers()).device
    image = load_image(painting, short_side=style_size)[None].to(device)
    found = objective.features(image, objective.style_layers)
    errors = [gram_error(gram_matrix(found[k]), objective.style_gram(k)) for k in objective.style_layers]
    return float(torch.cat(errors).mean())

"""Training of the style predictor: a row for each of many style images, of a gallery that stays as it is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fast_nst.config import StylePredictorConfig
from fast_nst.io.images import load_image
from fast_nst.models.checkpoint import row_shapes
from fast_nst.models.gallery_files import GalleryRow
from fast_nst.models.gallery_net import GalleryNet, color_change
from fast_nst.models.gram import gram_matrix
from fast_nst.models.style_predictor import (
    StyleDescription,
    StylePredictorNet,
    description_of,
    relative_colors,
)
from fast_nst.models.vgg import VGGFeatures

__all__ = [
    "PredictedGallery",
    "StylePool",
    "component_noise",
    "new_predictor",
    "style_pool",
    "varied_styles",
]

_LEAST_SHARE = 0.5  # of the sides of a style image that a varied one shows
_NOISE = 0.1  # standard deviation of what is added to the components, whose own is 1


class StylePool(NamedTuple):
    """Style images as the training uses them, one for each row."""

    described: StyleDescription
    """with the rows as the first dimension"""
    grams: list[dict[str, Tensor]]
    """of each row, ``(C, C)`` by style layer"""


@torch.no_grad()
def style_pool(
    images: Iterator[tuple[Tensor, float]], features: VGGFeatures, layers: Sequence[str]
) -> StylePool:
    """What the training needs of style images.

    Args:
        images: ``(3, H, W)`` in [0, 1] at the size of its stroke scale, and that scale.
        features: the loss network, built for at least these style layers.
    """
    described, grams = [], []
    for given, scale in images:
        image = given.to(features.mean.device)
        found = features(image[None], layers)
        described.append(description_of(image, scale, found))
        grams.append({layer: gram_matrix(found[layer])[0] for layer in layers})
    return StylePool(StyleDescription(*map(torch.stack, zip(*described, strict=True))), grams)


def varied_styles(
    files: Sequence[Path], scales: Sequence[float], size: int, variants: int, *, seed: int
) -> Iterator[tuple[Tensor, float]]:
    """Each style image at each stroke scale as it is, and then varied, for `style_pool`.

    A varied one shows a part, is mirrored every other time, and has the color mean and covariance of another
    style image every other time.

    Args:
        size: short side at stroke scale 1, pixels.
        variants: of each.
    """
    chance = random.Random(seed)
    for file in files:
        for scale in scales:
            yield load_image(file, short_side=round(scale * size)), scale
            for _ in range(variants):
                share = chance.uniform(_LEAST_SHARE, 1.0)
                image = load_image(file, short_side=round(scale * size / share))
                part = _window(image, round(scale * size), chance)
                if chance.random() < 0.5:
                    other = load_image(chance.choice(files), short_side=64)
                    part = _recolored(part, other)
                yield part, scale


def _window(image: Tensor, side: int, chance: random.Random) -> Tensor:
    top, left = (chance.randrange(length - side + 1) for length in image.shape[1:])
    part = image[:, top : top + side, left : left + side]
    return part.flip(2) if chance.random() < 0.5 else part


def _recolored(image: Tensor, other: Tensor) -> Tensor:
    """An image with the color mean and covariance of another, clipped to [0, 1]."""
    matrix, offset = color_change(image, other)
    flat = matrix @ image.flatten(1).double() + offset[:, None]
    recolored: Tensor = flat.view_as(image).clamp(0, 1).to(image.dtype)
    return recolored


def new_predictor(
    gallery: GalleryNet, rows: Sequence[GalleryRow], bundled: StylePool, pool: StylePool, *, seed: int
) -> StylePredictorNet:
    """A predictor as training begins: the mean of the gallery's rows, with the style image's own colors.

    Args:
        rows: what the gallery's rows are.
        bundled: of the gallery's own style images, for each row that is a style.
        pool: what is trained on.
    """
    styles = [index for index, row in enumerate(rows) if row.style is not None]
    shapes, state = row_shapes(gallery), gallery.state_dict()
    own = {name: state[name][styles] for name in shapes}
    mean, root = bundled.described.mean, bundled.described.root
    own["color"], own["offset"] = relative_colors(own["color"], own["offset"], mean, root)
    statistics = pool.described.statistics
    kept = min(StylePredictorConfig.components, len(statistics) - 1)
    config = StylePredictorConfig(statistics=statistics.shape[1], components=kept)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        predictor = StylePredictorNet(config, shapes).to(statistics.device)
    predictor.fit_statistics(statistics)
    predictor.fit_rows(own)
    return predictor


class PredictedGallery(nn.Module):
    """A trained gallery whose rows are predicted: what is trained is the predictor.

    Args:
        gallery: its parameters are frozen.
    """

    def __init__(self, gallery: GalleryNet, predictor: StylePredictorNet) -> None:
        super().__init__()
        self.gallery, self.predictor = gallery.requires_grad_(False), predictor

    def forward(self, images: Tensor, described: StyleDescription, noise: Tensor | None = None) -> Tensor:
        """``(B, 3, H, W)``, each stylized with the row of its own style image.

        Args:
            described: with the images as the first dimension.
            noise: see `StylePredictorNet.forward`.
        """
        with torch.autocast(images.device.type, enabled=False):
            rows = self.predictor(described, noise)
        mixture = torch.eye(len(images), device=images.device)
        stylized: Tensor = functional_call(self.gallery, rows, (images, mixture))
        return stylized


def component_noise(count: int, components: int, seed: int, step: int) -> Tensor:
    """``(B, K)``, what is added to the components at a step: a pure function of the seed and the step."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(step,))))
    return torch.from_numpy(generator.normal(scale=_NOISE, size=(count, components)).astype(np.float32))

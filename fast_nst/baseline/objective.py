"""Objectives of the optimizer: that of Gatys et al., or the training objective of the networks.

Both are called as ``objective(images, objective.content_target(content_images))`` and return `LossTerms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.config.optimize import GatysConfig
from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL, find_pictures, load_image
from fast_nst.models.gram import gram_matrix
from fast_nst.models.losses import (
    LossTerms,
    PerceptualLoss,
    feature_loss,
    style_loss,
    total_variation,
)
from fast_nst.models.vgg import VGGFeatures, load_vgg

__all__ = [
    "GatysLoss",
    "Objective",
    "load_features",
    "make_objective",
    "normalize_activations",
    "wanted_layers",
]

IMAGES_MEASURED = 64  # from a folder; means over 64 photographs are within a few percent of those over more
MEASURED_SIZE = 256


class Objective(Protocol):
    """Weighted loss terms of images against a style image and the content targets."""

    def content_target(self, images: Tensor) -> dict[str, Tensor]:
        """The content features of ``(B, 3, H, W)`` content images."""

    def __call__(self, images: Tensor, target: Mapping[str, Tensor]) -> LossTerms:
        """The terms of ``(B, 3, H, W)`` images."""


class GatysLoss(nn.Module):
    r"""The objective of Gatys, Ecker and Bethge 2016, equations 1 to 7, for one image.

    .. math:: \alpha \sum_l v_l \tfrac12 \sum (F^l - P^l)^2
        + \beta \sum_l w_l \frac{1}{4 N_l^2 M_l^2} \sum (G^l - A^l)^2 + \text{TV}

    F and P are activations, N channels by M positions; G and A are sums over positions. Where the style
    image has another size than the image, each Gram matrix is divided by its own M. Total variation is not in
    the paper: the sum of squares of `total_variation`, of pixels in the unit of ``config.pixels``. With the
    scaling ``means``, which the weights of several authors belong to, the sums over activations and over Gram
    entries are means, and there is neither ½ nor ¼.

    Args:
        features: built for at least the layers of ``config``.
        style: ``(3, H, W)``, the style image, RGB in [0, 1].
        config: layers, weights, factor of the content term.
    """

    def __init__(self, features: VGGFeatures, style: Tensor, config: GatysConfig) -> None:
        super().__init__()
        self.features = features
        self.config = config
        # A term without weight is not computed, nor the layers that only it needs.
        content = config.content_layers if config.content_weight else ()
        style_layers = config.style_layers if config.style_weight else ()
        self.content_weights = _shares(content, config.content_layer_weights)
        self.style_weights = _shares(style_layers, config.style_layer_weights)
        with torch.no_grad():
            found = features(style[None], self.style_weights)
            self.grams = {layer: gram_matrix(found[layer])[0] for layer in self.style_weights}

    @torch.no_grad()
    def content_target(self, images: Tensor) -> dict[str, Tensor]:
        """Content features of ``(B, 3, H, W)`` images by layer; layers above the deepest are not computed."""
        found: dict[str, Tensor] = self.features(images, self.content_weights)
        return found

    def forward(self, images: Tensor, target: Mapping[str, Tensor]) -> LossTerms:
        """The weighted terms of ``(1, 3, H, W)`` images against what `content_target` gave."""
        c = self.config
        zero = images.new_zeros(())
        found = self.features(images, {*self.content_weights, *self.style_weights})
        content = style = zero
        for layer, weight in self.content_weights.items():
            factor = 1.0 if c.scaling == "means" else c.content_factor * target[layer].numel()
            content = content + weight * factor * feature_loss(found[layer], target[layer])
        for layer, weight in self.style_weights.items():
            # A Gram matrix of ours is that of the paper over N M, so this is the mean over N² of Grams per
            # position, and four times the sum over 4 N² M².
            distance = style_loss(gram_matrix(found[layer]), self.grams[layer])
            style = style + weight * (distance if c.scaling == "means" else distance / 4)
        unit = MAX_LEVEL if c.pixels == "levels" else 1
        tv = c.tv_weight * unit**2 * total_variation(images) if c.tv_weight else zero
        return LossTerms(c.content_weight * content, c.style_weight * style, tv, zero, zero, zero)


def _shares(layers: tuple[str, ...], weights: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(layers, weights or [1 / len(layers)] * len(layers), strict=True)) if layers else {}


def wanted_layers(config: GatysConfig) -> tuple[str, ...]:
    """All layers that the objective of a config uses."""
    style = config.style_layers if config.is_gatys else config.loss.style_layers_for(config.loss_network)
    return (*config.content_layers, *style)


def make_objective(features: VGGFeatures, style_image: Tensor, config: GatysConfig) -> Objective:
    """The objective of a config for a ``(3, H, W)`` style image, whose features are computed in fp32."""
    if config.is_gatys:
        return GatysLoss(features, style_image, config)
    return PerceptualLoss(features, style_image, config.loss)


def load_features(config: GatysConfig, images: Iterable[Tensor], layers: Iterable[str] = ()) -> VGGFeatures:
    """The loss network of a config, on the CPU.

    Args:
        images: ``(3, H, W)``, to measure mean activations over where ``config`` names no folder.
        layers: additional layers.

    Raises:
        InputError: an unknown layer, or a folder without images.
        WeightsError: weights that cannot be used.
    """
    wanted = (*wanted_layers(config), *layers)
    features = load_vgg(
        config.loss_network,
        wanted,
        file=config.vgg_weights,
        weights=config.vgg_release,
        pooling=config.pooling,
    )
    if config.activations == "normalized":
        if config.activation_images is not None:
            files = find_pictures(config.activation_images)[:IMAGES_MEASURED]
            if not files:
                raise InputError(f"--activation-images {config.activation_images} contains no images")
            images = (load_image(file, size=MEASURED_SIZE) for file in files)
        normalize_activations(features, images)
    return features


@torch.no_grad()
def normalize_activations(features: VGGFeatures, images: Iterable[Tensor]) -> None:
    """Rescale a network in place, so that each channel's mean activation over images and positions is 1.

    Each convolution is divided by its channels' means and the next one multiplied by them, which changes
    nothing but the scale: a ReLU and a pooling of a positive multiple are that multiple of them. Channels
    that never fire are left as they are. Gatys et al. 2016, section 2; they measured over ImageNet.

    Args:
        images: ``(3, H, W)``, RGB in [0, 1], of any sizes; at least one.
    """
    convolutions = {n: m for n, m in features.body.named_children() if isinstance(m, nn.Conv2d)}
    sums: dict[str, Tensor] = {}
    count = 0
    for image in images:
        count += 1
        for name, found in features(image[None], convolutions).items():
            sums[name] = sums.get(name, 0) + F.relu(found).mean(dim=(0, 2, 3), dtype=torch.float64)
    before: Tensor | None = None
    for name, module in convolutions.items():
        mean = sums[name] / count
        mean = torch.where(mean > 0, mean, 1).to(module.weight)
        module.weight /= mean[:, None, None, None]
        if before is not None:
            module.weight *= before[:, None, None]
        if module.bias is not None:
            module.bias /= mean
        before = mean

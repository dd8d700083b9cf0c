"""The perceptual objective of many styles at once: each image of a batch has a style of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fast_nst.config import LossConfig
from fast_nst.errors import InputError
from fast_nst.models.gram import gram_matrix
from fast_nst.models.losses import (
    gram_error,
    grid_energy,
    grid_phases,
    total_variation,
    wide,
)
from fast_nst.models.vgg import VGGFeatures

__all__ = ["GalleryLoss", "GalleryTarget", "GalleryTerms"]


# Pixels: networks that work at an eighth of the size filled flat regions with tiles as large.
GRID_PERIOD = 8


class GalleryTerms(NamedTuple):
    """Weighted terms; their sum is what is minimized."""

    content: Tensor
    style: Tensor
    identity: Tensor
    """of the images whose row has no style image: the relative squared error of the pixels"""
    tv: Tensor
    grid: Tensor
    temporal: Tensor
    """0 unless the network is trained for video; added by the trainer, since it needs two frames"""


class GalleryTarget(NamedTuple):
    """What the results of a batch are compared with."""

    photos: Tensor
    """``(B, 3, H, W)`` in [0, 1]"""
    content: Mapping[str, Tensor]
    """their features by layer"""
    rows: Tensor
    """``(B,)`` int64, the row of each"""


class GalleryLoss(nn.Module):
    r"""Content, style and total-variation terms of images in several styles.

    All terms are relative errors, as in `PerceptualLoss` with ``dimensionless``; a style's term at a layer is
    :math:`2 \|G - G_s\|_F^2 / (\|G_s\|_F^2 + \|G\|_F^2)` for the style s of each image, averaged over layers
    and images, the divisor constant to the gradient (after Cheng et al. 2021, section 3.2). It is at most 2,
    so that no style outweighs another: without the second norm the first steps, with terms far above 2, drove
    the shared convolutions to dull images.

    Args:
        features: the loss network, built for at least the layers of ``config``.
        styles: for each row ``(3, H, W)`` or ``(1, 3, H, W)``, the style image in RGB in [0, 1], or its Gram
            matrices ``(C, C)`` by layer; None for a row that is to give the content image back.
        config: layers and weights.
        across: as in `PerceptualLoss`.

    Raises:
        InputError: a style image has no features at a layer.
    """

    terms = GalleryTerms

    def __init__(
        self,
        features: VGGFeatures,
        styles: Sequence[Tensor | Mapping[str, Tensor] | None],
        config: LossConfig,
        *,
        across: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.features, self.config, self.across = features, config, across
        self.content_layers = config.content_layers
        self.style_layers = config.style_layers_for(features.arch)
        self.relative = True
        grams = [None if style is None else self._grams(style, row) for row, style in enumerate(styles)]
        if not any(grams):
            raise InputError("no style image among the rows; give at least one")
        some = next(g for g in grams if g is not None)
        for layer in self.style_layers:
            stack = torch.stack([torch.zeros_like(some[layer]) if g is None else g[layer] for g in grams])
            self.register_buffer(f"grams_{layer}", stack, persistent=False)
        has_style = torch.tensor([g is not None for g in grams], device=some[self.style_layers[0]].device)
        self.register_buffer("has_style", has_style.float(), persistent=False)

    @torch.no_grad()
    def _grams(self, style: Tensor | Mapping[str, Tensor], row: int) -> Mapping[str, Tensor]:
        if isinstance(style, Mapping):
            return style
        found = self.features(style if style.ndim == 4 else style.unsqueeze(0), self.style_layers)
        grams = {layer: gram_matrix(found[layer])[0] for layer in self.style_layers}
        for layer, gram in grams.items():
            if not float(gram.square().sum()) > 0:
                raise InputError(
                    f"the style image of row {row} has no features at {layer}: is it a single flat color?"
                )
        return grams

    def alone(self) -> GalleryLoss:
        """The same objective, sharing all tensors, for batches that only this process has."""
        other = copy.copy(self)
        other.across = None
        return other

    @torch.no_grad()
    def content_target(self, photos: Tensor, rows: Tensor) -> GalleryTarget:
        """What results are compared with.

        Args:
            photos: ``(B, 3, H, W)``, content images in [0, 1].
            rows: ``(B,)`` int64, the row of each.
        """
        return GalleryTarget(photos, self.features(photos, self.content_layers), rows)

    def forward(self, images: Tensor, target: GalleryTarget) -> GalleryTerms:
        """The weighted terms.

        Args:
            images: ``(B, 3, H, W)``, stylized with the rows of the target.
        """
        found = self.features(images, {*self.content_layers, *self.style_layers})
        contents = [self._content(found[k], target.content[k]) for k in self.content_layers]
        styles = torch.stack(
            [self._styles(found[k], k, target.rows, bounded=True) for k in self.style_layers]
        )
        has_style: Any = self.has_style
        c, here = self.config, has_style[target.rows]
        tv = total_variation(images) / images[0].numel()
        return GalleryTerms(
            c.content_weight * torch.stack(contents).mean(),
            c.style_weight * (styles.mean(dim=0) * here).mean(),
            c.style_weight * (self._identity(images, target.photos) * (1 - here)).mean(),
            c.tv_weight * tv,
            c.grid_weight * grid_energy(self._whole(grid_phases(images, GRID_PERIOD))),
            tv.new_zeros(()),
        )

    def style_distances(self, images: Tensor, rows: Tensor) -> Tensor:
        """Relative error of each image's Gram matrices to its style's, mean over the layers, ``(B,)``."""
        found = self.features(images, self.style_layers)
        return torch.stack([self._styles(found[k], k, rows) for k in self.style_layers]).mean(dim=0)

    def _styles(self, features: Tensor, layer: str, rows: Tensor, *, bounded: bool = False) -> Tensor:
        """The relative error of each image's Gram matrix, ``(B,)``."""
        target: Tensor = getattr(self, f"grams_{layer}")[rows]
        return gram_error(gram_matrix(features), target, bounded=bounded)

    def _content(self, features: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            loss = (wide(features) - wide(target)).square().mean()
            return loss / self._whole(wide(target).square().mean()).clamp_min(1e-12)

    def _identity(self, images: Tensor, photos: Tensor) -> Tensor:
        """The squared error of the pixels relative to their variance, ``(B,)``."""
        with torch.autocast(images.device.type, enabled=False):
            error = (wide(images) - wide(photos)).square().mean(dim=(1, 2, 3))
            return error / wide(photos).var(dim=(1, 2, 3)).clamp_min(1e-3)

    def _whole(self, mean: Tensor) -> Tensor:
        """A mean over this process's share as that over the whole batch; the gradient remains the share's."""
        if self.across is None:
            return mean
        return mean + (self.across(mean.detach()) - mean.detach())

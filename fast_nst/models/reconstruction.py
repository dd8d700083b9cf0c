"""The objectives of super-resolution: a feature loss or a pixel loss.

Johnson et al. 2016, sections 3.2 and 4.2. Images are ``(B, 3, H, W)``, RGB, nominally in [0, 1]; every loss
is computed in fp32 whatever autocast says.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.config import ReconstructionConfig
from fast_nst.models.losses import feature_loss, wide
from fast_nst.models.vgg import VGGFeatures

__all__ = ["ReconstructionLoss", "ReconstructionTerms", "local_grid_energy", "staggered"]

PICTURE = "picture"  # key of the image in a target, beside its features
CELLS = 5  # in each direction, over which a grid is averaged


class ReconstructionTerms(NamedTuple):
    """Weighted terms; their sum is what is minimized."""

    feature: Tensor
    pixel: Tensor
    grid: Tensor

    @property
    def total(self) -> Tensor:
        return self.feature + self.pixel + self.grid


def staggered(images: Tensor) -> Tensor:
    """Images cropped to start at even and odd rows and columns in turn.

    Args:
        images: ``(B, 3, H, W)``.

    Returns:
        ``(B, 3, H - 2, W - 2)``: the four alignments of two rows and columns, image after image.
    """
    height, width = (side - 2 for side in images.shape[-2:])
    starts = [(i // 2 % 2, i % 2) for i in range(len(images))]
    cut = [
        x[:, top : top + height, left : left + width] for x, (top, left) in zip(images, starts, strict=True)
    ]
    return torch.stack(cut).contiguous(memory_format=torch.channels_last)


def local_grid_energy(images: Tensor, period: int) -> Tensor:
    """Energy of what repeats from cell to cell, over a few neighboring cells.

    A pattern that is strong in one part of an image and inverted in another cancels in the mean over all
    cells and is visible all the same; so each neighborhood is measured by itself.

    Args:
        images: ``(B, C, H, W)``, of differences; what is beyond a multiple of the period is left out.
        period: side of a cell, pixels.

    Returns:
        A scalar: the sum over the pixels of a cell, mean over channels, images and places.
    """
    rows, columns = (side // period for side in images.shape[-2:])
    cells = F.pixel_unshuffle(wide(images)[..., : rows * period, : columns * period], period)
    means = F.avg_pool2d(cells, (min(CELLS, rows), min(CELLS, columns)), stride=2)
    phases = means.reshape(len(means), images.shape[1], period**2, *means.shape[-2:])
    energy: Tensor = (phases - phases.mean(dim=2, keepdim=True)).square().sum(dim=2).mean()
    return energy


class ReconstructionLoss(nn.Module):
    """The distance of upscaled images from the originals.

    Args:
        features: the loss network, for the feature loss; None: pixels alone are compared.
        config: layers and weights.
        factor: of the upscaling, the period of the grid that it can leave.
        across: where several processes share a batch, the mean of a tensor over them.

    The images of a batch are aligned differently with the pooling of the loss network, which takes pairs of
    rows and columns: a network that upscales in cells, always aligned with those pairs, would be rewarded
    for a pattern that fits this one alignment. Differs from Johnson et al. 2016, who report such a grid.

    The feature loss is relative: each layer's squared distance is divided by the mean square of the
    originals' own features over the batch, and the layers are averaged. Differs from Johnson et al. 2016, who
    do not divide; with one layer and Adam that is a matter of units.
    """

    terms = ReconstructionTerms

    def __init__(
        self,
        features: VGGFeatures | None,
        config: ReconstructionConfig,
        *,
        factor: int,
        across: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.features, self.config, self.factor, self.across = features, config, factor, across

    def alone(self) -> ReconstructionLoss:
        """The same objective, sharing all tensors, for batches that only this process has."""
        other = copy.copy(self)
        other.across = None
        return other

    @torch.no_grad()
    def content_target(self, photos: Tensor) -> dict[str, Tensor]:
        """The originals and, where they are compared, their features by layer.

        Args:
            photos: ``(B, 3, H, W)``, at high resolution.
        """
        if self.features is None:
            return {PICTURE: photos}
        return {**self.features(staggered(photos), self._layers), PICTURE: photos}

    def forward(self, images: Tensor, target: Mapping[str, Tensor]) -> ReconstructionTerms:
        """The weighted terms.

        Args:
            images: ``(B, 3, H, W)``, upscaled.
            target: what `content_target` returned for the originals.
        """
        pixel = feature_loss(images, target[PICTURE])
        if self.features is None:
            nothing = pixel.new_zeros(())
            return ReconstructionTerms(nothing, pixel, nothing)
        found = self.features(staggered(images), self._layers)
        feature = torch.stack([self._relative(found[k], target[k]) for k in self._layers]).mean()
        # Of the difference: images of patterns have a grid of their own, which should stay.
        error = wide(images) - wide(target[PICTURE])
        grid = local_grid_energy(error, self.factor)
        c = self.config
        return ReconstructionTerms(feature, c.pixel_weight * pixel, c.grid_weight * grid)

    @property
    def _layers(self) -> tuple[str, ...]:
        return self.config.feature_layers

    def _relative(self, features: Tensor, target: Tensor) -> Tensor:
        # A tiny floor, so that a patch without any feature (all black) divides by something.
        size = self._whole(wide(target).square().mean()).clamp_min(1e-12)
        return feature_loss(features, target) / size

    def _whole(self, mean: Tensor) -> Tensor:
        """A mean over this process's share as that over the whole batch; its gradient remains the share's."""
        if self.across is None:
            return mean
        return mean + (self.across(mean.detach()) - mean.detach())

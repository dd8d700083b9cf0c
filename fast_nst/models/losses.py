"""The perceptual objective of Johnson, Alahi and Fei-Fei 2016: content, style and total variation.

One object, `PerceptualLoss`, is minimized by the trainer over a network's weights and by the optimizer of
Gatys et al. over pixels. Images are ``(B, 3, H, W)``, RGB, nominally in [0, 1]; every loss is computed in
fp32 whatever autocast says, for sums over positions and squares of Gram entries overflow 16-bit floats.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fast_nst.config import LossConfig
from fast_nst.errors import InputError
from fast_nst.models.gram import gram_matrix
from fast_nst.models.vgg import VGGFeatures

__all__ = [
    "LossTerms",
    "PerceptualLoss",
    "feature_loss",
    "grid_energy",
    "grid_phases",
    "style_loss",
    "total_variation",
    "wide",
]


def feature_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Mean over the batch of :math:`\|\phi - \hat\phi\|_2^2 / (C H W)`.

    Args:
        features, target: ``(B, C, H, W)`` each.

    Returns:
        A scalar. Johnson et al. 2016, equation 2.
    """
    with torch.autocast(features.device.type, enabled=False):
        difference = wide(features) - wide(target)
        return difference.square().mean()


def style_loss(gram: Tensor, target: Tensor) -> Tensor:
    r"""Mean over the batch of :math:`\|G - \hat G\|_F^2`, a sum over the C x C entries.

    Args:
        gram: ``(B, C, C)``.
        target: ``(C, C)`` or ``(B, C, C)``.

    Returns:
        A scalar. Johnson et al. 2016, equation 4; their released code averages over the entries instead.
    """
    return (gram - target).square().sum(dim=(-2, -1)).mean()


def gram_error(gram: Tensor, target: Tensor, *, bounded: bool = False) -> Tensor:
    """Relative squared error of Gram matrices, ``(B,)``.

    Args:
        gram: ``(B, C, C)``.
        target: ``(C, C)`` or ``(B, C, C)``, which it is relative to.
        bounded: relative to the mean of both instead, constant to the gradient: at most 2.
    """
    error = (gram - target).square().sum(dim=(-2, -1))
    norm = target.square().sum(dim=(-2, -1)).clamp_min(torch.finfo(torch.float32).tiny)
    if bounded:
        norm = (norm + gram.detach().square().sum(dim=(-2, -1))) / 2
    return error / norm


def total_variation(images: Tensor) -> Tensor:
    r"""Mean over the batch of :math:`\sum (x_{i,j+1}-x_{ij})^2 + (x_{i+1,j}-x_{ij})^2`.

    Args:
        images: ``(B, C, H, W)``.

    Returns:
        A scalar: the sum over channels and positions, as in Mahendran and Vedaldi 2015 (equation 3, beta 2),
        whom Johnson et al. 2016 follow.
    """
    with torch.autocast(images.device.type, enabled=False):
        x = wide(images)
        across = (x[..., :, 1:] - x[..., :, :-1]).square().sum(dim=(-3, -2, -1))
        down = (x[..., 1:, :] - x[..., :-1, :]).square().sum(dim=(-3, -2, -1))
        return (across + down).mean()


def grid_phases(images: Tensor, period: int = 4) -> Tensor:
    r"""The mean over all period x period cells of the images, position by position.

    .. math:: \bar x_{cuv} = \text{mean of } x_{bc,\,pi+u,\,pj+v} \text{ over } b, i, j

    Args:
        images: ``(B, C, H, W)``; rows and columns beyond a multiple of the period are left out.

    Returns:
        ``(C, period, period)``. The mean is over the batch too: what content images happen to have at
        these positions averages out, what a network adds to each does not.
    """
    b, c, h, w = images.shape
    rows, columns = h // period, w // period
    x = wide(images)[..., : rows * period, : columns * period]
    return x.reshape(b, c, rows, period, columns, period).mean(dim=(0, 2, 4))


def grid_energy(phases: Tensor) -> Tensor:
    r"""Energy of what repeats exactly every few pixels: the grid that upsampling can leave.

    .. math:: \frac{1}{C} \sum_{c,u,v} (\bar x_{cuv} - \bar x_c)^2

    Args:
        phases: ``(C, p, p)``, of `grid_phases`; a period of 4 also covers 2.

    Returns:
        A scalar, 0 for no grid. Not in the paper.
    """
    return (phases - phases.mean(dim=(1, 2), keepdim=True)).square().sum(dim=(1, 2)).mean()


def wide(tensor: Tensor) -> Tensor:
    """The tensor in fp32; float64 stays as it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


class LossTerms(NamedTuple):
    """Weighted terms; their sum is what is minimized."""

    content: Tensor
    style: Tensor
    tv: Tensor
    grid: Tensor
    temporal: Tensor
    """0 unless a network is trained for video; added by the trainer, since it needs two frames"""
    border: Tensor
    """0 for a single image; added by the trainer, since it needs the network"""

    @property
    def total(self) -> Tensor:
        return self.content + self.style + self.tv + self.grid + self.temporal + self.border


class PerceptualLoss(nn.Module):
    r"""Content, style and total-variation terms of stylized images.

    Args:
        features: the loss network, built for at least the layers of ``config``.
        style: ``(1, 3, H, W)`` or ``(3, H, W)``, the style image, RGB in [0, 1].
        config: layers, weights and scaling (``objective``):

            ``bold``, ``dimensionless``: each layer's style term is divided by :math:`\|G_s\|_F^2` and the
            sum by the number of layers; each content term is divided by the mean square of the content
            images' own features, over the batch, and averaged likewise; total variation is averaged
            over the C H W values. Style and content are then relative errors, so the same weights suit any
            style image. Differs from Johnson et al. 2016.

            ``paper``: equations 2 to 4, summed over layers, and the sum of squares for total variation.
        across: where several processes share a batch, the mean of a tensor over them; what is a ratio or a
            square of batch means is then that of the whole batch.
    """

    terms = LossTerms

    def __init__(
        self,
        features: VGGFeatures,
        style: Tensor,
        config: LossConfig,
        *,
        across: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.across = across
        self.config = config
        self.content_layers = config.content_layers
        self.style_layers = config.style_layers_for(features.arch)
        self.relative = config.preset.relative
        batch = style if style.ndim == 4 else style.unsqueeze(0)
        with torch.no_grad():
            found = features(batch, self.style_layers)
            for layer in self.style_layers:
                gram = gram_matrix(found[layer])[0]
                self.register_buffer(f"gram_{layer}", gram, persistent=False)
                if not float(gram.square().sum()) > 0:
                    raise InputError(
                        f"the style image has no features at {layer}: is it a single flat color?"
                    )

    def style_gram(self, layer: str) -> Tensor:
        """The style image's Gram matrix at a layer, ``(C, C)``."""
        gram: Tensor = getattr(self, f"gram_{layer}")
        return gram

    def for_style(self, style: Tensor) -> PerceptualLoss:
        """The same objective for another style image, as the first; the loss network is shared."""
        return PerceptualLoss(self.features, style, self.config, across=self.across)

    def alone(self) -> PerceptualLoss:
        """The same objective, sharing all tensors, for batches that only this process has."""
        other = copy.copy(self)
        other.across = None
        return other

    @torch.no_grad()
    def content_target(self, photos: Tensor) -> dict[str, Tensor]:
        """The content images' features by layer, only as deep as the content layers need.

        Args:
            photos: ``(B, 3, H, W)``.
        """
        found: dict[str, Tensor] = self.features(photos, self.content_layers)
        return found

    def forward(self, images: Tensor, target: Mapping[str, Tensor]) -> LossTerms:
        """The weighted terms.

        Args:
            images: ``(B, 3, H, W)``, stylized.
            target: what `content_target` returned for their content images.
        """
        found = self.features(images, {*self.content_layers, *self.style_layers})
        contents = torch.stack([self._content(found[k], target[k]) for k in self.content_layers])
        styles = torch.stack([self._style(found[k], k) for k in self.style_layers])
        tv = total_variation(images)
        # The paper sums over the layers; the relative form is their mean, comparable between layer sets.
        content, style = (t.mean() if self.relative else t.sum() for t in (contents, styles))
        if self.relative:
            tv = tv / images[0].numel()
        c = self.config
        return LossTerms(
            c.content_weight * content,
            c.style_weight * style,
            c.tv_weight * tv,
            c.grid_weight * grid_energy(self._whole(grid_phases(images))),
            tv.new_zeros(()),
            tv.new_zeros(()),
        )

    def _content(self, features: Tensor, target: Tensor) -> Tensor:
        loss = feature_loss(features, target)
        if not self.relative:
            return loss
        # A tiny floor, so that a content image without any feature (all black) divides by something.
        return loss / self._whole(wide(target).square().mean()).clamp_min(1e-12)

    def _whole(self, mean: Tensor) -> Tensor:
        """A mean over this process's share as that over the whole batch; its gradient remains the share's.

        Gradients are averaged over the processes afterwards, which completes them.
        """
        if self.across is None:
            return mean
        return mean + (self.across(mean.detach()) - mean.detach())

    def _style(self, features: Tensor, layer: str) -> Tensor:
        target = self.style_gram(layer)
        loss = style_loss(gram_matrix(features), target)
        return loss / target.square().sum() if self.relative else loss

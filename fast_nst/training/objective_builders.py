"""The objectives of training runs, built from their configs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fast_nst.config import GalleryTrainConfig, LossConfig, RunConfig, TrainConfig, UpscaleTrainConfig
from fast_nst.models.gallery_loss import GalleryLoss
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.reconstruction import ReconstructionLoss
from fast_nst.models.vgg import VGGFeatures, load_vgg
from fast_nst.training.process_group import ProcessGroup

__all__ = ["build_gallery_objective", "build_objective", "build_reconstruction"]


def build_objective(
    config: TrainConfig, style: Tensor, device: torch.device, group: ProcessGroup
) -> PerceptualLoss:
    """The perceptual objective of a style.

    Args:
        style: ``(3, H, W)``, RGB in [0, 1].
        group: the processes that share each batch.
    """
    across = group.mean if group.size > 1 else None
    return PerceptualLoss(
        _features(config, config.loss, device), style.to(device), config.loss, across=across
    )


def build_gallery_objective(
    config: GalleryTrainConfig, images: Sequence[Tensor | None], device: torch.device, group: ProcessGroup
) -> GalleryLoss:
    """The perceptual objective of many styles.

    Args:
        images: as `load_style_images` returns them.

    Raises:
        InputError: a style image without features.
    """
    images = [None if image is None else image.to(device) for image in images]
    across = group.mean if group.size > 1 else None
    return GalleryLoss(_features(config, config.loss, device), images, config.loss, across=across)


def _features(config: RunConfig, loss: LossConfig, device: torch.device) -> VGGFeatures:
    """The loss network, up to the layers of the objective."""
    layers = (*loss.content_layers, *loss.style_layers_for(config.loss_network))
    return _loaded(config, layers, device)


def _loaded(config: RunConfig, layers: Sequence[str], device: torch.device) -> VGGFeatures:
    features = load_vgg(config.loss_network, layers, file=config.vgg_weights, weights=config.vgg_release)
    return features.to(device).to(memory_format=torch.channels_last)


def build_reconstruction(
    config: UpscaleTrainConfig, device: torch.device, group: ProcessGroup
) -> ReconstructionLoss:
    """The objective of super-resolution; to compare pixels, no loss network is loaded.

    Args:
        group: the processes that share each batch.
    """
    loss = config.objective
    features = _loaded(config, loss.feature_layers, device) if config.loss == "feature" else None
    across = group.mean if group.size > 1 else None
    return ReconstructionLoss(features, loss, factor=config.network.factor, across=across)

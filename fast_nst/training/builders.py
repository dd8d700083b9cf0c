"""What a run is put together from, as its `TrainConfig` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.config import RunConfig, TrainConfig, UpscaleTrainConfig
from fast_nst.errors import InputError
from fast_nst.models.checkpoint import Network, fresh_network, load_trained
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.reconstruction import ReconstructionLoss
from fast_nst.models.vgg import load_vgg
from fast_nst.serialization import to_dict
from fast_nst.system.device import has_compiler
from fast_nst.training.data.coco import find_coco
from fast_nst.training.data.download import Progress
from fast_nst.training.data.loader import PhotoBatches
from fast_nst.training.data.photos import PhotoSource, hold_out, open_photos
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.schedule import stage_at

__all__ = [
    "build_batches",
    "build_network",
    "build_objective",
    "build_reconstruction",
    "choose_photos",
    "compiles",
    "recipe",
]

# torch.compile takes about a minute on a CPU and saves about a sixth of each step.
COMPILE_PAYS_AFTER = 500


def compiles(config: RunConfig, device: torch.device) -> bool:
    """Whether a new run is to be compiled; ``auto`` is yes where there is a compiler and it pays."""
    if config.compile != "auto":
        return config.compile == "on"
    return has_compiler(device) and config.steps >= COMPILE_PAYS_AFTER


def choose_photos(
    config: RunConfig, group: ProcessGroup, on_download: Progress | None
) -> tuple[PhotoSource, PhotoSource | None]:
    """The photographs to train on, and those to measure with, if any.

    Raises:
        InputError: there are none, or several processes are to download them.
    """
    c = config
    if c.dataset == "coco" and c.download and group.size > 1 and find_coco() is None:
        raise InputError("--download is for one process: start it once without torchrun, or fetch COCO first")
    photos = open_photos(c.dataset, max_images=c.max_images, download=c.download, progress=on_download)
    if c.validation:
        return photos, open_photos(c.validation, max_images=c.validation_images)
    return hold_out(photos, c.validation_images)


def build_network(config: RunConfig, device: torch.device) -> Network:
    """The network to be trained: fresh weights of the seed, or those of another one.

    Raises:
        InputError: ``warm_start`` is no checkpoint, or one of another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = fresh_network(config.network)
    if config.warm_start is not None:
        trained = load_trained(config.warm_start, network.config)
        if trained.config != network.config:
            raise InputError(f"--warm-start {config.warm_start} is another network: {trained.config}")
        network.load_state_dict(trained.state_dict())
    return network.to(device).to(memory_format=torch.channels_last).train()


def build_objective(
    config: TrainConfig, painting: Tensor, device: torch.device, group: ProcessGroup
) -> PerceptualLoss:
    """What is minimized.

    Args:
        painting: ``(3, H, W)``, RGB in [0, 1].
        ranks: the processes that share each batch.
    """
    layers = (*config.loss.content_layers, *config.loss.style_layers_for(config.loss_network))
    features = load_vgg(config.loss_network, layers, file=config.vgg_weights, weights=config.vgg_release)
    features = features.to(device).to(memory_format=torch.channels_last)
    across = group.mean if group.size > 1 else None
    return PerceptualLoss(features, painting.to(device), config.loss, across=across)


def build_reconstruction(
    config: UpscaleTrainConfig, device: torch.device, group: ProcessGroup
) -> ReconstructionLoss:
    """What is minimized where pictures are enlarged; to compare pixels, no loss network is loaded.

    Args:
        ranks: the processes that share each batch.
    """
    c, features = config, None
    if c.loss == "feature":
        layers = c.objective.feature_layers
        features = load_vgg(c.loss_network, layers, file=c.vgg_weights, weights=c.vgg_release)
        features = features.to(device).to(memory_format=torch.channels_last)
    across = group.mean if group.size > 1 else None
    return ReconstructionLoss(features, c.objective, factor=c.network.factor, across=across)


def build_batches(
    config: RunConfig,
    photos: PhotoSource,
    group: ProcessGroup,
    step: int,
    bad: Mapping[str, str],
    *,
    photo_size: int,
    given: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> PhotoBatches:
    """This process's share of the batches from a step on, as large as its stage wants them.

    Args:
        photo_size: short side of the photographs that crops of this stage are cut from, pixels.
        given: makes what the network gets of a crop; None: it gets the crop.
    """
    c = config
    return PhotoBatches(
        photos,
        batch_size=c.batch_size,
        image_size=stage_at(c, step).image_size,
        photo_size=photo_size,
        given=given,
        seed=c.seed,
        start_step=step,
        workers=c.workers,
        rank=group.rank,
        world_size=group.size,
        max_bad=c.max_bad,
        bad=bad,
    )


def recipe(config: RunConfig) -> dict[str, Any]:
    """What a checkpoint says of how it was made: every setting that matters, and nobody's folders."""
    settings = to_dict(config)
    for name in ("out", "run", "resume", "overwrite", "workers", "licence", "download"):
        settings.pop(name, None)
    for name in ("style", "dataset", "vgg_weights", "warm_start", "validation"):
        if name in settings:
            settings[name] = Path(settings[name]).name
    licence = {} if config.licence is None else {"licence": config.licence}
    return licence | {"recipe": settings}

"""Everything a run consists of, built from its config in one place: `build_run`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fast_nst.config import (
    AUTO,
    NONE,
    GalleryNetConfig,
    GalleryTrainConfig,
    RunConfig,
    TaskConfig,
    TrainConfig,
    UpscaleTrainConfig,
)
from fast_nst.errors import InputError
from fast_nst.io.images import load_image, to_uint8
from fast_nst.models.checkpoint import Network, fresh_network, load_trained
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.model_files import file_digest
from fast_nst.models.vgg import weights_digest
from fast_nst.system.device import choose_device, has_compiler
from fast_nst.training.compile_trial import CompileTrial
from fast_nst.training.data.coco import find_coco
from fast_nst.training.data.download import ProgressCallback
from fast_nst.training.data.photos import PhotoSource, hold_out, open_photos
from fast_nst.training.data.stream import BatchStream
from fast_nst.training.data.styles import read_styles, styles_digest
from fast_nst.training.gallery import extended_gallery, load_style_images, warm_gallery
from fast_nst.training.objective import Objective, as_objective
from fast_nst.training.objective_builders import (
    build_gallery_objective,
    build_objective,
    build_reconstruction,
)
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.step import TrainingStep
from fast_nst.training.step_form import StepForm, choose_step_form, using_threads
from fast_nst.training.tasks import GalleryTask, StyleTask, Task, UpscaleTask
from fast_nst.training.validation import GalleryValidation, Validation
from fast_nst.training.warm_start import bundled_gallery_of, nearest_style

__all__ = ["Run", "build_network", "build_run"]

# torch.compile takes about a minute on a CPU and saves about a sixth of each step.
COMPILE_PAYS_AFTER = 500


@dataclass(frozen=True)
class Run:
    """The objects of one training run."""

    device: torch.device
    form: StepForm
    task: Task
    photos: PhotoSource
    """what is trained on"""
    validation_photos: PhotoSource | None
    batches: BatchStream
    training_step: TrainingStep
    validation: Validation | None


def build_run(
    config: TaskConfig,
    group: ProcessGroup,
    *,
    objective: Any = None,
    on_download: ProgressCallback | None = None,
    saved_form: Mapping[str, str] | None = None,
) -> Run:
    """Build all objects of a run.

    Args:
        saved_form: see `choose_step_form`.
        objective: the caller's own, see `objective.as_objective`; None: the one of the config.

    Raises:
        InputError: a setting, file or folder that cannot be used.
    """
    device = choose_device(group.device(config.device))
    task = build_task(config, device, group, objective)
    photos, validation_photos = choose_photos(config, group, on_download)
    network = _first_network(config, task, device)
    form = choose_step_form(config, network, task.objective, device=device, group=group, saved=saved_form)
    for part in (network, task.objective):
        if isinstance(part, nn.Module):
            part.to(memory_format=form.memory_format)
    with using_threads(form.threads):
        trial = compile_trial(config, device, form.precision, group)
    training_step = TrainingStep(
        network,
        task.objective,
        averaging=config.averaging,
        temporal=task.temporal,
        border=task.border,
        seed=config.seed,
        rows=task.rows,
        device=device,
        precision=form.precision,
        memory_format=form.memory_format,
        compiled=compiles(config, device) and (trial is None or trial.pays),
        trial=trial,
        group=group,
    )
    validation = build_validation(config, task, validation_photos, device, form.precision)
    batches = BatchStream(
        config,
        photos,
        group,
        photo_size=task.photo_size,
        network_input=task.network_input,
        flat_share=task.flat_share,
        zoom=task.zoom,
    )
    return Run(device, form, task, photos, validation_photos, batches, training_step, validation)


def build_validation(
    config: TaskConfig, task: Task, photos: PhotoSource | None, device: torch.device, precision: str
) -> Validation | None:
    """The validation of a run; None where there are no photographs for it."""
    if photos is None:
        return None
    kind: Callable[..., Validation] = Validation
    if isinstance(task, GalleryTask):
        kind = functools.partial(GalleryValidation, names=task.names)
    return kind(
        photos,
        task.objective,
        image_size=config.image_size,
        device=device,
        precision=precision,
        network_input=task.network_input,
        score=task.score,
    )


def build_task(config: TaskConfig, device: torch.device, group: ProcessGroup, objective: Any = None) -> Task:
    """What the run learns.

    Raises:
        InputError: a style image or weights that cannot be read.
    """
    own = None if objective is None else as_objective(objective)
    if isinstance(config, UpscaleTrainConfig):
        upscaling = own or build_reconstruction(config, device, group)
        return UpscaleTask(config, upscaling, _origin(upscaling))
    if isinstance(config, GalleryTrainConfig):
        styles = read_styles(config.styles)
        images = load_style_images(config, styles)
        many = own or build_gallery_objective(config, images, device, group)
        origin = {"style_sha256": styles_digest(styles)} | _origin(many)
        return GalleryTask(config, many, origin, styles, images, rank=group.rank, processes=group.size)
    style = load_image(config.style, short_side=config.style_size, max_pixels=config.max_pixels)
    # Now, and not at the end: the file may have been moved by then.
    origin = {"style_sha256": file_digest(config.style)}
    perceptual = own or build_objective(config, style, device, group)
    first: dict[int, Objective] = {}
    if own is None and config.start_size is not None:
        assert isinstance(perceptual, PerceptualLoss)
        reduced = load_image(config.style, short_side=config.first_style_size, max_pixels=config.max_pixels)
        first[config.start_size] = perceptual.for_style(reduced.to(device))
    shown, origin = to_uint8(style), origin | _origin(perceptual)
    return StyleTask(config, perceptual, origin, shown, stage_objectives=first)


def _origin(objective: Any) -> dict[str, str]:
    """The hash of the loss network's weights, if there is one."""
    features = getattr(objective, "features", None)
    return {} if features is None else {"vgg_sha256": weights_digest(features)}


def compiles(config: RunConfig, device: torch.device) -> bool:
    """Whether a new run is to be compiled; ``auto`` is yes where there is a compiler and it pays."""
    if config.compile != "auto":
        return config.compile == "on"
    return has_compiler(device) and config.steps >= COMPILE_PAYS_AFTER


def compile_trial(
    config: RunConfig, device: torch.device, precision: str, group: ProcessGroup
) -> CompileTrial | None:
    """With ``--compile auto`` on a processor, what finds out whether compiled steps are faster.

    Several processes would have to agree, and on GPUs nothing else is near.
    """
    if config.compile != "auto" or device.type != "cpu" or group.size > 1:
        return None
    return CompileTrial(config, precision)


def choose_photos(
    config: RunConfig, group: ProcessGroup, on_download: ProgressCallback | None
) -> tuple[PhotoSource, PhotoSource | None]:
    """The training set and the validation set, if any.

    Raises:
        InputError: there are no photographs, or several processes are to download them.
    """
    c = config
    if c.dataset == "coco" and c.download and group.size > 1 and find_coco() is None:
        raise InputError("--download is for one process: start it once without torchrun, or fetch COCO first")
    photos = open_photos(c.dataset, max_images=c.max_images, download=c.download, progress=on_download)
    if c.validation:
        return photos, open_photos(c.validation, max_images=c.validation_images)
    return hold_out(photos, c.validation_images)


def _first_network(config: TaskConfig, task: Task, device: torch.device) -> Network:
    """The network as training begins."""
    start = _warm_start(config, task.objective, device)
    if config.warm_start == AUTO and start is not None:
        task.details["warm_start"] = str(start)
    if isinstance(config, GalleryTrainConfig) and isinstance(task, GalleryTask):
        if config.extend is not None:
            return extended_gallery(config.extend, start, task).to(device)
        if start is not None:
            return warm_gallery(start, task, config).to(device)
    network = build_network(config, device, start, rows=len(task.details.get("rows", ())))
    if isinstance(network, GalleryNet) and isinstance(task, GalleryTask):
        network.start_with_colors(task.images)
    return network


def _warm_start(config: TaskConfig, objective: Any, device: torch.device) -> Path | None:
    """The checkpoint that the weights come from; None: random weights."""
    if config.warm_start != AUTO:
        return None if config.warm_start == NONE else config.warm_start
    if device.type != "cpu":
        return None
    if isinstance(config, GalleryTrainConfig):
        name = bundled_gallery_of(config.network) if config.extend is None else None
        return None if name is None else Path(name)
    if not isinstance(config, TrainConfig) or not isinstance(objective, PerceptualLoss):
        return None
    name = nearest_style(objective, config.network, config.style_size)
    return None if name is None else Path(name)


def build_network(
    config: RunConfig, device: torch.device, start: Path | None = None, *, rows: int = 0
) -> Network:
    """The network to be trained: fresh weights of the seed, or those of another one.

    Args:
        start: a checkpoint, a file or a bundled name, whose weights it gets.
        rows: of a network of many styles.

    Raises:
        InputError: ``start`` is no checkpoint, or one of another network.
    """
    shape = config.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = fresh_network(replace(shape, rows=rows) if isinstance(shape, GalleryNetConfig) else shape)
    if start is not None:
        assert not isinstance(shape, GalleryNetConfig)  # `warm_gallery` begins with a trained gallery
        trained = load_trained(start, shape)
        if trained.config != network.config:
            raise InputError(f"--warm-start {start} is another network: {trained.config}")
        network.load_state_dict(trained.state_dict())
    return network.to(device).train()

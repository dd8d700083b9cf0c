"""Experiments with the optimizer: one option is varied, the others are fixed, and claims are checked.

Three are from Wang's analysis of the algorithm (starting image, content layer, style layers), one was left
open there (total variation). The weights are Wang's: losses as means, 1e3 for content, 1e-2 for style.
Runs are stored as they finish; an interrupted study resumes with the missing ones, and studies share runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fast_nst.baseline.image_optimizer import PictureOptimizer
from fast_nst.baseline.initialization import fit_longer
from fast_nst.baseline.objective import load_features, make_objective
from fast_nst.baseline.result_store import ProgressReport, ResultStore
from fast_nst.config import LossConfig
from fast_nst.config.baseline import StudyConfig
from fast_nst.config.optimize import GATYS_PRESETS, GatysConfig
from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL, load_image, save_image
from fast_nst.models.loss_precision import loss_precision
from fast_nst.models.losses import PerceptualLoss, total_variation
from fast_nst.models.vgg import layer_names
from fast_nst.system.device import choose_device

__all__ = ["STUDIES", "Outcome", "Study", "Variant", "variants_of"]

STUDIES = ("start", "content", "style", "tv")
LAST_OF_BLOCKS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
# One metric for all results, whatever objective they were optimized with: relative errors, as in training.
METRIC = LossConfig(content_layers=("relu4_2",), content_weight=1, style_weight=1, tv_weight=1, grid_weight=0)


class Variant(NamedTuple):
    """One run of a study."""

    name: str
    """of the files in the result store"""
    title: str
    """shown in the report"""
    config: GatysConfig
    tv: bool = False
    """with total variation; its weight depends on the content image"""


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    variant: Variant
    content: list[float]
    """weighted terms by iteration"""
    style: list[float]
    total: list[float]
    content_distance: float
    """to the content image at relu4_2, relative to its mean square"""
    style_distance: float
    """to the Gram matrices of the style image, relative to their mean square"""
    noise: float
    """total variation of the result: mean squared difference of neighbors, times 1e3"""
    picture: Tensor

    @property
    def name(self) -> str:
        return self.variant.name


def variants_of(study: str, base: GatysConfig) -> list[Variant]:
    """The runs of a study.

    Args:
        study: one of `STUDIES`.
        base: the fixed options.

    Raises:
        InputError: an unknown study.
    """
    if study not in STUDIES:
        raise InputError(f"unknown study {study!r}; known: {', '.join(STUDIES)}")
    if study == "tv":
        kinds = [v for kind in STUDIES[:-1] for v in variants_of(kind, base)]
        off = list({variant.name: variant for variant in kinds}.values())
        return [
            v
            for run in off
            for v in (run, run._replace(name=f"{run.name}_tv", title=f"{run.title}, with TV", tv=True))
        ]
    content = replace(base, start="content")
    noise = Variant("noise", "start: noise", replace(base, start="noise"))
    if study == "start":
        return [noise, Variant("content", "start: content image", content)]
    if study == "content":
        one = ("conv2_2", "conv3_3", "conv4_4", "conv5_4")
        block = ("conv5_1", "conv5_2", "conv5_3", "conv5_4", "pool5")
        found = [
            Variant(f"content_{layer}", f"content: {layer}", replace(content, content_layers=(layer,)))
            for layer in one
        ]
        every_5 = replace(content, content_layers=block)
        return [*found, Variant("content_block5_pool5", "content: conv5_1 to pool5", every_5)]
    every = tuple(name for name in layer_names(base.loss_network) if name.startswith("conv"))
    deep = replace(content, content_layers=GATYS_PRESETS["wang-candidate-1"].content_layers)
    sets = {
        "style_first_of_blocks": ("first layer of each block", base.style_layers),
        "style_last_of_blocks": ("last layer of each block", LAST_OF_BLOCKS),
        "style_all": ("all 16 layers", every),
        "style_candidate_1": ("candidate 1", GATYS_PRESETS["wang-candidate-1"].style_layers),
        "style_candidate_2": ("candidate 2", GATYS_PRESETS["wang-candidate-2"].style_layers),
    }
    runs = [
        Variant(name, f"style: {title}", replace(deep, style_layers=layers))
        for name, (title, layers) in sets.items()
    ]
    return [noise, *runs]


class Study:
    """Runs one study; iterate over it to run, each item is one finished run.

    Args:
        name: one of `STUDIES`.
        content_image, style_image: ``(3, H, W)``, RGB, [0, 1].
        config: size, iterations, folder.

    Attributes:
        outcomes: results of the runs so far, in order.

    Raises:
        InputError: an unknown study, a network that is not VGG-19, or a folder with other results.
    """

    def __init__(self, name: str, content_image: Tensor, style_image: Tensor, config: StudyConfig) -> None:
        if config.loss_network != "vgg19":
            raise InputError(f"the studies use layers of vgg19, got --loss-network {config.loss_network}")
        self.name, self.config = name, config
        base = replace(
            GATYS_PRESETS["wang"],
            optimizer=config.optimizer,
            steps=config.steps,
            size=config.size,
            seed=config.seed,
            vgg_weights=config.vgg_weights,
            device=config.device,
            precision=config.precision,
            report_every=1,
        )
        self.variants = variants_of(name, base)
        self.content_image, self.style_image = (
            fit_longer(image, config.size) for image in (content_image, style_image)
        )
        settings = {
            "content_image": _digest(self.content_image),
            "style_image": _digest(self.style_image),
            "size": config.size,
            "steps": config.steps,
            "optimizer": config.optimizer,
            "tv_share": config.tv_share,
            "seed": config.seed,
            "precision": loss_precision(config.precision, choose_device(config.device), config.loss_network),
        }
        self.store = ResultStore(config.out / "runs", settings, overwrite=config.overwrite)
        layers = [
            layer for v in self.variants for layer in (*v.config.content_layers, *v.config.style_layers)
        ]
        layers += [*METRIC.content_layers, *METRIC.style_layers_for("vgg19")]
        self._features = load_features(base, (), layers).to(choose_device(config.device))
        self._metric = PerceptualLoss(self._features, self._moved(self.style_image), METRIC)
        self.outcomes: list[Outcome] = []

    def __iter__(self) -> Iterator[ProgressReport]:
        for done, variant in enumerate(self.variants, start=1):
            outcome = self._outcome(variant)
            self.outcomes.append(outcome)
            yield ProgressReport(done, len(self.variants), f"{variant.title}: {outcome.total[-1]:.4g}")

    def _moved(self, image: Tensor) -> Tensor:
        return image.to(next(self._features.parameters()).device)

    def _outcome(self, variant: Variant) -> Outcome:
        record = self.store.get(variant.name)
        if record is None:
            record = self._run(variant)
            self.store.put(variant.name, record)
        return Outcome(variant, **record, picture=load_image(self.store.picture(variant.name)))

    def _run(self, variant: Variant) -> dict[str, Any]:
        config = variant.config
        if variant.tv:
            config = replace(config, tv_weight=self._tv_weight(config))
        run = PictureOptimizer(self.content_image, self.style_image, config, features=self._features)
        reports = list(run)
        picture = run.picture()
        save_image(self.store.picture(variant.name), picture)
        with torch.no_grad():
            target = self._metric.content_target(self._moved(self.content_image)[None])
            terms = self._metric(self._moved(picture)[None], target)
        return {
            "content": [report.content for report in reports],
            "style": [report.style for report in reports],
            "total": [report.total for report in reports],
            "content_distance": terms.content.item(),
            "style_distance": terms.style.item(),
            "noise": 1e3 * terms.tv.item(),
        }

    @torch.no_grad()
    def _tv_weight(self, config: GatysConfig) -> float:
        """The weight at which total variation is the configured share of the content image's own loss."""
        content = self._moved(self.content_image)[None]
        objective = make_objective(
            self._features, self._moved(self.style_image), replace(config, tv_weight=0)
        )
        alone = float(objective(content, objective.content_target(content)).total)
        unit = MAX_LEVEL if config.pixels == "levels" else 1
        return self.config.tv_share * alone / max(unit**2 * float(total_variation(content)), 1e-12)


def _digest(image: Tensor) -> str:
    return sha256(image.numpy().tobytes()).hexdigest()[:16]

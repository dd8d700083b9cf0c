"""Experiments with the optimizer: one choice is varied, the rest held, and claims are checked.

Three of Wang's analysis of the algorithm (where to start, which content layer, which style layers) and the
one left open there (total variation), with its weights: losses as means, 1e3 for content, 1e-2 for style.
Each run is kept when it is done; an interrupted study goes on with what is missing, and studies share runs.
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
from fast_nst.models.losses import PerceptualLoss, total_variation
from fast_nst.models.vgg import layer_names
from fast_nst.system.device import choose_device, choose_precision

__all__ = ["STUDIES", "Outcome", "Study", "Variant", "variants_of"]

STUDIES = ("start", "content", "style", "tv")
LAST_OF_BLOCKS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
# What every result is measured by, whatever it was made with: relative errors, as in training.
YARDSTICK = LossConfig(
    content_layers=("relu4_2",), content_weight=1, style_weight=1, tv_weight=1, grid_weight=0
)


class Variant(NamedTuple):
    """One run of a study."""

    name: str
    config: GatysConfig
    tv: bool = False
    """with total variation; its weight depends on the photograph"""


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    variant: Variant
    content: list[float]
    """weighted terms by iteration"""
    style: list[float]
    total: list[float]
    content_distance: float
    """to the photograph at relu4_2, a share of its mean square"""
    style_distance: float
    """to the painting's Gram matrices, a share of their mean square"""
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
        base: what is held.

    Raises:
        InputError: an unknown study.
    """
    if study not in STUDIES:
        raise InputError(f"unknown study {study!r}; there are {', '.join(STUDIES)}")
    if study == "tv":
        kinds = [v for kind in STUDIES[:-1] for v in variants_of(kind, base)]
        off = list({variant.name: variant for variant in kinds}.values())
        return [v for off_run in off for v in (off_run, off_run._replace(name=f"{off_run.name}_tv", tv=True))]
    photo = replace(base, start="photo")
    if study == "start":
        return [Variant("noise", replace(base, start="noise")), Variant("photo", photo)]
    if study == "content":
        one = ("conv2_2", "conv3_3", "conv4_4", "conv5_4")
        block = ("conv5_1", "conv5_2", "conv5_3", "conv5_4", "pool5")
        found = [Variant(f"content_{layer}", replace(photo, content_layers=(layer,))) for layer in one]
        return [*found, Variant("content_block5_pool5", replace(photo, content_layers=block))]
    every = tuple(name for name in layer_names(base.loss_network) if name.startswith("conv"))
    deep = replace(photo, content_layers=GATYS_PRESETS["wang-candidate-1"].content_layers)
    sets = {
        "style_first_of_blocks": base.style_layers,
        "style_last_of_blocks": LAST_OF_BLOCKS,
        "style_all": every,
        "style_candidate_1": GATYS_PRESETS["wang-candidate-1"].style_layers,
        "style_candidate_2": GATYS_PRESETS["wang-candidate-2"].style_layers,
    }
    runs = [Variant(name, replace(deep, style_layers=layers)) for name, layers in sets.items()]
    return [Variant("noise", replace(base, start="noise")), *runs]


class Study:
    """Runs one study; iterate over it, each item one run done.

    Args:
        name: one of `STUDIES`.
        photo, painting: ``(3, H, W)``, RGB, [0, 1].
        config: size, iterations, folder.

    Attributes:
        outcomes: of the runs so far, in order.

    Raises:
        InputError: an unknown study, a network that is not VGG-19, or a folder with other results.
    """

    def __init__(self, name: str, photo: Tensor, painting: Tensor, config: StudyConfig) -> None:
        if config.loss_network != "vgg19":
            raise InputError(f"the studies name layers of vgg19, got --loss-network {config.loss_network}")
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
        self.photo, self.painting = fit_longer(photo, config.size), fit_longer(painting, config.size)
        settings = {
            "photo": _digest(self.photo),
            "painting": _digest(self.painting),
            "size": config.size,
            "steps": config.steps,
            "optimizer": config.optimizer,
            "tv_share": config.tv_share,
            "seed": config.seed,
            "precision": choose_precision(config.precision, choose_device(config.device)),
        }
        self.store = ResultStore(config.out / "runs", settings, overwrite=config.overwrite)
        layers = [
            layer for v in self.variants for layer in (*v.config.content_layers, *v.config.style_layers)
        ]
        layers += [*YARDSTICK.content_layers, *YARDSTICK.style_layers_for("vgg19")]
        self._features = load_features(base, (), layers).to(choose_device(config.device))
        self._yardstick = PerceptualLoss(self._features, self._moved(self.painting), YARDSTICK)
        self.outcomes: list[Outcome] = []

    def __iter__(self) -> Iterator[ProgressReport]:
        for done, variant in enumerate(self.variants, start=1):
            outcome = self._outcome(variant)
            self.outcomes.append(outcome)
            yield ProgressReport(done, len(self.variants), f"{variant.name}: {outcome.total[-1]:.4g}")

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
        run = PictureOptimizer(self.photo, self.painting, config, features=self._features)
        reports = list(run)
        picture = run.picture()
        save_image(self.store.picture(variant.name), picture)
        with torch.no_grad():
            target = self._yardstick.content_target(self._moved(self.photo)[None])
            terms = self._yardstick(self._moved(picture)[None], target)
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
        """The weight at which the photograph's own total variation costs the share that is asked for."""
        photo = self._moved(self.photo)[None]
        objective = make_objective(self._features, self._moved(self.painting), replace(config, tv_weight=0))
        alone = float(objective(photo, objective.content_target(photo)).total)
        unit = MAX_LEVEL if config.pixels == "levels" else 1
        return self.config.tv_share * alone / max(unit**2 * float(total_variation(photo)), 1e-12)


def _digest(image: Tensor) -> str:
    return sha256(image.numpy().tobytes()).hexdigest()[:16]

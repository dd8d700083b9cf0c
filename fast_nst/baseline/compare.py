"""A trained network against the optimizer on the same objective: Table 1 and Figure 5 of Johnson et al. 2016.

Each measurement is written to the result store when it is done, and an interrupted comparison resumes with
the missing ones. Iterate to run; each item is a `ProgressReport`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fast_nst.baseline.image_optimizer import PictureOptimizer
from fast_nst.baseline.result_store import ProgressReport, ResultStore
from fast_nst.config import LossConfig
from fast_nst.config.baseline import CompareConfig
from fast_nst.config.optimize import GATYS_PRESETS, GatysConfig
from fast_nst.errors import InputError
from fast_nst.inference.styles import StyleChoice, choose_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import find_pictures, load_image, save_image
from fast_nst.models.loss_precision import loss_precision
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.model_files import file_digest
from fast_nst.models.vgg import load_vgg, weights_digest
from fast_nst.serialization import from_dict, to_dict
from fast_nst.system.device import autocast, choose_device
from fast_nst.system.timing import measure_in_turn

__all__ = ["Comparison", "LossRow", "SpeedRow"]

PAPER_ITERATIONS = (100, 300, 500)
WARMUP = 2


class SpeedRow(NamedTuple):
    """Milliseconds at one size for one forward pass of the network and one iteration of the optimizer."""

    size: int
    network: float
    network_p95: float
    iteration: float
    iteration_p95: float
    timed: int

    def ratio(self, iterations: int) -> float:
        """The time of that many iterations, divided by the time of one forward pass."""
        return iterations * self.iteration / self.network


class LossRow(NamedTuple):
    """The objective at one size and start: means over the content images; the curve is the lowest so far."""

    size: int
    start: str
    images: int
    curve: list[float]
    spread: list[float]
    network: float
    content_image: float
    """the objective of the content image itself"""
    passes: list[int | None]
    """iteration at which the optimizer reaches the network's loss, per content image; None: not reached"""

    @property
    def mean_passes(self) -> int | None:
        """The iteration at which the mean curve reaches the mean loss of the network."""
        return first_below(self.curve, self.network)


def first_below(curve: list[float], value: float) -> int | None:
    """The iteration, from 1, at which a curve reaches a value; None if it does not."""
    return next((i for i, loss in enumerate(curve, start=1) if loss <= value), None)


class Comparison:
    """Measures one style; iterate over it to run.

    Args:
        config: sizes, iterations, files.

    Attributes:
        speed, losses: the rows so far.
        style_image: ``(3, H, W)``, RGB in [0, 1], at the size that the style was trained with.
        setup: style, style image, precision and other facts for the report.

    Raises:
        InputError: no content images, no style image, or one that the style was not trained from.
    """

    def __init__(self, config: CompareConfig) -> None:
        self.config = config
        self.device = choose_device(config.device)
        self.precision = loss_precision(config.precision, self.device, config.loss_network)
        choice = choose_style(config.style)
        if choice.weights is not None and len(choice.weights) > 1:
            raise InputError(f"{choice.name} is a mixture, which was not trained; give one style")
        self.stylizer = Stylizer.load(choice, device=config.device, precision=self.precision, backend="torch")
        metadata = self.stylizer.metadata
        self.style, recipe = choice.name, metadata.get("recipe", {})
        if "loss" not in recipe:
            raise InputError(
                f"{choice.file} does not record its training objective, so there is nothing to compare on"
            )
        if config.content is None:
            raise InputError("no content image was given: --content IMAGE or FOLDER")
        if not config.content.exists():
            raise InputError(f"--content {config.content}: no such file or folder")
        self.files = find_pictures(config.content) if config.content.is_dir() else [config.content]
        if not self.files:
            raise InputError(f"--content {config.content} contains no images")
        style_file = _find_style_image(config, choice, metadata)
        self.loss = _loss_of(recipe)
        layers = (*self.loss.content_layers, *self.loss.style_layers_for(config.loss_network))
        release = recipe.get("vgg_release", "IMAGENET1K_V1")
        features = load_vgg(config.loss_network, layers, file=config.vgg_weights, weights=release)
        digest = weights_digest(features)
        layout = torch.contiguous_format if self.precision == "fp32" else torch.channels_last
        features = features.to(self.device).to(memory_format=layout)
        self.style_image = load_image(style_file, short_side=int(recipe.get("style_size", 384)))
        self.objective = PerceptualLoss(features, self.style_image.to(self.device), self.loss)
        self.setup: dict[str, Any] = {
            "style": self.style,
            "steps": metadata.get("steps"),
            "style_image": style_file.name,
            "bundled_style_image": style_file == choice.painting,
            "objective": to_dict(self.loss),
            "loss_network": config.loss_network,
            "same_loss_network_as_trained": digest == metadata.get("vgg_sha256"),
            "precision": self.precision,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
        }
        settings = {**self.setup, "iterations": config.iterations, "seed": config.seed, "timed": config.timed}
        self.store = ResultStore(config.out / "runs", settings, overwrite=config.overwrite)
        self.speed: list[SpeedRow] = []
        self.losses: list[LossRow] = []

    @property
    def pieces(self) -> list[str]:
        """The names of all measurements, finished ones included."""
        c = self.config
        speed = [f"speed_{size}" for size in c.sizes if c.only != "loss"]
        return speed + [name for names in self._loss_names().values() for name in names]

    def __iter__(self) -> Iterator[ProgressReport]:
        total, done = len(self.pieces), 0
        for size in self.config.sizes if self.config.only != "loss" else ():
            self.speed.append(self._speed_at(size))
            done += 1
            yield ProgressReport(done, total, f"speed at {size} x {size}")
        for (size, start), names in self._loss_names().items():
            records = []
            for name, file in zip(names, self.files, strict=False):
                records.append(self._descent(name, file, size, start))
                done += 1
                yield ProgressReport(done, total, f"{name}: {records[-1]['losses'][-1]:.4f}")
            self.losses.append(_row(size, start, records))

    def _loss_names(self) -> dict[tuple[int, str], list[str]]:
        """The measurements of each size and start, named after the files of the content images."""
        c = self.config
        out: dict[tuple[int, str], list[str]] = {}
        for i, size in enumerate(c.sizes if c.only != "speed" else ()):
            files = self.files[: c.images[min(i, len(c.images) - 1)]]
            for start in c.starts:
                out[size, str(start)] = [f"{size}_{start}_{file.stem}" for file in files]
        return out

    def _speed_at(self, size: int) -> SpeedRow:
        """Time one forward pass and one iteration at a size, alternating."""
        name = f"speed_{size}"
        record = self.store.get(name)
        if record is None:
            content = square(self.files[0], size).to(self.device)
            # As many as the table lists, so that the run is compiled if one of that length would be.
            steps = max(*PAPER_ITERATIONS, WARMUP + self.config.timed + 1)
            iterations = iter(self._optimizer(content, "noise", steps=steps))
            calls = {"network": lambda: self.stylizer(content), "iteration": lambda: next(iterations)}
            found = measure_in_turn(calls, calls=self.config.timed, warmup=WARMUP, device=self.device)
            network, iteration = found["network"], found["iteration"]
            times = (network.median, network.p95, iteration.median, iteration.p95)
            record = SpeedRow(size, *times, self.config.timed)._asdict()
            self.store.put(name, record)
        return SpeedRow(**record)

    def _descent(self, name: str, file: Path, size: int, start: str) -> dict[str, Any]:
        """The objective for one content image: by iteration, of the network's result, of the image itself."""
        record = self.store.get(name)
        if record is not None:
            return record
        content = square(file, size)
        stylized = self.stylizer(content)
        optimizer = self._optimizer(content, start, steps=self.config.iterations)
        losses = [report.total for report in optimizer]
        best = [min(losses[: i + 1]) for i in range(len(losses))]
        save_image(self.store.picture(name), optimizer.picture())
        save_image(self.store.picture(f"{size}_network_{file.stem}"), stylized)
        values = {"network": self._value(stylized, content), "content_image": self._value(content, content)}
        record = {"losses": best, **values, "failure": optimizer.failure}
        self.store.put(name, record)
        return record

    def _optimizer(self, content: Tensor, start: str, steps: int) -> PictureOptimizer:
        config: GatysConfig = replace(
            GATYS_PRESETS["johnson2016-baseline"],
            steps=steps,
            start=start,  # type: ignore[arg-type]
            size=None,
            seed=self.config.seed,
            device=self.config.device,
            precision=self.precision,  # type: ignore[arg-type]
            report_every=1,
        )
        return PictureOptimizer(content.cpu(), content.cpu(), config, objective=self.objective)

    @torch.no_grad()
    def _value(self, image: Tensor, content: Tensor) -> float:
        """The objective of a ``(3, H, W)`` image against its content image."""
        batch, contents = image[None].to(self.device), content[None].to(self.device)
        target = self.objective.content_target(contents)
        with autocast(self.device, self.precision):
            return float(self.objective(batch, target).total)


def square(file: Path, size: int) -> Tensor:
    """The center of an image, scaled to ``(3, size, size)``."""
    image = load_image(file, short_side=size)
    top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
    return image[:, top : top + size, left : left + size].contiguous()


def _row(size: int, start: str, records: list[dict[str, Any]]) -> LossRow:
    shortest = min(len(record["losses"]) for record in records)
    columns = list(zip(*(record["losses"][:shortest] for record in records), strict=True))
    return LossRow(
        size,
        start,
        len(records),
        [statistics.fmean(column) for column in columns],
        [statistics.pstdev(column) for column in columns],
        statistics.fmean(record["network"] for record in records),
        statistics.fmean(record["content_image"] for record in records),
        [first_below(record["losses"], record["network"]) for record in records],
    )


def _loss_of(recipe: dict[str, Any]) -> LossConfig:
    """The training objective of a style; early checkpoints record the grid weight outside of it.

    What a checkpoint does not record is as it was when there was one objective.
    """
    values = {"objective": "dimensionless", **recipe["loss"]}
    if "grid_weight" in recipe:
        values.setdefault("grid_weight", recipe["grid_weight"])
    return from_dict(LossConfig, values)


def _find_style_image(config: CompareConfig, style: StyleChoice, metadata: dict[str, Any]) -> Path:
    """The style image given, else the file the checkpoint names (checked by hash), else the bundled copy."""
    # A gallery records one hash of all its paintings.
    wanted = metadata.get("style_sha256") if style.weights is None else None
    name = str(metadata["recipe"].get("style", ""))
    bundled = style.painting
    given = config.style_image
    if given is not None:
        known = wanted is None or not given.is_file() or given == bundled or file_digest(given) == wanted
        if not known:
            raise InputError(
                f"--style-image {given} is not the image that {style.name} was trained from ({name}); "
                "the objectives would differ"
            )
        return given
    assert config.content is not None
    content = config.content if config.content.is_dir() else config.content.absolute().parent
    for folder in (Path.cwd(), style.file.parent, content, content.absolute().parent):
        for found in (folder / name, *sorted(folder.glob(f"*/{name}"))):
            if name and found.is_file() and wanted in (None, file_digest(found)):
                return found
    if bundled is not None:
        return bundled
    raise InputError(
        f"the style image of {style.name} ({name or 'name not recorded'}) is not in the current folder, "
        "nor near the style or the content images; give it with --style-image FILE"
    )

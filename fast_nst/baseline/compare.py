"""A trained style against the optimizer on one objective object: the paper's Table 1 and Figure 5.

Johnson et al. 2016, section 4.1. Every piece of work is kept in the folder when it is done, and an
interrupted comparison goes on with what is missing. Iterate to run; each item is a `ProgressReport`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
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
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import find_pictures, load_image, save_image
from fast_nst.models.checkpoint import find_style, load_checkpoint
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.vgg import load_vgg, weights_digest
from fast_nst.serialization import from_dict, to_dict
from fast_nst.system.device import autocast, choose_device, choose_precision
from fast_nst.system.timing import measure_in_turn

__all__ = ["Comparison", "LossRow", "SpeedRow"]

PAPER_ITERATIONS = (100, 300, 500)
WARMUP = 2


class SpeedRow(NamedTuple):
    """Milliseconds at one size: a pass of the network, an iteration of the optimizer."""

    size: int
    network: float
    network_p95: float
    iteration: float
    iteration_p95: float
    timed: int

    def ratio(self, iterations: int) -> float:
        """How many passes of the network so many iterations take."""
        return iterations * self.iteration / self.network


class LossRow(NamedTuple):
    """The objective at one size and start: means over photographs, the curve that of the best so far."""

    size: int
    start: str
    photos: int
    curve: list[float]
    spread: list[float]
    network: float
    photo: float
    passes: list[int | None]
    """iteration at which the optimizer falls under the network, for each photograph; None if it never does"""

    @property
    def mean_passes(self) -> int | None:
        """The same for the mean curve and the mean of the network."""
        return first_below(self.curve, self.network)


def first_below(curve: list[float], value: float) -> int | None:
    """The iteration, from 1, at which a curve falls under a value."""
    return next((i for i, loss in enumerate(curve, start=1) if loss <= value), None)


class Comparison:
    """Measures one style; iterate over it to run.

    Args:
        config: everything tunable.

    Attributes:
        speed, losses: the rows so far.
        about: style, painting, precision and other facts for the report.

    Raises:
        InputError: no photographs, no painting, or one that the style was not trained from.
    """

    def __init__(self, config: CompareConfig) -> None:
        self.config = config
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        file = find_style(config.style)
        checkpoint = load_checkpoint(file)
        self.style, recipe = file.stem, checkpoint.about.get("recipe", {})
        if "loss" not in recipe:
            raise InputError(f"{file} does not say what it was trained with, so there is no common objective")
        if config.content is None:
            raise InputError("no photographs were given: --content PHOTO or FOLDER")
        self.files = find_pictures(config.content) if config.content.is_dir() else [config.content]
        if not self.files:
            raise InputError(f"--content {config.content} holds no photographs")
        painting = _find_painting(config, file, checkpoint.about)
        self.stylizer = Stylizer(checkpoint, device=config.device, precision=self.precision)
        self.loss = _loss_of(recipe)
        layers = (*self.loss.content_layers, *self.loss.style_layers_for(config.loss_network))
        release = recipe.get("vgg_release", "IMAGENET1K_V1")
        features = load_vgg(config.loss_network, layers, file=config.vgg_weights, weights=release)
        digest = weights_digest(features)
        layout = torch.contiguous_format if self.precision == "fp32" else torch.channels_last
        features = features.to(self.device).to(memory_format=layout)
        picture = load_image(painting, short_side=int(recipe.get("style_size", 384)))
        self.objective = PerceptualLoss(features, picture.to(self.device), self.loss)
        self.about: dict[str, Any] = {
            "style": self.style,
            "steps": checkpoint.about.get("steps"),
            "painting": painting.name,
            "objective": to_dict(self.loss),
            "loss_network": config.loss_network,
            "same_loss_network_as_trained": digest == checkpoint.about.get("vgg_sha256"),
            "precision": self.precision,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
        }
        settings = {**self.about, "iterations": config.iterations, "seed": config.seed, "timed": config.timed}
        self.store = ResultStore(config.out / "runs", settings, overwrite=config.overwrite)
        self.speed: list[SpeedRow] = []
        self.losses: list[LossRow] = []

    @property
    def pieces(self) -> list[str]:
        """The names of all the pieces of work, those done before included."""
        c = self.config
        speed = [f"speed_{size}" for size in c.sizes if c.only != "loss"]
        return speed + [name for names in self._loss_names().values() for name in names]

    def __iter__(self) -> Iterator[ProgressReport]:
        total, done = len(self.pieces), 0
        for size in self.config.sizes if self.config.only != "loss" else ():
            self.speed.append(self._speed_at(size))
            done += 1
            yield ProgressReport(done, total, f"timed at {size}")
        for (size, start), names in self._loss_names().items():
            records = []
            for name, file in zip(names, self.files, strict=False):
                records.append(self._descent(name, file, size, start))
                done += 1
                yield ProgressReport(done, total, f"{name}: {records[-1]['losses'][-1]:.4f}")
            self.losses.append(_row(size, start, records))

    def _loss_names(self) -> dict[tuple[int, str], list[str]]:
        """The pieces of each size and start; a name is that of the photograph's file."""
        c = self.config
        out: dict[tuple[int, str], list[str]] = {}
        for i, size in enumerate(c.sizes if c.only != "speed" else ()):
            files = self.files[: c.photos[min(i, len(c.photos) - 1)]]
            for start in c.starts:
                out[size, str(start)] = [f"{size}_{start}_{file.stem}" for file in files]
        return out

    def _speed_at(self, size: int) -> SpeedRow:
        """One pass and one iteration at a size, in turn."""
        name = f"speed_{size}"
        record = self.store.get(name)
        if record is None:
            photo = square(self.files[0], size).to(self.device)
            # As many as the table speaks of, so that what pays for a run of that length is done here too.
            steps = max(*PAPER_ITERATIONS, WARMUP + self.config.timed + 1)
            iterations = iter(self._optimizer(photo, "noise", steps=steps))
            calls = {"network": lambda: self.stylizer(photo), "iteration": lambda: next(iterations)}
            found = measure_in_turn(calls, calls=self.config.timed, warmup=WARMUP, device=self.device)
            network, iteration = found["network"], found["iteration"]
            times = (network.median, network.p95, iteration.median, iteration.p95)
            record = SpeedRow(size, *times, self.config.timed)._asdict()
            self.store.put(name, record)
        return SpeedRow(**record)

    def _descent(self, name: str, file: Path, size: int, start: str) -> dict[str, Any]:
        """The objective of one photograph: by iteration, of the network's picture, and of its own."""
        record = self.store.get(name)
        if record is not None:
            return record
        photo = square(file, size)
        painted = self.stylizer(photo)
        optimizer = self._optimizer(photo, start, steps=self.config.iterations)
        losses = [report.total for report in optimizer]
        best = [min(losses[: i + 1]) for i in range(len(losses))]
        save_image(self.store.picture(name), optimizer.picture())
        save_image(self.store.picture(f"{size}_network_{file.stem}"), painted)
        values = {"network": self._value(painted, photo), "photo": self._value(photo, photo)}
        record = {"losses": best, **values, "failure": optimizer.failure}
        self.store.put(name, record)
        return record

    def _optimizer(self, photo: Tensor, start: str, steps: int) -> PictureOptimizer:
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
        return PictureOptimizer(photo.cpu(), photo.cpu(), config, objective=self.objective)

    @torch.no_grad()
    def _value(self, image: Tensor, photo: Tensor) -> float:
        """The objective of a ``(3, H, W)`` image against its photograph."""
        batch, photos = image[None].to(self.device), photo[None].to(self.device)
        target = self.objective.content_target(photos)
        with autocast(self.device, self.precision):
            return float(self.objective(batch, target).total)


def square(file: Path, size: int) -> Tensor:
    """The center of a photograph, scaled to ``(3, size, size)``."""
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
        statistics.fmean(record["photo"] for record in records),
        [first_below(record["losses"], record["network"]) for record in records],
    )


def _loss_of(recipe: dict[str, Any]) -> LossConfig:
    """The objective a style was trained with; the grid's weight once stood outside of it."""
    told = dict(recipe["loss"])
    if "grid_weight" in recipe:
        told.setdefault("grid_weight", recipe["grid_weight"])
    return from_dict(LossConfig, told)


def _find_painting(config: CompareConfig, style: Path, about: dict[str, Any]) -> Path:
    """The painting that was named, or the one that the style's file names, known by its hash."""
    wanted = about.get("style_sha256")
    if config.painting is not None:
        if wanted is not None and config.painting.is_file() and _hash(config.painting) != wanted:
            raise InputError(
                f"--painting {config.painting} is not the file that {style.stem} was trained from "
                f"({about['recipe'].get('style')}); the objective would be another"
            )
        return config.painting
    assert config.content is not None
    name = str(about["recipe"].get("style", ""))
    content = config.content if config.content.is_dir() else config.content.absolute().parent
    for folder in (Path.cwd(), style.parent, content, content.absolute().parent):
        for found in (folder / name, *sorted(folder.glob(f"*/{name}"))):
            if name and found.is_file() and wanted in (None, _hash(found)):
                return found
    raise InputError(
        f"the painting of {style.stem}, {name or 'of unknown name'}, is neither in the current folder nor "
        "near the style or the photographs; give it with --painting FILE"
    )


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()

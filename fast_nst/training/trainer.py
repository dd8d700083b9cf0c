"""The training loop: photographs in, a style network out. It yields reports; the caller prints.

for report in Trainer(TrainConfig(style=Path("starry.jpg"), dataset="photos/")):
    print(report)
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fast_nst.checkpoint import find_style, load_checkpoint, save_checkpoint
from fast_nst.config import TrainConfig
from fast_nst.device import choose_device, choose_precision, has_compiler
from fast_nst.errors import InputError
from fast_nst.images import MAX_LEVEL, load_image
from fast_nst.losses import PerceptualLoss
from fast_nst.plain import to_dict, to_toml
from fast_nst.report import RunLog, StepReport
from fast_nst.training.batches import Batch, PhotoBatches
from fast_nst.training.clipping import GradientLimit
from fast_nst.training.download import Progress
from fast_nst.training.learner import Learner
from fast_nst.training.photos import open_photos
from fast_nst.training.previews import Previews
from fast_nst.training.resume import (
    TrainingState,
    forget_state,
    load_state,
    places,
    refuse_changes,
    save_state,
)
from fast_nst.training.schedule import learning_rate_at, stage_at
from fast_nst.transform_net import TransformNet
from fast_nst.vgg import load_vgg, weights_digest

__all__ = ["Trainer", "TrainingError"]

STATE = "last.safetensors"
# torch.compile takes about a minute on a CPU and saves about a sixth of each step.
COMPILE_PAYS_AFTER = 500


class TrainingError(InputError):
    """A run that cannot go on; the last saved state is intact."""


class Trainer:
    """Trains one style; iterate over it to run, each item a `StepReport`.

    Args:
        config: everything tunable.
        on_download: told the bytes received and the bytes in all while COCO is downloaded.

    The run folder gets the state (every ``save_every`` steps), metrics.jsonl, TensorBoard events, previews
    and loss.png; the checkpoint is written at the end, and by `save` at any moment between two steps.

    Raises:
        InputError: a setting, file or folder that cannot be used, found before the first step.
    """

    def __init__(self, config: TrainConfig, *, on_download: Progress | None = None) -> None:
        name = config.style.stem.replace("_", "-")
        self.out = config.out or Path(f"{name}.safetensors")
        self.run = config.run or Path("runs") / name
        self.config = config
        self._check_paths()
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        self.painting = load_image(config.style, short_side=config.style_size, max_pixels=config.max_pixels)
        # Now, and not at the end: the painting may have been moved by then.
        self.origin = {"style_sha256": sha256(config.style.read_bytes()).hexdigest()}
        self.photos = open_photos(
            config.dataset, max_images=config.max_images, download=config.download, progress=on_download
        )
        self.objective = self._objective()
        self.network = self._network()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)
        self.limit = GradientLimit(self.network.parameters())
        self.step = 0
        self.elapsed = 0.0
        self.bad: dict[str, str] = {}
        """name and reason of every photograph that could not be read so far"""
        self.compiled = self._compiles()
        self._stop = False
        self._broken = 0  # reported steps in a row whose losses were not finite
        if config.resume:
            self._resume()

    def _check_paths(self) -> None:
        """Refuse to overwrite, and find out now rather than after an hour that nothing can be written."""
        if self.out.suffix != ".safetensors":
            raise InputError(f"--out must end in .safetensors, got {self.out}")
        if not (self.config.overwrite or self.config.resume):
            for path in (self.out, *places(self.run / STATE)):
                if path.exists():
                    raise InputError(f"{path} exists; give --overwrite to start anew, or --resume to go on")
        for folder in (self.run, self.out.absolute().parent):
            there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
            if not there.is_dir():
                raise InputError(f"cannot write to the folder {folder}: {there} is a file")
            if not os.access(there, os.W_OK):
                raise InputError(f"cannot write to the folder {folder}: no permission in {there}")

    def _objective(self) -> PerceptualLoss:
        c = self.config
        layers = (*c.loss.content_layers, *c.loss.style_layers_for(c.loss_network))
        features = load_vgg(c.loss_network, layers, file=c.vgg_weights, weights=c.vgg_release)
        self.origin["vgg_sha256"] = weights_digest(features)
        features = features.to(self.device).to(memory_format=torch.channels_last)
        return PerceptualLoss(features, self.painting.to(self.device), c.loss)

    def _network(self) -> TransformNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = TransformNet(self.config.network)
        if self.config.warm_start is not None:
            trained = load_checkpoint(find_style(self.config.warm_start)).network
            if trained.config != network.config:
                raise InputError(
                    f"--warm-start {self.config.warm_start} is another network: {trained.config}"
                )
            network.load_state_dict(trained.state_dict())
        return network.to(self.device).to(memory_format=torch.channels_last).train()

    def _resume(self) -> None:
        state = load_state(self.run / STATE, self.network, self.optimizer)
        refuse_changes(state, self.config, self.origin, self.photos.fingerprint)
        self.step, self.elapsed, self.bad = state.step, state.elapsed, state.bad
        self.limit.mean.fill_(state.gradient_norm)
        if self.config.compile == "auto":
            self.compiled = state.compiled

    def stop(self) -> None:
        """End the run after the step in progress; the iteration then finishes without an error."""
        self._stop = True

    @property
    def finished(self) -> bool:
        late = self.config.minutes is not None and self.elapsed >= 60 * self.config.minutes
        return self.step >= self.config.steps or late

    def __iter__(self) -> Iterator[StepReport]:
        c = self.config
        self.run.mkdir(parents=True, exist_ok=True)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        previews = Previews(self)
        self._write_config()
        if self.step == 0:
            forget_state(self.run / STATE)
            previews.save(0)
        learn = Learner(
            self.network,
            self.objective,
            self.optimizer,
            self.limit,
            device=self.device,
            precision=self.precision,
            compiled=self.compiled,
        )
        began = mark = time.perf_counter()
        began, mark_step = began - self.elapsed, self.step
        log = RunLog(self.run, keep_through=self.step)
        with closing(log), closing(self._batches()) as batches:
            for batch in batches:
                rate = learning_rate_at(c, self.step, self.elapsed)
                terms = learn(self._images(batch.images), rate)
                self.step += 1
                self.elapsed = time.perf_counter() - began
                last = self.finished or self._stop
                if last or self.step % c.report_every == 0:
                    values = [term.item() for term in terms]  # waits for the device, so only here
                    now = time.perf_counter()
                    speed = (self.step - mark_step) * c.batch_size / (now - mark)
                    if self._sound(values, batch.names):
                        report = self._report(values, rate, speed)
                        log.write(report)
                        yield report
                        began += time.perf_counter() - now  # the caller's time is not the run's
                        mark, mark_step = time.perf_counter(), self.step
                last = last or self._stop
                if self.step % c.save_every == 0 and not last:
                    self.save_state()
                if last or previews.due(self.step):
                    log.picture("preview", previews.save(self.step), self.step)
                if last:
                    break
            if self.step:
                self.save()

    def _write_config(self) -> None:
        """config.toml, which makes the run again: ``train.py --config runs/NAME/config.toml``."""
        text = to_toml(replace(self.config, resume=False, overwrite=False))
        (self.run / "config.toml").write_text(text, encoding="utf-8")

    def _batches(self) -> Generator[Batch]:
        """The photographs of every step still to be taken, stage after stage."""
        c = self.config
        while not (self.finished or self._stop):
            stage = stage_at(c, self.step)
            with PhotoBatches(
                self.photos,
                batch_size=c.batch_size,
                image_size=stage.image_size,
                # Small crops come from photographs as much smaller: scenes, and not flat details of them.
                photo_size=round((c.photo_size or c.image_size * 9 / 8) * stage.image_size / c.image_size),
                seed=c.seed,
                start_step=self.step,
                workers=c.workers,
                max_bad=c.max_bad,
                bad=self.bad,
            ) as batches:
                self.bad = batches.bad
                yield from islice(batches, stage.end - self.step)

    def _images(self, batch: Tensor) -> Tensor:
        """``(B, 3, S, S)`` uint8 as floats in [0, 1]; to the device first, a quarter of the bytes."""
        images = batch.to(self.device)
        return (images.float() / MAX_LEVEL).contiguous(memory_format=torch.channels_last)

    def _compiles(self) -> bool:
        if self.config.compile != "auto":
            return self.config.compile == "on"
        return has_compiler(self.device) and self.config.steps >= COMPILE_PAYS_AFTER

    def _sound(self, values: list[float], names: list[str]) -> bool:
        """Whether the losses are finite. A single batch may not be, and was skipped; three mean the end."""
        self._broken = 0 if all(math.isfinite(value) for value in values) else self._broken + 1
        if self._broken == 3:
            state = self.run / STATE
            kept = f"the last good state is in {state}" if state.is_file() else "nothing was saved yet"
            raise TrainingError(
                f"the loss is not finite at step {self.step} (photographs: {', '.join(names)}); {kept}: go "
                "on with --resume and --precision fp32, or start a new --run with a lower --learning-rate"
            )
        return not self._broken

    def _report(self, values: list[float], learning_rate: float, speed: float) -> StepReport:
        c = self.config
        stage = stage_at(c, self.step - 1)
        # In steps of the present stage: one on larger crops takes as much longer as it has more pixels.
        larger = (c.image_size / stage.image_size) ** 2
        left = (stage.end - self.step) + larger * (c.steps - stage.end)
        remaining = left * c.batch_size / speed
        if c.minutes is not None:
            remaining = min(remaining, max(0.0, 60 * c.minutes - self.elapsed))
        content, style, tv, grid = values
        return StepReport(
            self.step,
            c.steps,
            content,
            style,
            tv,
            grid,
            learning_rate,
            self.elapsed,
            speed,
            remaining,
        )

    def save_state(self) -> None:
        """Write the training state to the run folder."""
        config = to_dict(replace(self.config, resume=False))
        state = TrainingState(
            self.step,
            self.elapsed,
            config,
            self.photos.fingerprint,
            bad=self.bad,
            gradient_norm=self.limit.mean.item(),
            origin=self.origin,
            compiled=self.compiled,
        )
        save_state(self.run / STATE, self.network, self.optimizer, state)

    def save(self) -> None:
        """Write the state, and the checkpoint that `Stylizer` takes."""
        self.save_state()
        save_checkpoint(self.out, self.network, self.about())

    def about(self) -> dict[str, Any]:
        """What the checkpoint says of itself: enough to know what it is and to make it again."""
        c = self.config
        recipe = to_dict(c)
        for name in ("out", "run", "resume", "overwrite", "workers", "licence", "download"):
            recipe.pop(name, None)
        for name in ("style", "dataset", "vgg_weights", "warm_start"):  # names, not somebody's folders
            if name in recipe:
                recipe[name] = Path(recipe[name]).name
        licence = {} if c.licence is None else {"licence": c.licence}
        return licence | {
            "style": self.out.stem,
            "steps": self.step,
            "seconds": round(self.elapsed),
            "recipe": recipe,
            "precision": self.precision,
            **self.origin,
            "photographs": len(self.photos.names),
            "photographs_sha256": self.photos.fingerprint,
        }

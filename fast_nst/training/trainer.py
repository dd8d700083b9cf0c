"""The training loop: photographs in, a trained network out. It yields reports; the caller prints.

for report in Trainer(TrainConfig(style=Path("starry.jpg"), dataset="photos/")):
    print(report)
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any

from fast_nst.config import TaskConfig
from fast_nst.models.checkpoint import CheckpointError, Network, save_checkpoint
from fast_nst.report import Stopwatch, TaskReport
from fast_nst.serialization import to_dict
from fast_nst.system.device import choose_device, choose_precision
from fast_nst.training.builders import build_batches, build_network, choose_photos, compiles, recipe
from fast_nst.training.data.download import Progress
from fast_nst.training.data.loader import Batch, as_images
from fast_nst.training.failures import TrainingError, explained
from fast_nst.training.logging.run_recorder import RunRecorder
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.schedule import learning_rate_at, seconds_left, stage_at
from fast_nst.training.state.resume import TrainingState, load_state, refuse_changes, save_state
from fast_nst.training.state.run_folder import RunFolder
from fast_nst.training.step import TrainingStep
from fast_nst.training.tasks import open_task
from fast_nst.training.validation import Validation

__all__ = ["Trainer", "TrainingError"]

_log = logging.getLogger("fast_nst")

LOST = 3  # bad steps in a row after which a run goes back, and times it goes back before it is given up


class Trainer:
    """Trains one network; iterate over it to run, each item a report.

    Args:
        config: everything tunable; its kind says what is learnt.
        on_download: told the bytes received and the bytes in all while COCO is downloaded.

    The run folder gets the state (at the start and every ``save_every`` steps), metrics.jsonl, TensorBoard
    events, previews and loss.png; the checkpoint is written at the end, and by `save` at any moment between
    two steps. Where torch.distributed is initialized, all processes train one network on shares of each
    batch; the first one writes.

    Raises:
        InputError: a setting, file or folder that cannot be used, found before the first step.
        TrainingError: later, of the iteration: a run that cannot go on, and why.
    """

    def __init__(self, config: TaskConfig, *, on_download: Progress | None = None) -> None:
        self.config, self.group = config, ProcessGroup()
        self.folder = RunFolder(config)
        self.out, self.run = self.folder.out, self.folder.path
        self.folder.check(config)
        self.device = choose_device(self.group.device(config.device))
        self.precision = choose_precision(config.precision, self.device)
        self.task = open_task(config, self.device, self.group)
        self.photos, self.held_out = choose_photos(config, self.group, on_download)
        self.compiled = compiles(config, self.device)
        self.training_step = TrainingStep(
            build_network(config, self.device),
            self.task.objective,
            averaging=config.averaging,
            temporal=self.task.temporal,
            seed=config.seed,
            device=self.device,
            precision=self.precision,
            compiled=self.compiled,
            group=self.group,
        )
        self.validation = self.held_out and Validation(
            self.held_out,
            self.task.objective,
            image_size=config.image_size,
            device=self.device,
            precision=self.precision,
            given=self.task.given,
            score=self.task.score,
        )
        self.step = 0
        self.elapsed = 0.0
        self.bad: dict[str, str] = {}
        """name and reason of every photograph that could not be read so far"""
        self.measured: dict[str, float] = {}
        """the last validation: the weighted terms, their sum as ``objective``, and the step"""
        self.compiling = False
        """whether the step in progress is one that compiles first, for a minute or two"""
        self._slowed, self._setbacks, self._lost_at = 1.0, 0, 0
        self._stop_asked = self._stop = self._save_asked = False
        self._names: deque[list[str]] = deque(maxlen=LOST)  # photographs of the last batches
        if config.resume:
            self._resume()

    @property
    def network(self) -> Network:
        """The network as it is being trained; what is saved for use is `TrainingStep.average`."""
        return self.training_step.network

    def _resume(self) -> None:
        state = self._load()
        refuse_changes(state, self.config, self.task.origin, self.photos.fingerprint)
        self.elapsed = state.elapsed
        if self.config.compile == "auto" and state.compiled != self.compiled:
            self.compiled = state.compiled
            self.training_step.compile(state.compiled)

    def _load(self) -> TrainingState:
        training_step = self.training_step
        state = load_state(
            self.folder.state, training_step.network, training_step.optimizer, training_step.average
        )
        training_step.remember(state.memory)
        self.step, self.bad, self.measured = state.step, state.bad, state.measured
        self._slowed, self._setbacks = state.slowed, state.setbacks
        return state

    def stop(self) -> None:
        """End the run after the step in progress; the iteration then finishes without an error."""
        self._stop_asked = True

    def save_soon(self) -> None:
        """Save state and checkpoint after the step in progress, and go on."""
        self._save_asked = True

    @property
    def finished(self) -> bool:
        late = self.config.minutes is not None and self.elapsed >= 60 * self.config.minutes
        return self.step >= self.config.steps or late

    @property
    def _over(self) -> bool:
        return self.finished or self._stop

    def __iter__(self) -> Iterator[TaskReport]:
        first = self.group.first
        with explained(self.config, self.folder.state), self.folder.held() if first else nullcontext():
            if first:
                self.folder.begin(self.config)
                if not self.config.resume:
                    self.save_state()
            while not self._over:
                yield from self._steps()
            self._share_bad()
            if first and self.step:
                self.folder.insist(self.save)

    def _steps(self) -> Iterator[TaskReport]:
        """The steps to the end of the run, or until it goes back to an earlier state."""
        c = self.config
        watch, marked = Stopwatch(self.elapsed), self.step
        with closing(self._batches()) as batches, self._recorder() as recorder:
            if recorder and self.step == 0:
                recorder.preview(self.training_step.average.network, 0)
            for batch in batches:
                rate = self._slowed * learning_rate_at(c, self.step, self.elapsed)
                given = None if batch.given is None else as_images(batch.given, self.device)
                terms = self.training_step(as_images(batch.images, self.device), rate, self.step + 1, given)
                self.step += 1
                self.compiling = False
                self._names.append(batch.names)
                self._agree(watch.elapsed)
                measure = self._measures()
                if self._over or measure or self.step % c.report_every == 0:
                    values = [term.item() for term in terms]  # waits for the device, so only here
                    bad = int(self.training_step.watch.in_a_row)
                    if bad >= LOST:
                        return self._go_back()
                    if measure:
                        self._measure()
                    speed = (self.step - marked) * c.batch_size / watch.lap()
                    marked = self.step
                    if not bad:
                        report = self._report(values, rate, speed, measured=measure)
                        if recorder:
                            recorder.write(report)
                        with watch.paused():
                            yield report
                        self._agree(watch.elapsed)
                if not self._over and self._save_due() and not self._saved():
                    return self._go_back()
                if recorder:
                    recorder.preview(self.training_step.average.network, self.step, now=self._over)
                if self._over:
                    return None
        return None

    def _recorder(self) -> AbstractContextManager[RunRecorder | None]:
        if not self.group.first:
            return nullcontext()
        shown = self.held_out or self.photos
        return closing(RunRecorder(self.config, self.folder, shown, self.step, self.task.sheet))

    def _batches(self) -> Generator[Batch]:
        """The photographs of every step still to be taken, stage after stage."""
        c = self.config
        while not self._over:
            stage = stage_at(c, self.step)
            if self.step == stage.first:
                self.training_step.watch.forget()  # the usual loss of another size is another one
            self.compiling = self.compiled
            with build_batches(
                c,
                self.photos,
                self.group,
                self.step,
                self.bad,
                photo_size=self.task.photo_size(stage.image_size),
                given=self.task.given,
            ) as batches:
                self.bad = batches.bad
                yield from islice(batches, stage.end - self.step)

    def _agree(self, elapsed: float) -> None:
        """What one process has been asked, all do; the time is the slowest one's."""
        asked = (self._stop_asked, self._save_asked, self.folder.behind)
        stop, save, behind, self.elapsed = self.group.most(*map(float, asked), elapsed)
        self._stop, self._save_asked, self.folder.behind = stop > 0, save > 0, behind > 0

    def _measures(self) -> bool:
        """Whether this step's weights are to be judged on the photographs kept apart."""
        due = self.finished or self.step % self.config.validate_every == 0
        return due and not self._stop and self.validation is not None

    def _measure(self) -> None:
        if self.group.first and self.validation:
            self.measured = {**self.validation(self.training_step.average.network), "step": self.step}
            if not self.config.validation:  # else they are no part of the dataset
                self.bad.update(self.validation.bad)

    def _report(self, values: list[float], rate: float, speed: float, *, measured: bool) -> TaskReport:
        details: dict[str, Any] = {"step": self.step, "steps": self.config.steps, "learning_rate": rate}
        left = seconds_left(self.config, self.step, self.elapsed, speed)
        details |= {"elapsed": self.elapsed, "rate": speed, "remaining": left}
        return self.task.report(values, self.measured if measured else {}, **details)

    def _go_back(self) -> None:
        """From a run that is lost to its last good state, there to go on at half the learning rate."""
        step, names = self.step, ", ".join(name for batch in self._names for name in batch)
        setbacks, slowed = self._setbacks + 1, self._slowed / 2
        self._load()
        self._setbacks, self._slowed, self._lost_at = setbacks, slowed, step
        lost = f"the loss or its gradient was not finite, or far above the usual, at step {step}"
        if setbacks == LOST:
            raise TrainingError(
                f"{lost} (photographs: {names}), {LOST} times over; the last good state, of step "
                f"{self.step}, is in {self.folder.state}: start a new --run with a lower --learning-rate, "
                "or with --precision fp32"
            )
        self.training_step.watch.forget()
        self.group.meet()  # before the first one replaces what the others read
        if self.group.first:
            back = f"back to step {self.step}, at half the learning rate"
            _log.warning("%s (photographs: %s): %s", lost, names, back)
            self.folder.try_to_save(self.save_state)

    def _save_due(self) -> bool:
        c = self.config
        again = self.folder.behind and self.step % c.report_every == 0
        due = self._save_asked or again or self.step % c.save_every == 0 or self.step == c.start_steps
        if (
            due and self.training_step.watch.in_a_row > 0
        ):  # perhaps the run is lost; this is not the state to keep
            self.folder.behind = True
            return False
        return due

    def _saved(self) -> bool:
        """Save the state, with the checkpoint if asked; False if the state is not fit to be kept."""
        self._share_bad()
        sound, self._setbacks = True, self._setbacks if self.step <= self._lost_at else 0
        if self.group.first:
            try:
                self.folder.try_to_save(self.save if self._save_asked else self.save_state)
            except CheckpointError:
                sound = False
        self._save_asked = False
        return self.group.most(float(not sound)) == [0.0]

    def _share_bad(self) -> None:
        for text in self.group.gather(json.dumps(self.bad)):
            self.bad.update(json.loads(text))

    def save_state(self) -> None:
        """Write the training state to the run folder.

        Raises:
            OSError, CheckpointError: the disk refuses, or a weight is not finite; the last one is as it was.
        """
        training_step = self.training_step
        state = TrainingState(
            self.step,
            self.elapsed,
            to_dict(replace(self.config, resume=False)),
            self.photos.fingerprint,
            bad=self.bad,
            memory=training_step.memory(),
            setbacks=self._setbacks,
            slowed=self._slowed,
            measured=self.measured,
            origin=self.task.origin,
            compiled=self.compiled,
        )
        save_state(
            self.folder.state, training_step.network, training_step.optimizer, training_step.average, state
        )

    def save(self) -> None:
        """Write the state, and the checkpoint for use, of the averaged weights."""
        self.save_state()
        about = recipe(self.config) | self.task.origin
        about |= {"style": self.out.stem, "steps": self.step, "seconds": round(self.elapsed)}
        about |= {"precision": self.precision, "validation": self.measured}
        about |= {"photographs": len(self.photos.names), "photographs_sha256": self.photos.fingerprint}
        save_checkpoint(self.out, self.training_step.average.network, about)

"""The training loop: photographs in, a trained network out. It yields reports; the caller prints.

for report in Trainer(TrainConfig(style=Path("starry.jpg"), dataset="photos/")):
    print(report)
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from typing import Any

from fast_nst.config import TaskConfig
from fast_nst.models.checkpoint import Network
from fast_nst.report import Stopwatch, TaskReport
from fast_nst.training.backward import Terms
from fast_nst.training.builders import build_run
from fast_nst.training.data.download import ProgressCallback
from fast_nst.training.data.loader import Batch, as_images
from fast_nst.training.failures import TrainingError, explained
from fast_nst.training.logging.run_recorder import RunRecorder
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.progress import RunProgress
from fast_nst.training.recovery import Recovery
from fast_nst.training.state.resume import saved_form
from fast_nst.training.state.run_folder import RunFolder
from fast_nst.training.state.saving import StateSaver
from fast_nst.training.step_form import using_threads

__all__ = ["Trainer", "TrainingError"]

_log = logging.getLogger("fast_nst")


class Trainer:
    """Trains one network; iterate over it to run, each item a report.

    Args:
        config: all settings; its type decides what is learned.
        objective: what to minimize instead of the objective of the config: called with ``(B, 3, S, S)``
            results and content images, it returns a scalar or a NamedTuple of weighted scalars.
        on_download: called with the bytes received and the bytes in all while COCO is downloaded.

    The run folder gets the state (at the start and every ``save_every`` steps), metrics.jsonl, TensorBoard
    events, previews and loss.png; the checkpoint is written at the end, and by `save` at any moment between
    two steps. Where torch.distributed is initialized, all processes train one network on shares of each
    batch; the first one writes.

    Raises:
        InputError: a setting, file or folder that cannot be used, found before the first step.
        TrainingError: later, of the iteration: why the run cannot continue.
    """

    def __init__(
        self, config: TaskConfig, *, objective: Any = None, on_download: ProgressCallback | None = None
    ) -> None:
        self.group, self.folder = ProcessGroup(), RunFolder(config)
        self.out, self.run = self.folder.out, self.folder.path
        resuming = self.group.maximum(float(self.folder.check(config))) == [1.0]
        self.config = config = replace(config, resume=resuming)
        saved = saved_form(self.folder.state) if resuming else None
        parts = build_run(config, self.group, objective=objective, on_download=on_download, saved_form=saved)
        self.device, self.form, self.task = parts.device, parts.form, parts.task
        self.photos, self.validation_photos = parts.photos, parts.validation_photos
        self.training_step, self._batches = parts.training_step, parts.batches
        self.validation = parts.validation
        self.progress = RunProgress(config)
        self.saver = StateSaver(config, self.folder, parts, self.progress, self.group)
        self.recovery = Recovery(self.training_step, self.saver, self.progress, self.group)
        self.compiling = False
        """whether the step in progress is one that compiles first, for a minute or two"""
        self._stop_requested = self._stopping = False
        if resuming:
            self.saver.resume()

    @property
    def network(self) -> Network:
        """The network as it is being trained; what is saved for use is `TrainingStep.average`."""
        return self.training_step.network

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.progress.step

    @property
    def elapsed(self) -> float:
        """Seconds of training."""
        return self.progress.elapsed

    @property
    def bad(self) -> dict[str, str]:
        """Name and reason of every photograph that could not be read so far."""
        return self.progress.bad

    @property
    def measured(self) -> dict[str, float]:
        """The last validation: the weighted terms, their sum as ``objective``, and the step."""
        return self.progress.measured

    @property
    def compiled(self) -> bool:
        """Whether steps use torch.compile."""
        return self.training_step.backward.compiled

    @property
    def finished(self) -> bool:
        """Whether all steps are taken, or the time is up."""
        return self.progress.finished

    def stop(self) -> None:
        """End the run after the step in progress; the iteration then finishes without an error."""
        self._stop_requested = True

    def save_soon(self) -> None:
        """Save state and checkpoint after the step in progress."""
        self.saver.requested = True

    def save(self) -> None:
        """Write the state and the checkpoint now, between two steps."""
        self.saver.save()

    def __iter__(self) -> Iterator[TaskReport]:
        first = self.group.is_main
        with explained(self.config, self.folder.state), self.folder.lock() if first else nullcontext():
            if first:
                self.folder.begin(self.config)
                if not self.config.resume:
                    self.saver.save_state()
            while not self._over:
                yield from self._train()
            self.saver.finish()

    def _train(self) -> Iterator[TaskReport]:
        """The steps to the end of the run, or until it has to be recovered."""
        progress, average = self.progress, self.training_step.average
        clock, marked = Stopwatch(progress.elapsed), progress.step
        with closing(self._batches.batches(progress)) as batches, self._recorder() as recorder:
            if recorder and progress.step == 0:
                recorder.preview(average.network, 0)
            for batch in batches:
                rate = progress.learning_rate
                terms = self._take_step(batch, rate)
                self._synchronize(clock.elapsed)
                validate = self._validation_due()
                if self._over or validate or progress.step % self.config.report_every == 0:
                    bad = self.recovery.bad_in_a_row  # waits for the device, so only here
                    if bad >= Recovery.LOST:
                        return self.recovery.recover()
                    measured = self._validate() if validate else {}
                    speed = (progress.step - marked) * self.config.batch_size / clock.lap()
                    marked = progress.step
                    if not bad:
                        report = self._report(terms, measured, rate, speed)
                        if recorder:
                            recorder.write(report)
                        with clock.paused():
                            yield report
                        self._synchronize(clock.elapsed)
                if not self._over and not self.saver.save_if_due():
                    return self.recovery.recover()
                if recorder:
                    recorder.preview(average.network, progress.step, now=self._over)
                if self._over:
                    return None
        return None

    @property
    def _over(self) -> bool:
        return self.finished or self._stopping

    def _recorder(self) -> AbstractContextManager[RunRecorder | None]:
        if not self.group.is_main:
            return nullcontext()
        shown = self.validation_photos or self.photos
        return closing(RunRecorder(self.config, self.folder, shown, self.step, self.task.sheet))

    def _take_step(self, batch: Batch, rate: float) -> Terms:
        """Train on one batch; its terms, on the device."""
        progress, step = self.progress, self.training_step
        stage = progress.stage
        if progress.step == stage.first:
            step.loss_monitor.reset()  # at another crop size the usual loss is another
        step.objective = self.task.stage_objectives.get(stage.image_size, self.task.objective)
        inputs = None if batch.inputs is None else as_images(batch.inputs, self.device)
        images = as_images(batch.images, self.device)
        self.compiling = step.backward.compiles_for(images if inputs is None else inputs)
        with using_threads(self.form.threads):
            terms = step(images, rate, progress.step + 1, inputs)
        self.compiling = False
        progress.step += 1
        self.recovery.remember(batch.names)
        return terms

    def _synchronize(self, elapsed: float) -> None:
        """What one process was asked to do, all do; the time is the slowest one's."""
        asked = (self._stop_requested, self.saver.requested, self.folder.behind)
        stop, save, behind, self.progress.elapsed = self.group.maximum(*map(float, asked), elapsed)
        self._stopping, self.saver.requested, self.folder.behind = stop > 0, save > 0, behind > 0
        self.progress.advance_stage()

    def _validation_due(self) -> bool:
        due = self.finished or self.step % self.config.validate_every == 0
        return due and not self._stopping and self.validation is not None

    def _validate(self) -> dict[str, float]:
        """Measure the averaged weights on the validation set."""
        if self.group.is_main and self.validation:
            found = self.validation(self.training_step.average.network)
            self.progress.measured = {**found, "step": self.step}
            if not self.config.validation:  # else they are no part of the dataset
                self.bad.update(self.validation.bad)
        return self.measured

    def _report(self, terms: Terms, measured: dict[str, float], rate: float, speed: float) -> TaskReport:
        left = self.progress.seconds_left(speed)
        steps = self.config.steps
        if self.config.minutes is not None:  # as many as fit in the time
            steps = min(steps, self.step + round(left * speed / self.config.batch_size))
        values = {name: term.item() for name, term in terms._asdict().items()}
        details: dict[str, Any] = {"step": self.step, "steps": steps, "learning_rate": rate}
        details |= {"elapsed": self.elapsed, "rate": speed, "remaining": left}
        return self.task.report(values, measured, **details)

"""When and how a run saves its state and its checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fast_nst.config import TaskConfig
from fast_nst.config.recipe import recipe
from fast_nst.models.checkpoint import CheckpointError, save_checkpoint
from fast_nst.serialization import to_dict
from fast_nst.training.builders import Run
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.progress import RunProgress
from fast_nst.training.state.resume import TrainingState, check_unchanged, load_state, save_state
from fast_nst.training.state.run_folder import RunFolder

__all__ = ["StateSaver"]


class StateSaver:
    """Saves and loads one run.

    Attributes:
        requested: whether a checkpoint is to be saved after the step in progress.
    """

    def __init__(
        self, config: TaskConfig, folder: RunFolder, run: Run, progress: RunProgress, group: ProcessGroup
    ) -> None:
        self.config, self.folder, self._run, self._progress, self._group = (
            config,
            folder,
            run,
            progress,
            group,
        )
        self.requested = False

    def resume(self) -> None:
        """Load the last saved state of an earlier part of this run.

        Raises:
            InputError: there is none that can be used, or the run has other settings.
        """
        state = self.load()
        check_unchanged(state, self.config, self._run.task.origin, self._run.photos.fingerprint)
        self._progress.elapsed = state.elapsed
        backward = self._run.training_step.backward
        if self.config.compile == "auto" and state.compiled != backward.compiled:
            backward.compile(state.compiled)

    def load(self) -> TrainingState:
        """Load the last saved state; the time that has passed stays."""
        step, p = self._run.training_step, self._progress
        state = load_state(self.folder.state, step.network, step.optimizer, step.average)
        step.restore(state.memory)
        p.step, p.bad, p.measured = state.step, state.bad, state.measured
        p.slowed, p.setbacks, p.full_size_from = state.slowed, state.setbacks, state.full_size_from
        return state

    def save_if_due(self) -> bool:
        """Save the state, with the checkpoint if asked; False if it holds numbers that are not finite."""
        if not self._due():
            return True
        p = self._progress
        self.share_bad()
        finite, p.setbacks = True, p.setbacks if p.step <= p.lost_at else 0
        if self._group.is_main:
            try:
                self.folder.try_to_save(self.save if self.requested else self.save_state)
            except CheckpointError:
                finite = False
        self.requested = False
        return self._group.maximum(float(not finite)) == [0.0]

    def _due(self) -> bool:
        c, step = self.config, self._progress.step
        again = self.folder.behind and step % c.report_every == 0
        stage_ends = c.start_size is not None and step == self._progress.stage.first
        due = self.requested or again or step % c.save_every == 0 or stage_ends
        if due and self._run.training_step.loss_monitor.in_a_row > 0:
            self.folder.behind = True  # perhaps the run is lost; this is not the state to keep
            return False
        return due

    def try_to_save(self) -> None:
        """Save the state; a disk that refuses costs a warning."""
        self.folder.try_to_save(self.save_state)

    def finish(self) -> None:
        """Save state and checkpoint at the end of the run.

        Raises:
            OSError: the disk refuses for too long.
        """
        self.share_bad()
        if self._group.is_main and self._progress.step:
            self.folder.save_with_retries(self.save)

    def share_bad(self) -> None:
        """Give every process the bad photographs that all have found."""
        for text in self._group.gather(json.dumps(self._progress.bad)):
            self._progress.bad.update(json.loads(text))

    def save_state(self) -> None:
        """Write the training state to the run folder.

        Raises:
            OSError, CheckpointError: the disk refuses, or a weight is not finite; the last one is as it was.
        """
        step, p = self._run.training_step, self._progress
        state = TrainingState(
            p.step,
            p.elapsed,
            to_dict(replace(self.config, resume=False)),
            self._run.photos.fingerprint,
            bad=p.bad,
            memory=step.running_values(),
            setbacks=p.setbacks,
            slowed=p.slowed,
            measured=p.measured,
            origin=self._run.task.origin,
            compiled=step.backward.compiled,
            **self._run.form.saved,
            full_size_from=p.full_size_from,
        )
        save_state(self.folder.state, step.network, step.optimizer, step.average, state)

    def save(self) -> None:
        """Write the state, and the checkpoint for use, of the averaged weights."""
        self.save_state()
        run, p, out = self._run, self._progress, self.folder.out
        metadata: dict[str, Any] = {"recipe": recipe(self.config), **run.task.origin}
        metadata |= run.task.details
        metadata |= {} if self.config.license is None else {"licence": self.config.license}
        metadata |= {"style": out.stem, "steps": p.step, "seconds": round(p.elapsed)}
        metadata |= {"precision": run.form.precision, "validation": p.measured}
        metadata |= {"photographs": len(run.photos.names), "photographs_sha256": run.photos.fingerprint}
        save_checkpoint(out, run.training_step.average.network, metadata)

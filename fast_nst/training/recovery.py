"""Recovery of a lost run: continue without torch.compile, or return to the last saved state."""

from __future__ import annotations

import logging
from collections import deque

from fast_nst.training.failures import TrainingError
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.progress import RunProgress
from fast_nst.training.state.saving import StateSaver
from fast_nst.training.step import TrainingStep

__all__ = ["Recovery"]

_log = logging.getLogger("fast_nst")


class Recovery:
    """Brings a run back whose last steps were all bad.

    Args:
        saver: has the states to return to.
    """

    LOST = 3  # bad steps in a row after which a run is lost, and the returns after which it is given up

    def __init__(
        self, training_step: TrainingStep, saver: StateSaver, progress: RunProgress, group: ProcessGroup
    ) -> None:
        self._step, self._saver, self._progress, self._group = training_step, saver, progress, group
        self._names: deque[list[str]] = deque(maxlen=self.LOST)

    def remember(self, names: list[str]) -> None:
        """Remember the photographs of a step, for messages."""
        self._names.append(names)

    @property
    def bad_in_a_row(self) -> int:
        """Bad steps since the last good one; waits for the device."""
        return int(self._step.loss_monitor.in_a_row)

    def recover(self) -> None:
        """Continue from the present weights without torch.compile if compiling was the cause, else go back.

        Raises:
            TrainingError: the run was lost too often.
        """
        if self._step.loss_monitor.not_finite > 0 and self._step.backward.recovers_eagerly():
            self._step.loss_monitor.reset()
            return
        self._go_back()

    def _go_back(self) -> None:
        """Load the last good state, to continue at half the learning rate."""
        p, reason = self._progress, self._reason()
        step, setbacks, slowed = p.step, p.setbacks + 1, p.slowed / 2
        self._saver.load()
        p.setbacks, p.slowed, p.lost_at = setbacks, slowed, step
        if setbacks == self.LOST:
            raise TrainingError(
                f"{reason}, {self.LOST} times; the last good state, of step {p.step}, is in "
                f"{self._saver.folder.state}: start a new --run with a lower --learning-rate, or with "
                "--precision fp32"
            )
        self._step.loss_monitor.reset()
        self._group.barrier()  # before the first one replaces what the others read
        if self._group.is_main:
            _log.warning("%s: returning to step %d, at half the learning rate", reason, p.step)
            self._saver.try_to_save()

    def _reason(self) -> str:
        """Arithmetic, or photographs with an unusual loss."""
        at = f"at step {self._progress.step}"
        monitor = self._step.loss_monitor
        if monitor.not_finite > 0 or monitor.in_a_row == 0:  # without bad steps it is a weight
            return f"a loss, gradient or weight was not finite {at} ({self._step.precision} arithmetic)"
        names = ", ".join(name for batch in self._names for name in batch)
        return f"the loss was far above its running mean {at} (photographs: {names})"

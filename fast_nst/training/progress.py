"""How far a run is: what changes from step to step besides tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

from fast_nst.config import RunConfig
from fast_nst.training.schedule import Stage, learning_rate_at, seconds_left, stage_at

__all__ = ["RunProgress"]


@dataclass
class RunProgress:
    """The mutable numbers of a run; the trainer, its data, its recovery and its saving share one object."""

    config: RunConfig
    step: int = 0
    """steps taken"""
    elapsed: float = 0.0
    """seconds of training, earlier parts of a resumed run included"""
    full_size_from: int | None = None
    """with --minutes and --start-size: the step at which the first stage ended; None while it lasts"""
    bad: dict[str, str] = field(default_factory=dict)
    """name and reason of every photograph that could not be read so far"""
    measured: dict[str, float] = field(default_factory=dict)
    """the last validation: the weighted terms, their sum as ``objective``, and the step"""
    slowed: float = 1.0
    """factor of the learning rate, halved each time the run returns to an earlier state"""
    setbacks: int = 0
    """how often it did since it last saved a new one"""
    lost_at: int = 0
    """the step of the last of them"""

    @property
    def stage(self) -> Stage:
        """The stage of the next step."""
        return stage_at(self.config, self.step, self.full_size_from)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self.slowed * learning_rate_at(self.config, self.step, self.elapsed, self.full_size_from)

    @property
    def finished(self) -> bool:
        late = self.config.minutes is not None and self.elapsed >= 60 * self.config.minutes
        return self.step >= self.config.steps or late

    def advance_stage(self) -> None:
        """Begin the stage of full-size crops where the first one's share of the time has passed."""
        c = self.config
        in_first = c.minutes is not None and self.stage.image_size == c.start_size
        if in_first and self.elapsed >= self.stage.limit:
            self.full_size_from = self.step

    def seconds_left(self, speed: float) -> float:
        """Seconds to the end of the run at `speed` images per second."""
        return seconds_left(self.config, self.step, self.elapsed, speed, self.full_size_from)

"""Step reports: the losses, speed and remaining time of one step of a run. The caller prints them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "ObjectiveReport",
    "Report",
    "StepReport",
    "Stopwatch",
    "TaskReport",
    "UpscaleReport",
    "clock",
    "figure",
]


class Report:
    """One reported step of any run. The losses are the weighted terms of that step's batch."""

    terms: tuple[str, ...]
    """names of the losses"""
    shown: tuple[str, ...]
    """those that are printed"""
    measures: ClassVar[tuple[str, ...]] = ("validation",)
    """names of the metrics that are known at some steps only"""
    digits: ClassVar[int] = 4
    """decimals of the losses"""

    step: int
    steps: int
    learning_rate: float
    elapsed: float
    rate: float
    remaining: float
    unit: str

    @property
    def losses(self) -> dict[str, float]:
        """Every term by its name."""
        return {name: getattr(self, name) for name in self.terms}

    @property
    def total(self) -> float:
        return sum(self.losses.values())

    @property
    def measured(self) -> dict[str, float]:
        """What was measured at this step, by name."""
        return {name: value for name in self.measures if (value := getattr(self, name)) is not None}

    def __str__(self) -> str:
        values = {"loss": self.total, **{name: self.losses[name] for name in self.shown}}
        words = [f"{name} {figure(value, self.digits)}" for name, value in values.items()]
        words += [f"{name} {value:.4f}" for name, value in self.measured.items()]
        words += [f"{self.rate:.2f} {self.unit}/s", f"{clock(self.remaining)} left"]
        return "  ".join([f"step {self.step}/{self.steps}", *words])


@dataclass(frozen=True)
class StepReport(Report):
    """One reported step of a style's training, or of the optimizer."""

    terms = ("content", "style", "tv", "grid", "temporal", "border")
    shown = ("content", "style", "tv")

    step: int
    steps: int
    content: float
    style: float
    tv: float
    grid: float
    learning_rate: float
    elapsed: float
    """seconds of running so far, earlier runs of a resumed one included"""
    rate: float
    """photographs, or whatever ``unit`` says, per second since the last report"""
    remaining: float
    """seconds to the end at this rate"""
    temporal: float = 0.0
    """the temporal loss, 0 without"""
    border: float = 0.0
    """the border loss, 0 without"""
    validation: float | None = None
    """the objective of the averaged weights on the validation set, where it was measured at this step"""
    unit: str = "photos"


@dataclass(frozen=True)
class UpscaleReport(Report):
    """One reported step of a training for super-resolution; what is not explained is as in `StepReport`."""

    terms = ("feature", "pixel", "grid")
    shown = ("feature", "pixel")
    measures = ("validation", "psnr", "ssim")
    digits = 6

    step: int
    steps: int
    feature: float
    pixel: float
    grid: float
    learning_rate: float
    elapsed: float
    rate: float
    remaining: float
    validation: float | None = None
    psnr: float | None = None
    """decibels, on the validation set"""
    ssim: float | None = None
    unit: str = "photos"


@dataclass(frozen=True)
class ObjectiveReport(Report):
    """One reported step of a training with the caller's own objective; else as in `StepReport`."""

    values: dict[str, float]
    """the objective's terms by name"""
    step: int
    steps: int
    learning_rate: float
    elapsed: float
    rate: float
    remaining: float
    validation: float | None = None
    unit: str = "photos"

    def __post_init__(self) -> None:
        for name in ("terms", "shown"):
            object.__setattr__(self, name, tuple(self.values))

    @property
    def losses(self) -> dict[str, float]:
        """Every term by its name."""
        return self.values


TaskReport = StepReport | UpscaleReport | ObjectiveReport


def figure(loss: float, digits: int = 4) -> str:
    """A loss with so many decimals; sums of Gatys' objective, which go into the billions, with a power."""
    return f"{loss:.{digits}f}" if abs(loss) < 1e5 else f"{loss:.4e}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, s = divmod(max(0, round(seconds)), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


class Stopwatch:
    """Seconds that a run takes, without those it waits for its caller.

    Args:
        elapsed: seconds that an earlier part of the run took.
    """

    def __init__(self, elapsed: float = 0.0) -> None:
        self._lap = time.perf_counter()
        self._began = self._lap - elapsed

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._began

    def lap(self) -> float:
        """Seconds since the last lap, or the start."""
        before, self._lap = self._lap, time.perf_counter()
        return self._lap - before

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens in a ``with`` block."""
        stopped = time.perf_counter()
        yield
        waited = time.perf_counter() - stopped
        self._began += waited
        self._lap += waited

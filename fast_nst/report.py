"""What a run says: step reports, timings, a metrics file, TensorBoard, a loss plot. The caller prints."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from fast_nst.training.logging.tensorboard import EventFile, append

__all__ = ["RunLog", "StepReport", "Stopwatch", "TaskReport", "UpscaleReport"]
__all__ += ["plot_losses", "read_metrics", "read_records"]

_log = logging.getLogger("fast_nst")


class Report:
    """What a reported step of any run says. The losses are weighted terms of that step's photographs."""

    terms: ClassVar[tuple[str, ...]]
    """names of the losses"""
    shown: ClassVar[tuple[str, ...]]
    """those that a person is told"""
    measures: ClassVar[tuple[str, ...]] = ("validation",)
    """names of what is only known at some steps"""
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
        told = {"loss": self.total, **{name: self.losses[name] for name in self.shown}}
        words = [f"{name} {figure(value, self.digits)}" for name, value in told.items()]
        words += [f"{name} {value:.4f}" for name, value in self.measured.items()]
        words += [f"{self.rate:.2f} {self.unit}/s", f"{clock(self.remaining)} left"]
        return "  ".join([f"step {self.step}/{self.steps}", *words])


@dataclass(frozen=True)
class StepReport(Report):
    """One reported step of a style's training, or of the optimiser."""

    terms = ("content", "style", "tv", "grid", "temporal")
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
    """how much pictures change that should not, in runs for films"""
    validation: float | None = None
    """the objective of the averaged weights on photographs kept apart, where it was measured at this step"""
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
    """decibels, on the photographs kept apart"""
    ssim: float | None = None
    unit: str = "photos"


TaskReport = StepReport | UpscaleReport


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


class RunLog:
    """The files of a run folder that tell how it went: metrics.jsonl, TensorBoard events, loss.png.

    A disk that is full costs nothing but a warning: lines are written once there is room again.

    Args:
        folder: the run folder, which exists.
        keep_through: when a run is resumed, the step it goes on from; later lines, of steps that were
            taken but not saved, are dropped, so that no step stands in the file twice.
        settings: of the run, as text, for TensorBoard.
    """

    def __init__(
        self, folder: Path, *, keep_through: int = 0, settings: str = "", tensorboard: bool = True
    ) -> None:
        self.folder = folder
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            os.truncate(self.path, _end_of(self.path, keep_through))
        self._pending, self._failing = b"", False
        # What an earlier run of this folder showed from here on is hidden, like the dropped lines.
        purge_step = keep_through + 1 if keep_through else 0
        self._board = EventFile(folder, purge_step=purge_step) if tensorboard else None
        if settings and self._board:
            self._board.text("config", f"```\n{settings}\n```", keep_through)

    def write(self, report: TaskReport) -> None:
        """Append one report; it is on disk for a reader at once."""
        self._pending += (json.dumps({**asdict(report), "total": report.total}) + "\n").encode()
        self._flush()
        if not self._board:
            return
        for name, value in {**report.losses, "total": report.total, **report.measured}.items():
            self._board.scalar(f"loss/{name}", value, report.step)
        self._board.scalar("learning_rate", report.learning_rate, report.step)
        self._board.scalar(f"{report.unit}_per_second", report.rate, report.step)

    def _flush(self) -> None:
        try:
            append(self.path, self._pending)
            self._pending, self._failing = b"", False
        except OSError as error:
            if not self._failing:  # said once an outage
                _log.warning("%s cannot be written, trying again: %s", self.path, error.strerror)
            self._failing = True

    def picture(self, name: str, pixels: Any, step: int) -> None:
        """A preview for TensorBoard: ``(H, W, 3)`` uint8."""
        if self._board:
            self._board.picture(name, pixels, step)

    def histogram(self, name: str, values: Any, step: int) -> None:
        """How often each value occurs, for TensorBoard: a flat array or tensor."""
        if self._board:
            self._board.histogram(name, values, step)

    def close(self) -> None:
        """Write what still waits to be written, and plot the losses."""
        if self._pending:
            self._flush()
        lines = read_metrics(self.path)
        if lines:
            try:
                plot_losses(lines, self.folder / "loss.png")
            except OSError as error:
                _log.warning("loss.png cannot be written: %s", error.strerror or error)


def _end_of(path: Path, step: int) -> int:
    """Bytes of a metrics.jsonl up to the end of the last whole line of that step or an earlier one."""
    end = 0
    with path.open("rb") as file:
        for text in file:
            line = _record(text)
            if not text.endswith(b"\n") or line is None or line.get("step", step + 1) > step:
                break
            end += len(text)
    return end


def _record(text: str | bytes) -> dict[str, Any] | None:
    """A line of a JSON-lines file; None for what a kill left of one."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file, none if it is not there; a line cut short by a kill is left out."""
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from (record for record in map(_record, lines) if record is not None)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line cut short by a killed run is left out."""
    return [line for line in read_records(path) if "step" in line]


def smooth(values: Sequence[float], share: float = 0.05) -> list[float]:
    """An exponential mean over about ``share`` of the curve, started without bias."""
    keep = 1 - 1 / max(1.0, share * len(values))
    out: list[float] = []
    total = weight = 0.0
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight if weight else value)
    return out


def plot_losses(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Each weighted term by step, raw and smoothed, on a logarithmic axis."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    steps = [line["step"] for line in lines]
    floor = 1e-12  # a logarithmic axis has no zero
    # Okabe and Ito's palette: told apart by colour-blind readers.
    for name, colour in (
        ("content", "#0072B2"),
        ("style", "#D55E00"),
        ("tv", "#009E73"),
        ("grid", "#CC79A7"),
        ("temporal", "#E69F00"),
        ("feature", "#0072B2"),
        ("pixel", "#56B4E9"),
        ("total", "#000000"),
    ):
        values = [max(float(line.get(name, 0)), floor) for line in lines]
        if max(values) <= floor:  # a term of weight 0 would stretch the axis over twelve decades
            continue
        axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
        axes.plot(steps, smooth(values), color=colour, linewidth=1.6, label=name)
    measured = [line for line in lines if line.get("validation") is not None]
    if measured:
        axes.plot(
            [line["step"] for line in measured],
            [line["validation"] for line in measured],
            color="#000000",
            linestyle="none",
            marker="o",
            markersize=4,
            label="total, on photographs kept apart",
        )
    axes.set(xlabel="step", ylabel="weighted loss", yscale="log")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc="upper right")  # "best" looks at every point
    figure.savefig(path, dpi=110)

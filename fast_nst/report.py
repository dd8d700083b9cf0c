"""What a run says: step reports, timings, a metrics file, TensorBoard, a loss plot. The caller prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["RunLog", "StepReport", "plot_losses", "read_metrics"]


@dataclass(frozen=True)
class StepReport:
    """One reported step of a run. The losses are weighted terms of that step's photographs."""

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
    unit: str = "photos"

    @property
    def total(self) -> float:
        return self.content + self.style + self.tv + self.grid

    def __str__(self) -> str:
        return (
            f"step {self.step}/{self.steps}  loss {figure(self.total)}  content {figure(self.content)}  "
            f"style {figure(self.style)}  tv {figure(self.tv)}  {self.rate:.2f} {self.unit}/s  "
            f"{clock(self.remaining)} left"
        )


def figure(loss: float) -> str:
    """A loss with four decimals; the sums of Gatys' objective, which go into the billions, with a power."""
    return f"{loss:.4f}" if abs(loss) < 1e5 else f"{loss:.4e}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, s = divmod(max(0, round(seconds)), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


class RunLog:
    """The files of a run folder that tell how it went: metrics.jsonl, TensorBoard events, loss.png.

    Args:
        folder: the run folder, which exists.
        keep_through: when a run is resumed, the step it goes on from; later lines, of steps that were
            taken but not saved, are dropped, so that no step stands in the file twice.
    """

    def __init__(self, folder: Path, *, keep_through: int = 0, tensorboard: bool = True) -> None:
        self.folder = folder
        self.path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(self.path) if line["step"] <= keep_through]
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(self.path)  # a kill in between loses nothing
        self._file = self.path.open("a", encoding="utf-8")
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            # What an earlier run of this folder showed from here on is hidden, like the dropped lines.
            self._board = SummaryWriter(str(folder), purge_step=keep_through + 1 if keep_through else 0)

    def write(self, report: StepReport) -> None:
        """Append one report; it is on disk for a reader at once."""
        self._file.write(json.dumps({**asdict(report), "total": report.total}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name in ("content", "style", "tv", "grid", "total"):
                self._board.add_scalar(f"loss/{name}", getattr(report, name), report.step)
            self._board.add_scalar("learning_rate", report.learning_rate, report.step)
            self._board.add_scalar(f"{report.unit}_per_second", report.rate, report.step)

    def picture(self, name: str, pixels: Any, step: int) -> None:
        """A preview for TensorBoard: ``(H, W, 3)`` uint8."""
        if self._board is not None:
            self._board.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Plot the losses and close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()
        lines = read_metrics(self.path)
        if lines:
            plot_losses(lines, self.folder / "loss.png")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line cut short by a killed run is left out."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and "step" in line:
            lines.append(line)
    return lines


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
        ("total", "#000000"),
    ):
        values = [max(float(line[name]), floor) for line in lines]
        if max(values) <= floor:  # a term of weight 0 would stretch the axis over twelve decades
            continue
        axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
        axes.plot(steps, smooth(values), color=colour, linewidth=1.6, label=name)
    axes.set(xlabel="step", ylabel="weighted loss", yscale="log")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(loc="upper right")  # "best" looks at every point
    figure.savefig(path, dpi=110)

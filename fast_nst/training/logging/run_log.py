"""The metrics of a run: metrics.jsonl, TensorBoard events and a plot of the losses."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fast_nst.io.json_lines import parse_record, read_records
from fast_nst.report import TaskReport
from fast_nst.training.logging.loss_plot import plot_losses
from fast_nst.training.logging.tensorboard import EventFile, append

__all__ = ["RunLog", "read_metrics"]

_log = logging.getLogger("fast_nst")


class RunLog:
    """The logs of a run folder: metrics.jsonl, TensorBoard events, loss.png.

    A disk that is full costs nothing but a warning: lines are written once there is room again.

    Args:
        folder: the run folder, which exists.
        keep_through: when a run is resumed, its first step; later lines, of steps that were
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
        record = {**asdict(report), **report.losses, "total": report.total}
        self._pending += (json.dumps(record) + "\n").encode()
        self._flush()
        if not self._board:
            return
        # A term that is exactly zero is off: a curve of zeros says nothing.
        losses = {name: value for name, value in report.losses.items() if value != 0}
        for name, value in {**losses, "total": report.total, **report.measured}.items():
            self._board.scalar(f"loss/{name}", value, report.step)
        self._board.scalar("learning_rate", report.learning_rate, report.step)
        self._board.scalar(f"{report.unit}_per_second", report.rate, report.step)

    def _flush(self) -> None:
        try:
            append(self.path, self._pending)
            self._pending, self._failing = b"", False
        except OSError as error:
            if not self._failing:  # one warning an outage
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
        """Write pending lines, and plot the losses."""
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
            line = parse_record(text)
            if not text.endswith(b"\n") or line is None or line.get("step", step + 1) > step:
                break
            end += len(text)
    return end


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line cut short by a killed run is left out."""
    return [line for line in read_records(path) if "step" in line]

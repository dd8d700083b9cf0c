"""Progress of a command on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import os
import sys
import threading
import time
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from fast_nst.cli.common import say
from fast_nst.errors import printable
from fast_nst.report import clock

if TYPE_CHECKING:
    from fast_nst.inference.batch.run import VideoProgress

__all__ = ["ProgressBar", "VideoProgressBar"]

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_REFRESHES = 1.0
_CLOCK_FORMAT = "{desc}{percentage:3.0f}%|{bar}| {clock} of {limit}{postfix}"


class ProgressBar:
    """Shows ``total`` things being done, of which ``done`` are done already. One thing needs no bar.

    The bar's clock runs while nothing is reported, and lines that anything prints to stderr appear above it.

    Args:
        total: 0 if nobody knows.
        unit: what is counted, in the singular; large numbers of ``B`` are shown as MB or GB. With ``second``
            the bar counts time: it moves by itself between reports.
        name: of a part of the whole: its bar stands below and goes away at the end.
    """

    def __init__(self, total: float, unit: str, *, done: float = 0, name: str | None = None) -> None:
        self._last = time.monotonic()
        self._reported = (self._last, done)
        self._counts_time = unit == "second"
        self._over = threading.Event()
        self._bar: Any = None
        if total == 1 or not sys.stderr.isatty():
            return
        self._terminal = _LinesAboveBars.install()
        self._bar = _tqdm_class()(
            total=total or None,
            initial=done,
            unit=unit,
            unit_scale=unit == "B",
            dynamic_ncols=True,
            desc=None if name is None else printable(name),
            leave=name is None,
            file=self._terminal.stream,
            bar_format=_CLOCK_FORMAT if self._counts_time else None,
        )
        self._refresher = threading.Thread(target=self._refresh, name="progress", daemon=True)
        self._refresher.start()

    def show(self, done: float, line: str, details: Mapping[str, str] | None = None) -> None:
        """So many are done now: the bar moves, its details beside it; without a bar, perhaps the line."""
        now = time.monotonic()
        self._reported = (now, done)
        if self._bar is not None:
            with suppress(OSError):  # the terminal is gone
                if details:
                    self._bar.set_postfix(details, refresh=False)
                self._bar.update(done - self._bar.n)
        elif now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            say(line)

    def status(self, text: str) -> None:
        """What is being done, in front of the bar; empty for nothing."""
        if self._bar is not None:
            self._bar.set_description_str(f"{text}: " if text else "", refresh=False)

    def _refresh(self) -> None:
        """Keep the bar's clock running while nothing is reported."""
        while not self._over.wait(SECONDS_BETWEEN_REFRESHES):
            when, done = self._reported
            with suppress(OSError):
                if self._counts_time and self._bar.total:
                    self._bar.n = min(self._bar.total, done + time.monotonic() - when)
                self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is, or take it away if it has a name."""
        if self._bar is None:
            return
        self._over.set()
        self._refresher.join()
        with suppress(OSError):
            self._bar.close()
        self._bar = None
        self._terminal.release()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _tqdm_class() -> Any:
    """tqdm, with the fields of a bar that counts time."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        @property
        def format_dict(self) -> Any:
            fields = super().format_dict
            return {**fields, "clock": clock(fields["n"]), "limit": clock(fields["total"] or 0)}

    return Bar


class _LinesAboveBars:
    """Stands for `sys.stderr` while there are bars: whole lines are printed above them."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._users = 0
        self._unfinished = ""

    @staticmethod
    def install() -> _LinesAboveBars:
        """Put it in the place of `sys.stderr`, or find it there."""
        current: Any = sys.stderr
        lines = current if isinstance(current, _LinesAboveBars) else _LinesAboveBars(sys.stderr)
        lines._users += 1
        sys.stderr = typing.cast(TextIO, lines)
        return lines

    def release(self) -> None:
        """One bar is gone; after the last one `sys.stderr` is what it was."""
        self._users -= 1
        if self._users == 0 and sys.stderr is typing.cast(TextIO, self):
            sys.stderr = self.stream
            with suppress(OSError):
                self.stream.write(self._unfinished)

    @contextmanager
    def bars_hidden(self) -> Iterator[None]:
        """Without the bars for as long as something else is printed on the same terminal."""
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            yield

    def write(self, text: str) -> int:
        """Print whole lines at once; what has no line end waits for it."""
        lines, end, self._unfinished = (self._unfinished + text).rpartition("\n")
        if end:
            with self.bars_hidden():
                self.stream.write(lines + end)
                self.stream.flush()
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class VideoProgressBar:
    """The progress of one video after the other: frames, frames a second and the time left."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None

    def show(self, video: VideoProgress) -> None:
        """How far it is now."""
        report, name = video.report, os.path.basename(video.job.source)
        if self._bar is None:
            self._bar = ProgressBar(report.total, "frame", name=name)
        of = f" of {report.total}" if report.total else ""
        left = "" if report.left is None else f", {report.left / 60:.1f} minutes left"
        self._bar.show(report.frames, f"{name}: {report.frames}{of} frames, {report.rate:.1f} a second{left}")

    def clear(self) -> None:
        """The video is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> VideoProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

"""How far a command is: a bar on a terminal, elsewhere a line now and then. On stderr, like all words."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fast_nst.cli.common import say
from fast_nst.errors import InputError, one_line

if TYPE_CHECKING:
    from fast_nst.inference.batch.run import VideoProgress

__all__ = ["Progress", "VideoProgressBar"]

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows ``total`` things being done, of which ``done`` are done already. One thing needs no bar.

    Args:
        unit: what is counted, in the singular; large numbers of ``B`` are shown as MB or GB.
        total: 0 if nobody knows.
        name: of a part of the whole: its bar stands below and goes away at the end.
    """

    def __init__(self, total: int, unit: str, *, done: int = 0, name: str | None = None) -> None:
        self._last = time.monotonic()
        self._bar: Any = None
        if total != 1 and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total or None,
                initial=done,
                unit=unit,
                unit_scale=unit == "B",
                dynamic_ncols=True,
                desc=name,
                leave=name is None,
            )

    def show(self, done: int, line: str, details: Mapping[str, str] | None = None) -> None:
        """So many are done now: the bar moves, its details beside it; without a bar, perhaps the line."""
        if self._bar is not None:
            if details:
                self._bar.set_postfix(details, refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            say(line)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away for as long as something else is printed on the same terminal."""
        if self._bar is None:
            yield
            return
        with self._bar.external_write_mode(file=sys.stderr):
            yield

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


class VideoProgressBar:
    """The progress of one video after the other: frames, frames a second and the time left."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def show(self, video: VideoProgress) -> None:
        """How far it is now."""
        report, name = video.report, os.path.basename(video.job.source)
        if self._progress is None:
            self._progress = Progress(report.total, "frame", name=name)
        of = f" of {report.total}" if report.total else ""
        left = "" if report.left is None else f", {report.left / 60:.1f} minutes left"
        line = f"{name}: {report.frames}{of} frames, {report.rate:.1f} a second{left}"
        self._progress.show(report.frames, one_line(InputError(line)))

    def clear(self) -> None:
        """The video is over."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None

    def __enter__(self) -> VideoProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

"""How far a command is: a bar on a terminal, elsewhere a line now and then. On stderr, like all words."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from fast_nst.cli.common import say

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows ``total`` things being done, of which ``done`` are done already. One thing needs no bar.

    Args:
        unit: what is counted, in the singular; large numbers of ``B`` are shown as MB or GB.
    """

    def __init__(self, total: int, unit: str, *, done: int = 0) -> None:
        self._last = time.monotonic()
        self._bar: Any = None
        if total > 1 and sys.stderr.isatty():
            from tqdm import tqdm

            scaled = unit == "B"
            self._bar = tqdm(total=total, initial=done, unit=unit, unit_scale=scaled, dynamic_ncols=True)

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

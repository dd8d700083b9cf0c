"""What the commands share: one-line errors, exit codes, signals, data on stdout and words on stderr."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from fast_nst.errors import InputError, one_line

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "SIGNALLED",
    "TERMINATED",
    "USAGE",
    "Terminated",
    "guarded",
    "leave",
    "program",
    "put",
    "say",
    "stopped_by_signals",
]

DONE, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
SIGNALLED = 128  # what a shell adds to the number of the signal that ended a command


class Terminated(BaseException):
    """SIGTERM, as an exception, so that what is half written is taken away on the way out."""


def say(words: str) -> None:
    """Words for a person, on stderr; stdout is for data."""
    print(words, file=sys.stderr, flush=True)


def put(line: str) -> None:
    """A line of data on stdout. File names pass byte for byte, also those that are text in no encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(line + "\n"))
    sys.stdout.buffer.flush()


def program(command: str) -> str:
    """What the user typed to get here: ``stylize.py`` or ``fast-nst stylize``."""
    script = Path(sys.argv[0]).name
    return script if script == f"{command}.py" else f"fast-nst {command}"


def guarded(command: Callable[[list[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Run a command; whatever its user can cause ends as one line and an exit code, not as a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _sigterm_raises():
            return command(given)
    except InputError as error:
        return _fail(one_line(error), given, USAGE)
    except KeyboardInterrupt as end:
        return _fail("; ".join(["interrupted", *_notes(end)]), given, INTERRUPTED)
    except Terminated as end:
        return _fail("; ".join(["terminated", *_notes(end)]), given, TERMINATED)
    except BrokenPipeError:
        return FAILED  # whoever read our stdout has gone, and needs no telling
    except OSError as error:
        return _fail(one_line(error), given, FAILED)
    except SystemExit as end:  # the parser has said what is wrong, or printed the help
        return end.code if isinstance(end.code, int) else DONE
    finally:
        _settle_stdout()


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    def handle(_: int, __: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # others cannot set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave(code: int) -> NoReturn:
    """End the process at once: an engine needs a tenth of a second to take itself down, the system none."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody listens
            stream.flush()
    os._exit(code)


class Stoppable(Protocol):
    """A run that can be told to end early and in order."""

    def stop(self) -> None:
        """End after the step in progress."""


@contextmanager
def stopped_by_signals(run: Stoppable, when: str, tell: Callable[[str], None] = say) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM ends the run after the step in progress; a second one ends it at once.

    So does the first one where the step in progress compiles, for there is nothing to be saved then.

    Args:
        when: what is told, as in "stopping after this step".

    Yields:
        A list that gets the number of the signal.
    """
    caught: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if caught or getattr(run, "compiling", False):
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        caught.append(number)
        run.stop()
        tell(f"stopping {when}; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settle_stdout() -> None:
    """Drop what stdout could not take: flushed once more at exit, it would fail again, with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _notes(end: BaseException) -> list[str]:
    """What those whom the signal interrupted had to say."""
    return [one_line(InputError(note)) for note in getattr(end, "__notes__", [])]


def _fail(reason: str, given: Sequence[str], code: int) -> int:
    if "--debug" in given:
        traceback.print_exc()
    say(f"error: {reason}")
    return code

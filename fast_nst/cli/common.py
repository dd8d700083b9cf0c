"""What the commands share: one-line errors, exit codes, signals, data on stdout and messages on stderr."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from fast_nst.errors import InputError, one_line, printable

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "SIGNALLED",
    "TERMINATED",
    "USAGE",
    "Terminated",
    "guarded",
    "is_closed",
    "leave",
    "program",
    "put",
    "say",
    "stopped_by_signals",
]

DONE, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
SIGNALLED = 128  # what a shell adds to the number of the signal that ended a command


class Terminated(BaseException):
    """SIGTERM, as an exception, so that partial files are removed on the way out."""


def say(message: str) -> None:
    """A message for a person, on stderr; stdout is for data. Nobody need be listening."""
    with suppress(OSError):
        print(printable(message, keep="\n"), file=sys.stderr, flush=True)


def put(line: str) -> None:
    """A line of data on stdout: exactly these bytes, but for a terminal, which gets no control characters.

    Names of files pass byte for byte, also those that are text in no encoding.
    """
    shown = printable(line, keep="\n") if sys.stdout.isatty() else line
    with getattr(sys.stderr, "bars_hidden", nullcontext)():  # where there are progress bars
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(shown + "\n"))
        sys.stdout.buffer.flush()


_CLOSED: set[str] = set()


def is_closed(stream: str) -> bool:
    """Whether the process was started without ``stdin``, ``stdout`` or ``stderr``."""
    return stream in _CLOSED


def _open_closed_streams() -> None:
    """Connect streams that were closed at the start (``>&-``, some services) to the null device.

    Otherwise the next file that is opened would get the number of stdout, and what is printed with it.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free number, so that of the closed stream
            os.set_inheritable(number, True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace"))
            _CLOSED.add(name)


def program(command: str) -> str:
    """The command as the user typed it: ``stylize.py`` or ``fast-nst stylize``."""
    script = Path(sys.argv[0]).name
    return script if script == f"{command}.py" else f"fast-nst {command}"


def guarded(command: Callable[[list[str]], int]) -> Callable[[Sequence[str] | None], int]:
    """Decorate a command: what its user can cause ends as one line and an exit code, not as a traceback.

    The command takes the arguments given, or those of the process.
    """

    @functools.wraps(command)
    def run(arguments: Sequence[str] | None = None) -> int:
        return _run(command, list(sys.argv[1:] if arguments is None else arguments))

    return run


def _run(command: Callable[[list[str]], int], given: list[str]) -> int:
    _open_closed_streams()
    try:
        with _signals_raise(), _library_messages():
            return command(given)
    except InputError as error:
        return _fail(one_line(error), given, USAGE)
    except KeyboardInterrupt as end:
        return _fail("; ".join(["interrupted", *_notes(end)]), given, INTERRUPTED)
    except Terminated as end:
        return _fail("; ".join(["terminated", *_notes(end)]), given, TERMINATED)
    except BrokenPipeError:
        return FAILED  # whoever read our stdout has closed it, and needs no message
    except OSError as error:
        return _fail(one_line(error), given, FAILED)
    except SystemExit as end:  # the parser has said what is wrong, or printed the help
        return end.code if isinstance(end.code, int) else DONE
    finally:
        _settle_streams()


class _SayHandler(logging.Handler):
    """Warnings of the library as messages on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def _library_messages() -> Iterator[None]:
    """Show what `fast_nst` logs while a command runs, unless the caller has arranged for it."""
    log = logging.getLogger("fast_nst")
    if log.handlers or logging.getLogger().handlers:
        yield
        return
    handler = _SayHandler(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a command, as exceptions where those can be relied on; see `_end_at_once`."""
    if threading.current_thread() is not threading.main_thread():  # others cannot set handlers
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    # A signal that is ignored stays so: nohup, and shells for what runs in the background.
    before = {n: old for n in numbers if (old := signal.getsignal(n)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, _end_at_once)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Raise what the signal means, so that partial files are removed.

    During an import the process ends here: packages catch exceptions while they are loaded, and what they
    make of this one is a traceback about something else.
    """
    while frame is not None and frame.f_code is not _run.__code__:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            say("error: interrupted" if number == signal.SIGINT else "error: terminated")
            os._exit(SIGNALLED + number)
        frame = frame.f_back
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def leave(code: int) -> NoReturn:
    """End the process at once: engines take a tenth of a second to shut down, the operating system none."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # nobody listens, or the stream never was open
            stream.flush()
    os._exit(code)


class Stoppable(Protocol):
    """A run that can end early and leave everything saved."""

    def stop(self) -> None:
        """End after the step in progress."""


@contextmanager
def stopped_by_signals(run: Stoppable, when: str, tell: Callable[[str], None] = say) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM ends the run after the step in progress; a second one ends it at once.

    So does the first one while a step compiles: there is nothing to save then.

    Args:
        when: end of the message "stopping …", such as "after this step".
        tell: prints the message.

    Yields:
        A list that gets the number of the signal.
    """
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught or getattr(run, "compiling", False):
            _end_at_once(number, frame)
        caught.append(number)
        run.stop()
        tell(f"stopping {when}; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settle_streams() -> None:
    """Drop what a stream could not take: flushed once more at exit, it would fail again, with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _notes(end: BaseException) -> list[str]:
    """The notes that were attached to an interruption on its way out."""
    return [one_line(InputError(note)) for note in getattr(end, "__notes__", [])]


def _fail(reason: str, given: Sequence[str], code: int) -> int:
    if "--debug" in given:
        traceback.print_exc()
    say(f"error: {reason}")
    return code

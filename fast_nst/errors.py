"""The base class of everything a user can cause, and the one place where text becomes safe to print."""

from __future__ import annotations

import reprlib
from pathlib import Path

__all__ = ["FileError", "InputError", "first_line", "one_line", "printable", "shown"]


def printable(text: object, keep: str = "") -> str:
    """Text on one line that no terminal acts upon: line ends become spaces, what is unprintable escapes.

    File names, members of archives and reasons from other libraries may hold line ends, terminals' escape
    sequences, marks that reverse the direction of text, or bytes that are no text.

    Args:
        keep: characters that stay although they do not print, such as the line ends of longer messages.
    """
    line = str(text) if keep else " ".join(str(text).splitlines())
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in line)


class InputError(ValueError):
    """Something the caller gave cannot be used.

    The message is one printable line: what was found, what is allowed, how to cure it. The command line
    prints it as it stands and exits; anything else that escapes is a defect of ours and keeps its traceback.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class FileError(InputError):
    """``path: reason``, for a file that cannot be read or written."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(path, reason)  # both in `args`, or the error could not cross a process border
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.reason}")


def first_line(error: BaseException) -> str:
    """Another library's reason, cut to its first line for a message of ours."""
    return printable(next(iter(str(error).splitlines()), "") or type(error).__name__)


def one_line(error: BaseException) -> str:
    """The message of an error on one printable line; the system's errors begin with the file's name."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return printable(text)


def shown(value: object, limit: int = 80) -> str:
    """A value from a file that is not trusted, for a message: printable, and no longer than the limit."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    return printable(text if len(text) <= limit else text[: limit - 1] + "…")

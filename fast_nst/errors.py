"""The one base class of everything a user can cause: bad input, a missing file, a setting out of range."""

from __future__ import annotations

import reprlib

__all__ = ["InputError", "first_line", "one_line", "printable", "shown"]


class InputError(ValueError):
    """Something the caller gave cannot be used.

    The message is one line: what was found, what is allowed, how to cure it. The command line prints it
    as it stands and exits; anything else that escapes is a defect of ours and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """Another library's reason, cut to its first line for a message of ours."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def one_line(error: BaseException) -> str:
    """What went wrong; for the system's errors, with the file's name in front."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return printable(text)


def shown(value: object, limit: int = 80) -> str:
    """A value from a file that is not trusted, for a message: printable, and no longer than the limit."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return printable(cut)


def printable(text: str, keep: str = "") -> str:
    """Text that a terminal shows and does not obey.

    Names of files may hold line ends, escape sequences, or bytes that are text in no encoding.

    Args:
        keep: characters that stay although they do not print, such as line ends.
    """
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)

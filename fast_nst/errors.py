"""The one base class of everything a user can cause: bad input, a missing file, a setting out of range."""

from __future__ import annotations

__all__ = ["InputError", "first_line"]


class InputError(ValueError):
    """Something the caller gave cannot be used.

    The message is one line: what was found, what is allowed, how to cure it. The command line prints it
    as it stands and exits; anything else that escapes is a defect of ours and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """Another library's reason, cut to its first line for a message of ours."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__

"""What the commands share: parsing into a config, one-line errors, exit codes, words on stderr."""

from __future__ import annotations

import os
import sys
import tomllib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from fast_nst.config import from_dict
from fast_nst.errors import InputError

__all__ = ["DONE", "FAILED", "INTERRUPTED", "USAGE", "guarded", "one_line", "parse", "say"]

T = TypeVar("T")
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def say(words: str) -> None:
    """One line for a person, on stderr; stdout is for data."""
    print(words, file=sys.stderr, flush=True)


def guarded(command: Callable[[list[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Run a command; whatever its user can cause ends as one line and an exit code, not as a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return command(given)
    except InputError as error:
        return _fail(str(error), given, USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", given, INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our stdout has gone; a second error while Python flushes it would say nothing new.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _fail(one_line(error), given, FAILED)


def one_line(error: BaseException) -> str:
    """What went wrong; for the system's errors, with the file's name in front."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _fail(reason: str, given: Sequence[str], code: int) -> int:
    if "--debug" in given:
        traceback.print_exc()
    say(f"error: {reason}")
    return code


def parse(config: type[T], arguments: Sequence[str], *, prog: str, description: str, **extra: Any) -> T:
    """Arguments as a config: defaults, then the TOML file of ``--config``, then the flags.

    Raises:
        InputError: a TOML file that is missing or wrong, or a value out of range.
        SystemExit: 2 for an unknown flag or a missing argument, after a message; 0 for ``--help``.
    """
    import tyro

    rest, file = _without_config(list(arguments))
    defaults = _defaults(config, file) if file else None
    parsed: T = tyro.cli(
        config,
        args=rest,
        prog=prog,
        description=description,
        default=defaults,
        config=(tyro.conf.OmitArgPrefixes,),
        **extra,
    )
    return parsed


def _without_config(arguments: list[str]) -> tuple[list[str], Path | None]:
    """``--config FILE`` or ``--config=FILE`` taken out."""
    for i, word in enumerate(arguments):
        if word.startswith("--config="):
            return arguments[:i] + arguments[i + 1 :], Path(word.removeprefix("--config="))
        if word == "--config":
            if i + 1 == len(arguments):
                raise InputError("--config needs a file: --config run.toml")
            return arguments[:i] + arguments[i + 2 :], Path(arguments[i + 1])
    return arguments, None


def _defaults(config: type[T], file: Path) -> T:
    """A config from a TOML file; what it leaves out and has no default stays required on the command line."""
    import tyro

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read --config {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config {file} is not TOML: {error}") from None
    required = [f.name for f in fields(config) if f.default is f.default_factory is MISSING]  # type: ignore[arg-type]
    missing = [name for name in required if name not in values]
    stand_in = from_dict(config, {**values, **dict.fromkeys(missing, "")})
    for name in missing:
        object.__setattr__(stand_in, name, tyro.MISSING)
    return stand_in

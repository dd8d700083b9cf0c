"""Which picture goes where: sources of ``stylize.py`` as a list of jobs, outputs named and checked."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.images import can_write, find_pictures

__all__ = ["STANDARD", "Job", "plan"]

STANDARD = "-"  # stdin as a source, stdout as an output


@dataclass(frozen=True)
class Job:
    """One picture to stylise."""

    source: str
    """a file, or ``-`` for stdin"""
    target: str
    """a file, or ``-`` for stdout"""


def plan(sources: Sequence[str], style: str, config: StylizeConfig) -> list[Job]:
    """The jobs of a command line, in order.

    Args:
        sources: files, folders, glob patterns, or ``-``.
        style: the style's name, for the names of outputs.

    Raises:
        InputError: a source that is not there, a folder without pictures, or several results for one file.
    """
    found = [pair for source in sources for pair in _expand(source)]
    one = len(found) == 1 and not (os.path.isdir(sources[0]))
    jobs = [Job(source, _target(source, inside, style, config, one=one)) for source, inside in found]
    seen: dict[str, str] = {}
    for job in jobs:
        if job.target != STANDARD and _same(job.source, job.target):
            raise InputError(f"{job.source} would be written over itself; give another --out")
        if job.target in seen:
            raise InputError(f"{seen[job.target]} and {job.source} would both be written to {job.target}")
        seen[job.target] = job.source
    return jobs


def _expand(source: str) -> Iterator[tuple[str, Path | None]]:
    """A source's pictures, each with its place inside its folder where a folder was given."""
    if source == STANDARD:
        yield STANDARD, None
        return
    path = Path(source)
    if path.is_dir():
        pictures = find_pictures(path)
        if not pictures:
            raise InputError(
                f"no pictures in the folder {source}; the endings of pictures are .jpg, .png and so on"
            )
        for picture in pictures:
            # Beside the folder itself, so that results of several folders do not mix.
            yield str(picture), picture.relative_to(path)
    elif path.exists() or not glob.has_magic(source):
        yield source, None  # a missing file is that picture's failure and stops no other
    else:
        matches = sorted(name for name in glob.glob(source, recursive=True) if Path(name).is_file())
        if not matches:
            raise InputError(f"no file matches {source!r}")
        for name in matches:
            yield name, None


def _target(source: str, inside: Path | None, style: str, config: StylizeConfig, *, one: bool) -> str:
    """Where a result goes: see `StylizeConfig.out`."""
    out = config.out
    if out == STANDARD or (out is None and source == STANDARD):
        if not one:
            raise InputError("--out - takes one picture; give a folder for several")
        return STANDARD
    if out is not None and one and not (out.endswith(("/", os.sep)) or os.path.isdir(out)):
        return out
    name = inside or Path(Path(source).name if source != STANDARD else "stdin.png")
    name = name.with_suffix(_ending(name, config.format))
    if out is not None:
        return str(Path(out) / name)
    if inside is not None:
        folder = Path(source[: -len(str(inside)) or None]).resolve().name
        return str(Path(f"{folder}_{style}") / name)
    return str(name.with_name(f"{name.stem}_{style}{name.suffix}"))


def _ending(name: Path, format: str | None) -> str:
    """The input's ending where that can be written, else PNG, which loses nothing."""
    if format is not None:
        return f".{format.lower().lstrip('.')}"
    return name.suffix if can_write(name.suffix) else ".png"


def _same(source: str, target: str) -> bool:
    """Whether both name one file, also through links."""
    try:
        return source != STANDARD and os.path.samefile(source, target)
    except OSError:
        return False

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
DEMO = "demo"  # a source for a first try: a photograph that comes with a package we need anyway


@dataclass(frozen=True)
class Job:
    """One picture to stylise."""

    source: str
    """a file, or ``-`` for stdin"""
    target: str
    """a file, or ``-`` for stdout"""


def plan(sources: Sequence[str], style: str, config: StylizeConfig) -> list[Job]:
    """The jobs of a command line, in order; a picture named twice is one job.

    Args:
        sources: files, folders, glob patterns, or ``-``.
        style: the style's name, for the names of outputs.

    Raises:
        InputError: a source that is not there, a folder without pictures, several results for one file, or
            a result in place of an input.
    """
    found: dict[str, tuple[str, Path | None]] = {}
    for source in sources:
        for name, place in _expand(source, style, config.out):
            found.setdefault(name if name == STANDARD else os.path.abspath(name), (name, place))
    pictures = list(found.values())
    one = len(pictures) == 1 and not os.path.isdir(sources[0])
    _check_out(config, one=one, count=len(pictures))
    jobs = [Job(source, _target(source, place, style, config, one=one)) for source, place in pictures]
    _check_targets(jobs, config)
    return jobs


def _expand(source: str, style: str, out: str | None) -> Iterator[tuple[str, Path | None]]:
    """A source's pictures; each of a folder with the place of its result, sub-folders kept."""
    path = Path(source)
    if source == STANDARD:
        yield STANDARD, None
    elif not source:
        raise InputError("a source is empty; is a variable of the shell not set?")
    elif path.is_dir():
        results = Path(out or f"{path.resolve().name}_{style}")
        pictures = [picture for picture in find_pictures(path) if not _is_result(picture, path, results)]
        if not pictures:
            raise InputError(f"no pictures in the folder {source}; their names end in .jpg, .png and so on")
        for picture in pictures:
            yield str(picture), results / picture.relative_to(path)
    elif source == DEMO and not path.exists():
        yield str(_demo_photograph()), None
    elif path.exists() or not glob.has_magic(source):
        yield source, None  # a missing file is that picture's failure and stops no other
    else:
        matches = sorted(name for name in glob.glob(source, recursive=True) if Path(name).is_file())
        if not matches:
            raise InputError(f"no file matches {source}")
        for name in matches:
            yield name, None


def _demo_photograph() -> Path:
    """Rear Admiral Grace Hopper, photographed by James S. Davis: public domain, bundled with matplotlib."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def _is_result(picture: Path, folder: Path, results: Path) -> bool:
    """Whether it lies in the output folder, itself inside the input folder: the harvest of an earlier run."""
    results = results.resolve()
    return folder.resolve() in results.parents and results in picture.resolve().parents


def _check_out(config: StylizeConfig, *, one: bool, count: int) -> None:
    out = config.out
    if config.format is not None and not can_write("." + config.format.removeprefix(".")):
        raise InputError(
            f"cannot write --format {config.format}; give png, jpg, webp, tiff, avif, bmp or ppm"
        )
    if out is None or out == STANDARD:
        return
    if not out:
        raise InputError("--out is empty; give a file, a folder, or - for stdout")
    if _is_folder(out):
        return
    ending = Path(out).suffix
    if one and config.format is None and not can_write(ending):
        found = f"cannot write {ending!r}" if ending else "has no ending"
        raise InputError(
            f"--out {out}: {found}; give a name such as out.png, or a folder with a / at its end"
        )
    if not one and can_write(ending):
        raise InputError(f"--out {out} names one file, for {count} pictures; give a folder, such as {out}/")


def _is_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or os.path.isdir(out)


def _target(source: str, place: Path | None, style: str, config: StylizeConfig, *, one: bool) -> str:
    """Where a result goes: see `StylizeConfig.out`."""
    out = config.out
    if out == STANDARD or (out is None and source == STANDARD):
        if not one:
            raise InputError("stdout takes one picture; give --out FOLDER for several")
        return STANDARD
    if out is not None and one and not _is_folder(out):
        return out
    if place is not None:
        return str(place.with_suffix(_ending(place, config.format)))
    name = Path(Path(source).name if source != STANDARD else "stdin.png")
    ending = _ending(name, config.format)
    if out is not None:
        return str(Path(out) / name.with_suffix(ending))
    return str(name.with_name(f"{name.stem}_{style}{ending}"))


def _ending(name: Path, format: str | None) -> str:
    """The input's ending where that can be written, else PNG, which loses nothing."""
    if format is not None:
        return f".{format.lower().removeprefix('.')}"
    return name.suffix if can_write(name.suffix) else ".png"


def _check_targets(jobs: Sequence[Job], config: StylizeConfig) -> None:
    """No two results in one file, and none in place of a picture that is read, also through links."""
    inputs = {key: job.source for job in jobs if (key := _identity(job.source)) is not None}
    taken: dict[str, str] = {}
    for job in jobs:
        if job.target == STANDARD:
            continue
        place = os.path.realpath(job.target)
        if place in taken:
            pair = f"{taken[place]} and {job.source}"
            raise InputError(f"{pair} would both be written to {job.target}; give them one at a time")
        taken[place] = job.source
        there = _identity(job.target)
        source = inputs.get(there) if there is not None else None
        if source == job.source:
            raise InputError(f"{source} would be written over itself; give another --out")
        if source is not None and not config.skip_existing:
            raise InputError(f"{source}, an input, would be overwritten by {job.source}'s result; give --out")


def _identity(path: str) -> tuple[int, int] | None:
    """What two names of one file have in common; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

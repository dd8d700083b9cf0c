"""Which picture or film goes where: sources of ``stylize.py`` as jobs, outputs named and checked."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fast_nst.animations import is_animation
from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.images import EXTENSIONS, can_write, find_pictures
from fast_nst.inference.film.codecs import CONTAINERS, FILMS

__all__ = ["STANDARD", "Job", "camera_of", "plan"]

STANDARD = "-"  # stdin as a source, stdout as an output
DEMO = "demo"  # a source for a first try: a photograph that comes with a package we need anyway


@dataclass(frozen=True)
class Job:
    """One picture or film to stylise."""

    source: str
    """a file, or ``-`` for stdin"""
    target: str
    """a file, or ``-`` for stdout"""
    film: bool = False
    """whether it is a film, or an animation that stays one"""


def camera_of(sources: Sequence[str], config: StylizeConfig) -> str | None:
    """The camera among the sources: a number, an address, or what ``--live`` says is one; None without.

    Raises:
        InputError: a camera among other sources.
    """
    for source in sources:
        number = source.isdecimal() and source.isascii() and not os.path.exists(source)
        if number or "://" in source or config.camera.live:
            if len(sources) > 1:
                raise InputError(f"{source} is a camera, which is a source for itself; give it alone")
            return source
    return None


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
    films = {source for source, _ in pictures if _is_film(source, config, one=one)}
    _check_out(config, one=one, count=len(pictures), films=len(films))
    jobs = [
        Job(source, _target(source, place, style, config, one=one, film=source in films), source in films)
        for source, place in pictures
    ]
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
        found = find_pictures(path, endings=EXTENSIONS | FILMS.keys())
        pictures = [picture for picture in found if not _is_result(picture, path, results)]
        if not pictures:
            raise InputError(
                f"no pictures in the folder {source}, nor films; their names end in .jpg, .png, .mp4 …"
            )
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


def _is_film(source: str, config: StylizeConfig, *, one: bool) -> bool:
    """Whether the result is a film: of a film always, of an animation if it is not to be a single picture."""
    if source == STANDARD:
        return False
    if Path(source).suffix.lower() in FILMS:
        return True
    wanted = Path(source).suffix
    if config.format is not None:
        wanted = _dotted(config.format)
    elif one and config.out is not None and not _is_folder(config.out):
        wanted = Path(config.out).suffix
    return wanted.lower() in CONTAINERS and is_animation(source)


def _dotted(format: str) -> str:
    return f".{format.lower().removeprefix('.')}"


def _check_out(config: StylizeConfig, *, one: bool, count: int, films: int) -> None:
    out = config.out
    if config.format is not None:
        format = _dotted(config.format)
        if not ((films and format in CONTAINERS) or (films < count and can_write(format))):
            known = (
                f"{' '.join(CONTAINERS)} for a film" if films else "png, jpg, webp, tiff, avif, bmp or ppm"
            )
            raise InputError(f"cannot write --format {config.format}; give {known}")
    if out is None or out == STANDARD:
        return
    if not out:
        raise InputError("--out is empty; give a file, a folder, or - for stdout")
    if _is_folder(out):
        return
    ending = Path(out).suffix
    for_films = ending.lower() in CONTAINERS
    if one and config.format is None and not (for_films if films else can_write(ending)):
        found = f"cannot write {ending!r}" if ending else "has no ending"
        kind, example = (" of a film", "out.mp4") if films else ("", "out.png")
        raise InputError(
            f"--out {out}: {found}{kind}; give a name such as {example}, or a folder with a / at its end"
        )
    if not one and (for_films or can_write(ending)):
        raise InputError(f"--out {out} names one file, for {count} pictures; give a folder, such as {out}/")


def _is_folder(out: str) -> bool:
    return out.endswith(("/", os.sep)) or os.path.isdir(out)


def _target(
    source: str, place: Path | None, style: str, config: StylizeConfig, *, one: bool, film: bool
) -> str:
    """Where a result goes: see `StylizeConfig.out`."""
    out = config.out
    if film and out == STANDARD:
        raise InputError(f"{source} is a film, which cannot be sent to stdout; give --out FILE")
    if out == STANDARD or (out is None and source == STANDARD):
        if not one:
            raise InputError("stdout takes one picture; give --out FOLDER for several")
        return STANDARD
    if out is not None and one and not _is_folder(out):
        return out
    if place is not None:
        return str(place.with_suffix(_ending(place, config.format, film=film)))
    name = Path(Path(source).name if source != STANDARD else "stdin.png")
    ending = _ending(name, config.format, film=film)
    if out is not None:
        return str(Path(out) / name.with_suffix(ending))
    return str(name.with_name(f"{name.stem}_{style}{ending}"))


def _ending(name: Path, format: str | None, *, film: bool) -> str:
    """The format asked for if it is one for this kind, else the input's ending where that can be written.

    Else PNG, which loses nothing; see `FILMS` for films.
    """
    if format is not None and (_dotted(format) in CONTAINERS if film else can_write(_dotted(format))):
        return _dotted(format)
    if name.suffix.lower() in CONTAINERS if film else can_write(name.suffix):
        return name.suffix
    return FILMS[name.suffix.lower()] if film else ".png"


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

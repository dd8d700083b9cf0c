"""Which picture or video goes where: sources of ``stylize.py`` as jobs, outputs named and checked."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fast_nst.config import InferenceConfig, StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.video.codecs import CONTAINERS, VIDEO_ENDINGS
from fast_nst.io.animations import is_animation
from fast_nst.io.images import EXTENSIONS, can_write, find_pictures
from fast_nst.io.remote import is_remote, join, list_pictures, local

__all__ = ["STANDARD", "Job", "camera_of", "folders", "plan"]

# What cameras are reached by; other addresses are files, or cameras by --live.
_STREAMS = ("rtsp://", "rtsps://", "rtmp://", "udp://", "srt://")
STANDARD = "-"  # stdin as a source, stdout as an output
DEMO = "demo"  # a source for a first try: a photograph that comes with a package we need anyway


@dataclass(frozen=True)
class Job:
    """One picture or video to stylize."""

    source: str
    """a file, an address, or ``-`` for stdin"""
    target: str
    """a file, an address, or ``-`` for stdout"""
    video: bool = False
    """whether it is a video, or an animation that stays one"""
    fault: str | None = None
    """why there is nothing to do: a pattern that matches nothing, a folder without pictures"""


class _Found(NamedTuple):
    """A picture before its result has a name."""

    source: str
    root: str | None = None
    """where the results of the folder it was found in go"""
    below: Path | None = None
    """its place in that folder"""
    matched: bool = False
    """whether a pattern brought it, and not its name"""


def camera_of(sources: Sequence[str], config: StylizeConfig) -> str | None:
    """The camera among the sources: a number, a stream's address, or what ``--live`` says is one; or None.

    Raises:
        InputError: a camera among other sources.
    """
    for source in sources:
        number = source.isdecimal() and source.isascii() and not os.path.exists(source)
        if number or source.startswith(_STREAMS) or config.camera.live:
            if len(sources) > 1:
                raise InputError(f"{source} is a camera, which is a source for itself; give it alone")
            return source
    return None


def plan(sources: Sequence[str], style: str, config: InferenceConfig) -> list[Job]:
    """The jobs of a command line, in order; a picture named twice is one job.

    Args:
        sources: files, folders, addresses, glob patterns, or ``-``. One that yields no picture stops no
            other: it becomes a job with a fault.
        style: the style's name, for the names of outputs.

    Raises:
        InputError: no source yields a picture, several results for one file, or a result in place of an
            input.
    """
    if config.out is not None:
        config = dataclasses.replace(config, out=local(config.out))
    found: dict[str, _Found] = {}
    faults: list[Job] = []
    for source in map(local, sources):
        try:
            for picture in _expand(source, style, config.out):
                found.setdefault(_key(picture.source), picture)
        except _NothingFound as fault:
            faults.append(Job(source, "", fault=str(fault)))
    if faults and not found:
        raise InputError("; ".join(str(job.fault) for job in faults))
    pictures = list(found.values())
    one = len(pictures) == 1 and pictures[0].root is None
    videos = {picture.source for picture in pictures if _is_video(picture.source, config, one=one)}
    _check_out(config, one=one, count=len(pictures), videos=len(videos))
    jobs = [
        Job(picture.source, _target(picture, style, config, one=one, video=video), video)
        for picture in pictures
        for video in [picture.source in videos]
    ]
    if not config.overwrite:  # else what only looks like a result would be lost
        harvest = _harvest(pictures, jobs)
        jobs = [job for job in jobs if job.source not in harvest]
    _check_targets(jobs, config)
    return faults + jobs


def folders(jobs: Sequence[Job]) -> list[Path]:
    """Where their results go, addresses and stdout left out."""
    files = (job.target for job in jobs if job.target not in ("", STANDARD) and not is_remote(job.target))
    return list(dict.fromkeys(Path(target).parent for target in files))


def _harvest(pictures: Sequence[_Found], jobs: Sequence[Job]) -> set[str]:
    """What patterns match beside their inputs because an earlier run, or another shard, has painted it."""
    results = {_key(job.target) for job in jobs if _key(job.target) != _key(job.source)}
    return {picture.source for picture in pictures if picture.matched and _key(picture.source) in results}


class _NothingFound(InputError):
    """A source that yields no picture."""


def _key(name: str) -> str:
    """What two names of one place have in common, links aside."""
    return name if name == STANDARD or is_remote(name) else os.path.abspath(name)


def _expand(source: str, style: str, out: str | None) -> Iterator[_Found]:
    """A source's pictures; each of a folder with the place of its result, sub-folders kept."""
    path = Path(source)
    if source == STANDARD:
        yield _Found(STANDARD)
    elif not source:
        raise InputError("a source is empty; is a variable of the shell not set?")
    elif is_remote(source):
        yield from _expand_address(source, style, out)
    elif path.is_dir():
        root = out or f"{path.resolve().name}_{style}"
        pictures = find_pictures(path, endings=EXTENSIONS | VIDEO_ENDINGS.keys())
        if not is_remote(root):
            pictures = [picture for picture in pictures if not _is_result(picture, path, Path(root))]
        if not pictures:
            raise _NothingFound(
                f"no pictures in the folder {source}, nor videos; their names end in .jpg, .png, .mp4 …"
            )
        for picture in pictures:
            yield _Found(str(picture), root, picture.relative_to(path))
    elif source == DEMO and not path.exists():
        yield _Found(str(_demo_photograph()))
    elif path.exists() or not glob.has_magic(source):
        yield _Found(source)  # a missing file is that picture's failure and stops no other
    else:
        matches = sorted(name for name in glob.glob(source, recursive=True) if Path(name).is_file())
        if not matches:
            raise _NothingFound(f"no file matches {source}")
        for name in matches:
            yield _Found(name, matched=True)


def _expand_address(source: str, style: str, out: str | None) -> Iterator[_Found]:
    pictures = list_pictures(source)
    if pictures is None:
        yield _Found(source)
        return
    root = out or f"{Path(source).name}_{style}"
    # As in folders: results below their own inputs are no inputs.
    pictures = [(name, below) for name, below in pictures if not name.startswith(f"{root.rstrip('/')}/")]
    if not pictures:
        raise _NothingFound(f"no pictures below {source}; names end in .jpg, .png and so on")
    for name, below in pictures:
        yield _Found(name, root, Path(below))


def _demo_photograph() -> Path:
    """Rear Admiral Grace Hopper, photographed by James S. Davis: public domain, bundled with matplotlib."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def _is_result(picture: Path, folder: Path, results: Path) -> bool:
    """Whether it lies in the output folder, itself inside the input folder: the harvest of an earlier run."""
    results = results.resolve()
    return folder.resolve() in results.parents and results in picture.resolve().parents


def _is_video(source: str, config: InferenceConfig, *, one: bool) -> bool:
    """Whether the result is a video: always of a video, of an animation unless a still is asked for."""
    if source == STANDARD:
        return False
    if Path(source).suffix.lower() in VIDEO_ENDINGS:
        return True
    wanted = Path(source).suffix
    if config.format is not None:
        wanted = _dotted(config.format)
    elif one and config.out is not None and not _is_folder(config.out):
        wanted = Path(config.out).suffix
    return wanted.lower() in CONTAINERS and not is_remote(source) and is_animation(source)


def _dotted(format: str) -> str:
    return f".{format.lower().removeprefix('.')}"


def _check_out(config: InferenceConfig, *, one: bool, count: int, videos: int) -> None:
    out = config.out
    if config.format is not None:
        format = _dotted(config.format)
        if not ((videos and format in CONTAINERS) or (videos < count and can_write(format))):
            known = (
                f"{' '.join(CONTAINERS)} for a video" if videos else "png, jpg, webp, tiff, avif, bmp or ppm"
            )
            raise InputError(f"cannot write --format {config.format}; give {known}")
    if out is None or out == STANDARD:
        return
    if not out:
        raise InputError("--out is empty; give a file, a folder, or - for stdout")
    if _is_folder(out):
        return
    ending = Path(out).suffix
    for_videos = ending.lower() in CONTAINERS
    if one and config.format is None and not (for_videos if videos else can_write(ending)):
        found = f"cannot write {ending!r}" if ending else "has no ending"
        kind, example = (" of a video", "out.mp4") if videos else ("", "out.png")
        raise InputError(
            f"--out {out}: {found}{kind}; give a name such as {example}, or a folder with a / at its end"
        )
    if not one and (for_videos or can_write(ending)):
        raise InputError(f"--out {out} names one file, for {count} pictures; give a folder, such as {out}/")


def _is_folder(out: str) -> bool:
    if is_remote(out):  # where one cannot tell by looking
        return not can_write(Path(out).suffix)
    return out.endswith(("/", os.sep)) or os.path.isdir(out)


def _target(picture: _Found, style: str, config: InferenceConfig, *, one: bool, video: bool) -> str:
    """Where a result goes: see `StylizeConfig.out`."""
    source, out = picture.source, config.out
    if video and out == STANDARD:
        raise InputError(f"{source} is a video, which cannot be sent to stdout; give --out FILE")
    if video and (is_remote(source) or is_remote(picture.root or out or "")):
        raise InputError(
            f"{source} is a video: videos are read from and written to this machine's disks only"
        )
    if out == STANDARD or (out is None and source == STANDARD):
        if not one:
            raise InputError("stdout takes one picture; give --out FOLDER for several")
        return STANDARD
    if out is not None and one and not _is_folder(out):
        return out
    if picture.root is not None and picture.below is not None:
        ending = _ending(picture.below, config.format, video=video)
        return join(picture.root, picture.below.with_suffix(ending))
    name = Path(Path(source).name if source != STANDARD else "stdin.png")
    ending = _ending(name, config.format, video=video)
    if out is not None:
        return join(out, name.with_suffix(ending))
    return str(name.with_name(f"{name.stem}_{style}{ending}"))


def _ending(name: Path, format: str | None, *, video: bool) -> str:
    """The format asked for if it is one for this kind, else the input's ending where that can be written.

    Else PNG, which loses nothing; see `VIDEO_ENDINGS` for videos.
    """
    if format is not None and (_dotted(format) in CONTAINERS if video else can_write(_dotted(format))):
        return _dotted(format)
    if name.suffix.lower() in CONTAINERS if video else can_write(name.suffix):
        return name.suffix
    return VIDEO_ENDINGS[name.suffix.lower()] if video else ".png"


def _check_targets(jobs: Sequence[Job], config: InferenceConfig) -> None:
    """No two results in one file, and none in place of a picture that is read, also through links."""
    inputs = {key: job.source for job in jobs if (key := _identity(job.source)) is not None}
    taken: dict[str, str] = {}
    for job in jobs:
        if job.target == STANDARD:
            continue
        place = job.target if is_remote(job.target) else os.path.realpath(job.target)
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


def _identity(path: str) -> tuple[int, int] | str | None:
    """What two names of one file have in common; None if there is none."""
    if is_remote(path):
        return path
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino

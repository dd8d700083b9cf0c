"""A command line as jobs: every picture and video with the place of its result, checked before any work."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fast_nst.config import InferenceConfig
from fast_nst.errors import InputError, one_line
from fast_nst.inference.batch.naming import check_out, is_video, resolve_collisions, target_of
from fast_nst.inference.batch.sources import STANDARD, NoInputError, Source, expand
from fast_nst.inference.video.partial import partial_path
from fast_nst.io.remote import is_remote, local

__all__ = ["STANDARD", "Job", "Plan", "folders", "plan"]


@dataclass(frozen=True)
class Job:
    """One picture or video to stylize."""

    source: str
    """a file, an address, or ``-`` for stdin"""
    target: str
    """a file, an address, or ``-`` for stdout"""
    video: bool = False
    """whether it is a video, or an animation that stays one"""
    error: str | None = None
    """why it cannot be done: a pattern that matches nothing, a folder that cannot be read"""


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    jobs: list[Job]
    notes: list[str] = field(default_factory=list)
    """what a person should know of it"""


def plan(sources: Sequence[str], style: str, config: InferenceConfig) -> Plan:
    """The jobs of a command line, in order; a picture named twice is one job.

    Args:
        sources: files, folders, addresses, glob patterns, or ``-``. One that yields no picture stops no
            other: it becomes a job with an error.
        style: the style's name, for the names of outputs.

    Raises:
        InputError: no source yields a picture, or a result would replace an input.
    """
    if config.out is not None:
        config = dataclasses.replace(config, out=local(config.out))
    found, failed = _find(sources, style, config.out)
    one = len(found) == 1 and found[0].root is None
    videos = {source.name for source in found if is_video(source.name, config, one=one)}
    check_out(config, one=one, count=len(found), videos=len(videos))
    jobs = [
        Job(source.name, target_of(source, style, config, one=one, video=video), video)
        for source in found
        for video in [source.name in videos]
    ]
    found, jobs = _without_earlier_results(found, jobs, config)
    targets, note = resolve_collisions(found, [job.target for job in jobs])
    jobs = [dataclasses.replace(job, target=target) for job, target in zip(jobs, targets, strict=True)]
    _, jobs = _without_earlier_results(found, jobs, config)
    return Plan(failed + _checked(jobs, config), [note] if note else [])


def folders(jobs: Sequence[Job]) -> list[Path]:
    """Where their results go, addresses and stdout left out."""
    files = (job.target for job in jobs if job.target not in ("", STANDARD) and not is_remote(job.target))
    return list(dict.fromkeys(Path(target).parent for target in files))


def _find(sources: Sequence[str], style: str, out: str | None) -> tuple[list[Source], list[Job]]:
    """The pictures and videos, each once, and a job with an error for each source without any."""
    found: dict[str, Source] = {}
    failed: list[Job] = []
    for source in map(local, sources):
        unreadable: list[OSError] = []
        try:
            for one in expand(source, style, out, unreadable):
                found.setdefault(_key(one.name), one)
        except NoInputError as error:
            failed.append(Job(source, "", error=str(error)))
        for missed in unreadable:
            reason = f"{one_line(missed)}; the pictures in this folder are missed"
            failed.append(Job(str(missed.filename or source), "", error=reason))
    if failed and not found:
        raise InputError("; ".join(str(job.error) for job in failed))
    return list(found.values()), failed


def _key(name: str) -> str:
    """What two names of one place have in common, links aside."""
    return name if name == STANDARD or is_remote(name) else os.path.abspath(name)


def _without_earlier_results(
    found: Sequence[Source], jobs: Sequence[Job], config: InferenceConfig
) -> tuple[list[Source], list[Job]]:
    """Leave out what an earlier run, or another shard, has written.

    That is: incomplete videos, and results that a pattern matches beside their inputs.
    """
    own = [job for job in jobs if _key(job.target) != _key(job.source)]
    partial = {_key(str(partial_path(Path(job.target)))) for job in own if job.video}
    # With --overwrite, what only looks like a result would be lost.
    results = set() if config.overwrite else {_key(job.target) for job in own}
    kept = [
        (source, job)
        for source, job in zip(found, jobs, strict=True)
        if not (source.from_pattern and _key(source.name) in results)
        and not ((source.from_pattern or source.root is not None) and _key(source.name) in partial)
    ]
    return [source for source, _ in kept], [job for _, job in kept]


def _checked(jobs: Sequence[Job], config: InferenceConfig) -> list[Job]:
    """The jobs, none of whose results replaces a picture that is read, also through links.

    Of two results for one file, the second one is an error.
    """
    inputs = {key: job.source for job in jobs if (key := _identity(job.source)) is not None}
    taken: dict[str, str] = {}
    checked = []
    for job in jobs:
        if job.target != STANDARD:
            place = job.target if is_remote(job.target) else os.path.realpath(job.target)
            if (first := taken.setdefault(place, job.source)) != job.source:
                reason = (
                    f"{job.source}: {job.target} is the result of {first}; run it alone, with another --out"
                )
                job = dataclasses.replace(job, error=reason)
            _check_inputs(job, inputs, config)
        checked.append(job)
    return checked


def _check_inputs(job: Job, inputs: Mapping[tuple[int, int] | str, str], config: InferenceConfig) -> None:
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

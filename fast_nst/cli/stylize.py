"""``stylize.py`` and ``fast-nst stylize``: plan, stylise, print."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fast_nst.cli.common import DONE, FAILED, USAGE, guarded, program, put, say
from fast_nst.cli.progress import FilmBar, Progress
from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError, one_line
from fast_nst.plain import parse_bytes

if TYPE_CHECKING:
    from fast_nst.inference.jobs import Job
    from fast_nst.inference.manifest import Manifest
    from fast_nst.inference.painting import FilmProgress, Result

__all__ = ["main"]

DESCRIPTION = """Stylise pictures, films and the camera with a trained style.

  stylize.py photo.jpg --style starry-night            -> photo_starry-night.jpg
  stylize.py holiday/ --style my-style.safetensors     -> holiday_my-style/, sub-folders kept
  stylize.py '*.png' --style the-scream --out painted/
  stylize.py clip.mp4 --style starry-night             -> clip_starry-night.mp4, sound kept
  stylize.py 0 --style starry-night                    the camera, live
  stylize.py - --style the-great-wave --format png < photo.jpg > painted.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_stylize, arguments)


def _stylize(arguments: list[str]) -> int:
    if not arguments:
        prog = program("stylize")
        styles = "python -m fast_nst styles" if prog == "stylize.py" else "fast-nst styles"
        say(f"{_description(prog)}\n{styles} lists the bundled styles, {prog} --help every option.")
        return USAGE
    sources, config = _parse(arguments)
    from fast_nst.files import remove_leftovers
    from fast_nst.inference.jobs import camera_of, folders, plan
    from fast_nst.style_files import find_style, read_about

    file = find_style(config.style)
    if (camera := camera_of(sources, config)) is not None:
        from fast_nst.opencv import opencv

        opencv()  # before PyAV, which the next lines bring: after it, OpenCV's windows never open
        from fast_nst.cli.live import show

        return show(camera, file, config)
    from fast_nst.inference.manifest import record
    from fast_nst.inference.painting import FilmProgress

    jobs = plan(sources, file.stem, config)
    _check_streams(jobs, config)
    jobs, config, alone = _divide(jobs, config)
    about = read_about(file)
    remove_leftovers(folders(jobs))
    tell = partial(record, style=str(about.get("style", "unnamed")), checkpoint=about["sha256"])
    failed, strips = 0, _Strips()
    done, kind = 0, "films" if jobs and all(job.film for job in jobs) else "pictures"
    with (
        _manifest(jobs, config, alone) as manifest,
        Progress(len(jobs), kind.removesuffix("s")) as progress,
        FilmBar() as film,
        strips,
    ):
        for result in _painted(jobs, file, config, strips):
            if isinstance(result, FilmProgress):
                film.show(result)
                continue
            film.clear()
            strips.close()
            done, failed = done + 1, failed + (result.error is not None)
            line = tell(result)
            if manifest is not None:
                manifest.add(line)
            with progress.aside():
                _print(result, line if config.json else None)
            if len(jobs) > 1:
                progress.show(done, f"{done}/{len(jobs)} {kind}, {failed} failed")
    if len(jobs) > 1 and failed:
        say(f"{failed} of {len(jobs)} {kind} failed")
    return FAILED if failed else DONE


def _divide(jobs: list[Job], config: StylizeConfig) -> tuple[list[Job], StylizeConfig, bool]:
    """This shard's jobs, its device, and whether they are all; it is told what is left to other shards."""
    from fast_nst.inference.shards import choose_shard

    shard = choose_shard(config.shard, {} if config.cluster else os.environ)
    if shard.count == 1:
        return jobs, config, True
    part = shard.part(jobs, config)
    origin = "" if shard.origin == "--shard" else f" (from {shard.origin}; --shard 0/1 takes all)"
    say(f"shard {shard.index}/{shard.count}{origin}: {len(part)} of {len(jobs)} pictures")
    if config.device == "auto" and shard.local_rank is not None:
        from fast_nst.device import deal_device

        config = dataclasses.replace(config, device=deal_device(shard.local_rank))
    return part, config, False


@contextmanager
def _manifest(jobs: list[Job], config: StylizeConfig, alone: bool) -> Iterator[Manifest | None]:
    if config.manifest is None:
        yield None
        return
    from fast_nst.inference.manifest import Manifest

    manifest = Manifest(Path(config.manifest), jobs, alone=alone)
    try:
        yield manifest
    finally:
        manifest.close()


def _painted(
    jobs: list[Job], file: Path, config: StylizeConfig, strips: _Strips
) -> Iterator[Result | FilmProgress]:
    """The results, from this process or from a cluster."""
    if config.cluster:
        from fast_nst.checkpoint import load_checkpoint
        from fast_nst.inference.cluster import paint_on_cluster

        yield from paint_on_cluster(
            jobs, load_checkpoint(file), config, on_start=lambda words: say(f"{file.stem}, {words}")
        )
        return
    from fast_nst.inference.painting import paint
    from fast_nst.inference.stylizer import Stylizer

    stylizer = Stylizer.load(
        file,
        device=config.device,
        precision=config.precision,
        backend=config.backend,
        memory=parse_bytes(config.memory, "--memory") if config.memory else None,
    )
    say(f"{file.stem}, {stylizer}")
    yield from paint(jobs, stylizer, config, strips.show)


class _Strips:
    """A bar for the one picture that is being painted in strips, from its first strip to its last."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def show(self, job: Job, share: float) -> None:
        """So much of the job is done."""
        percent = int(100 * share)
        if self._progress is None:
            self._progress = Progress(100, "%")
        self._progress.show(percent, f"{one_line(InputError(job.source))}: {percent} % painted, in strips")

    def close(self) -> None:
        """The picture is done, or has failed."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None

    def __enter__(self) -> _Strips:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _description(prog: str) -> str:
    return DESCRIPTION.replace("stylize.py", prog)


def _parse(arguments: list[str]) -> tuple[list[str], StylizeConfig]:
    from fast_nst.cli.parsing import parse_with_sources

    prog, told = program("stylize"), "files, folders, patterns in quotes, - for stdin, or 0 for the camera"
    sources, config = parse_with_sources(
        StylizeConfig, arguments, prog=prog, description=_description(prog), help=told
    )
    if not sources:
        raise InputError(f"no picture was given; {prog} PHOTO --style NAME")
    return sources, config


def _check_streams(jobs: Sequence[Job], config: StylizeConfig) -> None:
    """Refuse to wait at a keyboard for a picture, and to pour one into a terminal or among records."""
    from fast_nst.inference.jobs import STANDARD

    if any(job.source == STANDARD for job in jobs) and sys.stdin.isatty():
        raise InputError("stdin is a terminal; give it a picture: - < photo.jpg")
    if any(job.target == STANDARD for job in jobs):
        if config.json:
            raise InputError("--json and the picture cannot share stdout; give --out FILE")
        if sys.stdout.isatty():
            raise InputError("stdout is a terminal; give --out FILE, or send it on: > painted.png")


def _print(result: Result, line: dict[str, Any] | None) -> None:
    """The path, or the record, on stdout; words on stderr."""
    job = result.job
    for words in result.words:
        say(f"{one_line(InputError(job.source))}: {words}")
    if result.error is not None:
        say(f"error: {result.error}")
    if line is not None:
        put(json.dumps(line))
    elif job.target != "-" and result.error is None and not result.skipped:
        put(job.target)

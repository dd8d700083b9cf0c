"""``stylize.py`` and ``fast-nst stylize``: plan, stylise, print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fast_nst.cli.common import DONE, FAILED, USAGE, guarded, one_line, program, put, say
from fast_nst.cli.progress import FilmBar, Progress
from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError

if TYPE_CHECKING:
    from fast_nst.cli.jobs import Job
    from fast_nst.cli.painting import Result

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
    from fast_nst.checkpoint import find_style, load_checkpoint
    from fast_nst.cli.jobs import camera_of, plan

    file = find_style(config.style)
    if (camera := camera_of(sources, config)) is not None:
        from fast_nst.opencv import opencv

        opencv()  # before PyAV, which the next line brings: after it, OpenCV's windows never open
        from fast_nst.cli.live import show

        return show(camera, file, config)
    from fast_nst.cli.painting import FilmProgress, paint
    from fast_nst.inference.stylizer import Stylizer

    jobs = plan(sources, file.stem, config)
    _check_streams(jobs, config)
    stylizer = Stylizer(load_checkpoint(file), device=config.device, precision=config.precision)
    say(f"{file.stem}, {stylizer.device.type} {stylizer.precision}")
    failed = 0
    done, kind = 0, "films" if jobs and all(job.film for job in jobs) else "pictures"
    with Progress(len(jobs), kind.removesuffix("s")) as progress, FilmBar() as film:
        for result in paint(jobs, stylizer, config):
            if isinstance(result, FilmProgress):
                film.show(result)
                continue
            film.clear()
            done, failed = done + 1, failed + (result.error is not None)
            with progress.aside():
                _print(result, config)
            if len(jobs) > 1:
                progress.show(done, f"{done}/{len(jobs)} {kind}, {failed} failed")
    if len(jobs) > 1 and failed:
        say(f"{failed} of {len(jobs)} {kind} failed")
    return FAILED if failed else DONE


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
    from fast_nst.cli.jobs import STANDARD

    if any(job.source == STANDARD for job in jobs) and sys.stdin.isatty():
        raise InputError("stdin is a terminal; give it a picture: - < photo.jpg")
    if any(job.target == STANDARD for job in jobs):
        if config.json:
            raise InputError("--json and the picture cannot share stdout; give --out FILE")
        if sys.stdout.isatty():
            raise InputError("stdout is a terminal; give --out FILE, or send it on: > painted.png")


def _print(result: Result, config: StylizeConfig) -> None:
    """Paths, or JSON records, on stdout; words on stderr."""
    job = result.job
    for words in result.words:
        say(f"{one_line(InputError(job.source))}: {words}")
    if result.error is not None:
        say(f"error: {result.error}")
    if config.json:
        record: dict[str, Any] = {
            "input": job.source,
            "output": None if result.error else job.target,
            "ok": result.error is None,
            "skipped": result.skipped,
            "error": result.error,
            "width": result.width,
            "height": result.height,
            "frames": result.frames,
            "ms": result.ms,
        }
        put(json.dumps(record))
    elif job.target != "-" and result.error is None and not result.skipped:
        put(job.target)

"""``stylize.py`` and ``fast-nst stylize``: plan, stylise, print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fast_nst.cli.common import DONE, FAILED, USAGE, guarded, one_line, parse, say
from fast_nst.cli.jobs import STANDARD, Job, plan
from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError

if TYPE_CHECKING:
    from fast_nst.images import Picture
    from fast_nst.inference.stylizer import Stylizer

__all__ = ["main"]

DESCRIPTION = """Stylise pictures with a trained style.

  stylize.py photo.jpg --style starry-night            -> photo_starry-night.jpg
  stylize.py holiday/ --style my-style.safetensors     -> holiday_my-style/, sub-folders kept
  stylize.py '*.png' --style the-scream --out painted/
  stylize.py - --style the-great-wave --format png < photo.jpg > painted.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_stylize, arguments)


def _stylize(arguments: list[str]) -> int:
    if not arguments:
        from fast_nst.checkpoint import bundled_styles

        say(
            DESCRIPTION
            + f"\nbundled styles: {', '.join(bundled_styles())}\nstylize.py --help lists every option."
        )
        return USAGE
    sources, config = _parse(arguments)
    from fast_nst.checkpoint import find_style, load_checkpoint
    from fast_nst.inference.stylizer import Stylizer

    file = find_style(config.style)
    jobs = plan(sources, file.stem, config)
    stylizer = Stylizer(load_checkpoint(file), device=config.device, precision=config.precision)
    say(f"{file.stem}, {stylizer.device.type} {stylizer.precision}")
    failed = 0
    for result in _run(jobs, stylizer, config):
        failed += result.error is not None
        _print(result, config)
    if len(jobs) > 1 and failed:
        say(f"{failed} of {len(jobs)} pictures failed")
    return FAILED if failed else DONE


def _parse(arguments: list[str]) -> tuple[list[str], StylizeConfig]:
    import tyro

    @dataclass(frozen=True)
    class Command(StylizeConfig):
        sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = field(
            default=()
        )
        """files, folders, patterns, or - for stdin"""

    command = parse(Command, arguments, prog="stylize.py", description=DESCRIPTION)
    if not command.sources:
        raise InputError("no picture was given; stylize.py PHOTO --style NAME")
    return list(command.sources), command


@dataclass
class _Result:
    """What became of one job."""

    job: Job
    width: int = 0
    height: int = 0
    words: list[str] = field(default_factory=list)
    error: str | None = None
    skipped: bool = False
    ms: dict[str, float] = field(default_factory=dict)


def _run(jobs: Sequence[Job], stylizer: Stylizer, config: StylizeConfig) -> Iterator[_Result]:
    """Every job's result in order; pictures of equal size that follow each other share a batch."""
    waiting: list[tuple[_Result, Picture]] = []
    for job in jobs:
        result = _Result(job)
        picture = _read(result, config)
        full = len(waiting) == config.batch_size
        if waiting and (picture is None or full or _size(waiting[0][1]) != _size(picture)):
            yield from _finish(waiting, stylizer, config)
            waiting = []
        if picture is None:
            yield result
        else:
            waiting.append((result, picture))
    if waiting:
        yield from _finish(waiting, stylizer, config)


def _size(picture: Picture) -> tuple[int, int]:
    return picture.height, picture.width


def _read(result: _Result, config: StylizeConfig) -> Picture | None:
    """The job's picture at the size asked for; None if it cannot or need not be read, the reason noted."""
    from fast_nst.images import fit, read_picture

    job = result.job
    started = time.perf_counter()
    try:
        if job.target != STANDARD and Path(job.target).exists():
            if config.skip_existing:
                result.skipped = True
                return None
            if not config.overwrite:
                raise InputError(f"{job.target} exists; give --overwrite or --skip-existing")
        source = sys.stdin.buffer.read() if job.source == STANDARD else job.source
        picture = fit(read_picture(source, max_pixels=config.max_pixels), config.size)
    except (InputError, OSError) as error:
        result.error = one_line(error)
        return None
    result.height, result.width = _size(picture)
    result.ms["read"] = _since(started)
    return picture


def _finish(
    waiting: list[tuple[_Result, Picture]], stylizer: Stylizer, config: StylizeConfig
) -> Iterator[_Result]:
    """Stylise and write one batch."""
    started = time.perf_counter()
    painted = stylizer.pictures([picture for _, picture in waiting])
    spent = _since(started) / len(waiting)
    for (result, _), picture in zip(waiting, painted, strict=True):
        result.ms["run"] = spent
        _write(result, picture, config)
        yield result


def _write(result: _Result, picture: Picture, config: StylizeConfig) -> None:
    from fast_nst.images import keeps_alpha, write_picture

    target = result.job.target
    started = time.perf_counter()
    try:
        if target == STANDARD:
            format = config.format or "png"
            write_picture(sys.stdout.buffer, picture, format=format, quality=config.quality)
            sys.stdout.buffer.flush()
        else:
            format = config.format or Path(target).suffix
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            write_picture(Path(target), picture, format=config.format, quality=config.quality)
        if picture.alpha is not None and not keeps_alpha(format):
            result.words.append("transparency laid on white, which this format cannot hold")
    except BrokenPipeError:
        raise
    except (InputError, OSError) as error:
        result.error = one_line(error)
    result.ms["write"] = _since(started)


def _since(started: float) -> float:
    return round(1e3 * (time.perf_counter() - started), 1)


def _print(result: _Result, config: StylizeConfig) -> None:
    """Paths, or JSON records, on stdout; words on stderr."""
    job = result.job
    for words in result.words:
        say(f"{job.source}: {words}")
    if result.error is not None:
        say(
            f"error: {result.error}" if job.source in result.error else f"error: {job.source}: {result.error}"
        )
    if config.json and job.target != STANDARD:
        record: dict[str, Any] = {
            "input": job.source,
            "output": None if result.error else job.target,
            "ok": result.error is None,
            "skipped": result.skipped,
            "error": result.error,
            "width": result.width,
            "height": result.height,
            "ms": result.ms,
        }
        print(json.dumps(record), flush=True)
    elif job.target != STANDARD and result.error is None and not result.skipped:
        print(job.target, flush=True)

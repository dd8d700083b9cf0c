"""``fast-nst upscale``: plan, enlarge, print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fast_nst.cli.batch import run_jobs
from fast_nst.cli.common import USAGE, guarded, say
from fast_nst.config import UpscaleConfig
from fast_nst.errors import InputError
from fast_nst.serialization import parse_bytes

if TYPE_CHECKING:
    from fast_nst.inference.batch.jobs import Job
    from fast_nst.inference.batch.run import BandProgress, Result, VideoProgress

__all__ = ["main"]

PROG = "fast-nst upscale"
DESCRIPTION = """Enlarge pictures with a trained network.

  fast-nst upscale photo.jpg                           -> photo_x4.jpg, four times as wide and high
  fast-nst upscale photo.jpg --factor 8 --out large.png
  fast-nst upscale scans/ --model my-x4.safetensors    -> scans_my-x4/, sub-folders kept
"""
MATCH = {"auto": None, "on": True, "off": False}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_upscale, arguments)


def _upscale(arguments: list[str]) -> int:
    if not arguments:
        say(f"{DESCRIPTION}\n{PROG} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_with_sources

    sources, config = parse_with_sources(
        UpscaleConfig,
        arguments,
        prog=PROG,
        description=DESCRIPTION,
        help="files, folders, patterns in quotes, or - for stdin",
    )
    if not sources:
        raise InputError(f"no picture was given; {PROG} PHOTO --factor 4")
    from fast_nst.inference.batch.jobs import plan
    from fast_nst.models.model_files import find_upscaler, read_metadata, upscaler_config

    file = find_upscaler(config.name)
    about = read_metadata(file)
    factor = upscaler_config(file, about).factor
    if config.factor not in (None, factor):
        raise InputError(
            f"{file} enlarges by {factor}, got --factor {config.factor}; give another --model, or leave out "
            "--factor"
        )
    jobs = [_still(job) for job in plan(sources, file.stem, config)]
    return run_jobs(jobs, config, partial(_enlarged, file), about=about, name=file.stem)


def _still(job: Job) -> Job:
    """A video is not to be enlarged; its neighbors in a folder are."""
    if not job.video:
        return job
    return replace(job, video=False, fault=f"{job.source} is a video; {PROG} takes pictures")


def _enlarged(
    file: Path, jobs: list[Job], config: UpscaleConfig, strips: BandProgress
) -> Iterator[Result | VideoProgress]:
    from fast_nst.inference.batch.run import paint
    from fast_nst.inference.upscaler import Upscaler

    upscaler = Upscaler(
        file,
        device=config.device,
        precision=config.precision,
        backend=config.backend,
        memory=parse_bytes(config.memory, "--memory") if config.memory else None,
        match=MATCH[config.match_histogram],
    )
    say(f"{file.stem}, {upscaler}")
    yield from paint(jobs, upscaler, config, strips)

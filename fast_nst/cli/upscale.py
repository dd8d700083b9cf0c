"""``fast-nst upscale``: plan, upscale, print."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fast_nst.cli.batch import BatchReport, own_jobs
from fast_nst.cli.common import USAGE, guarded, say
from fast_nst.config import UpscaleConfig
from fast_nst.errors import InputError
from fast_nst.serialization import parse_bytes

if TYPE_CHECKING:
    from fast_nst.inference.batch.jobs import Job

__all__ = ["main"]

PROG = "fast-nst upscale"
DESCRIPTION = """Upscale pictures with a super-resolution network.

  fast-nst upscale photo.jpg                           -> photo_x4.jpg, four times as wide and high
  fast-nst upscale photo.jpg --factor 8 --out large.png
  fast-nst upscale scans/ --model my-x4.safetensors    -> scans_my-x4/, sub-folders kept
"""
MATCH = {"auto": None, "on": True, "off": False}


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
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
    metadata = read_metadata(file)
    factor = upscaler_config(file, metadata).factor
    if config.factor not in (None, factor):
        raise InputError(
            f"{file} upscales by {factor}, got --factor {config.factor}; give another --model, or leave out "
            "--factor"
        )
    planned = plan(sources, file.stem, config)
    for note in planned.notes:
        say(note)
    jobs, config = own_jobs([_still(job) for job in planned.jobs], config)
    with BatchReport(jobs, config, metadata=metadata, name=file.stem, debug="--debug" in arguments) as report:
        from fast_nst.inference.batch.run import run_jobs
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
        return report.add_all(run_jobs(jobs, upscaler, config, report.show_bands))


def _still(job: Job) -> Job:
    """Videos cannot be upscaled; their neighbors in a folder can."""
    if not job.video:
        return job
    return replace(job, video=False, error=f"{job.source} is a video; {PROG} takes pictures")

"""Do a job as ``fast-nst stylize`` does it: the same reading, controls, video pipeline and writing."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

from fast_nst.config import StylizeConfig
from fast_nst.config.controls import ControlsConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.jobs import Job
from fast_nst.inference.batch.results import Result
from fast_nst.inference.batch.run import VideoProgress, run_jobs
from fast_nst.inference.controls import load_controls
from fast_nst.web.engine import Engine
from fast_nst.web.jobs import WebJob

__all__ = ["run_job"]


def run_job(job: WebJob, engine: Engine, max_pixels: int) -> None:
    """Stylize a job's upload.

    Raises:
        InputError: it cannot be read or written.
        Cancelled: the job was cancelled.
    """
    asked = job.parameters
    controls = ControlsConfig(asked.strength, asked.stroke, asked.colors, job.mask)
    config = StylizeConfig(size=job.size, max_pixels=max_pixels, controls=controls)
    try:
        with engine.turns:
            stylizer = engine.stylizer(asked, load_controls(controls))
        steps = run_jobs(
            [Job(str(job.source), str(job.target), job.video)],
            stylizer,
            config,
            lambda _, share: job.advance(share),
        )
        # Closed at once when the job is cancelled: an open video still writes to its file.
        with closing(steps), closing(_in_turns(steps, engine)) as in_turns:
            _finish(job, in_turns)
    except InputError as error:
        raise InputError(_without_path(job, str(error))) from None


def _in_turns(steps: Iterator[Result | VideoProgress], engine: Engine) -> Generator[Result | VideoProgress]:
    """The same, each step in a turn of its own: cameras get theirs between the frames of a video."""
    while True:
        with engine.turns:
            step = next(steps, None)
        if step is None:
            return
        yield step


def _finish(job: WebJob, steps: Iterator[Result | VideoProgress]) -> None:
    for step in steps:
        if isinstance(step, VideoProgress):
            report = step.report
            share = report.frames / report.total if report.total else 0.0
            job.advance(0.99 * share, f"{report.frames} frames, {report.rate:.1f} a second")
        elif step.error is not None:
            raise InputError(step.error)


def _without_path(job: WebJob, reason: str) -> str:
    """A message without the private name of the upload, which tells its sender nothing."""
    for path in (job.source, job.target, job.mask):
        if path is not None:
            reason = reason.replace(f"{path}: ", "").replace(str(path), path.name)
    return reason

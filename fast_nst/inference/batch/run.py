"""Run jobs: read, stylize or upscale, write. Each job's result is yielded; printing it is the command's part.

One picture goes down this file: `run_jobs`, `_read`, `_run_pictures`, `_predict`, `_write`.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fast_nst.config import InferenceConfig, StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.jobs import STANDARD, Job
from fast_nst.inference.batch.results import Result
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.upscaler import Upscaler
from fast_nst.io.images import (
    ImageReadError,
    Picture,
    can_write,
    fit,
    keeps_alpha,
    read_picture,
    write_picture,
)
from fast_nst.io.remote import exists, is_remote, read_bytes, write_bytes

if TYPE_CHECKING:
    from fast_nst.inference.video.pipeline import VideoReport

__all__ = ["BandProgress", "VideoProgress", "run_jobs"]

BandProgress = Callable[[Job, float], None]
"""called with the finished share of a job while its picture is computed in row bands or tiles"""


@dataclass(frozen=True)
class VideoProgress:
    """A video that is being stylized."""

    job: Job
    report: VideoReport


def run_jobs(
    jobs: Sequence[Job],
    predictor: Stylizer | Upscaler,
    config: InferenceConfig,
    on_bands: BandProgress = lambda job, share: None,
) -> Generator[Result | VideoProgress]:
    """Every job's result in order; before that of a video, its progress.

    A job that fails, whatever the exception, is a `Result` with an error. Consecutive pictures of equal size
    share a batch.
    """
    batch: list[Result] = []
    for result in _read_ahead(jobs, config):
        full = len(batch) == config.batch_size
        if batch and (full or _size(result) != _size(batch[0])):
            yield from _run_pictures(batch, predictor, config, on_bands)
            batch = []
        if result.over:
            yield result
        elif result.job.video:
            yield from _run_video(result, predictor, config)
        else:
            batch.append(result)
    if batch:
        yield from _run_pictures(batch, predictor, config, on_bands)


def _size(result: Result) -> tuple[int, int] | None:
    return (result.height, result.width) if result.picture is not None else None


def _read_ahead(jobs: Sequence[Job], config: InferenceConfig) -> Iterator[Result]:
    """The jobs in order, each picture read in a thread while the one before it is stylized."""
    if len(jobs) == 1 or any(job.source == STANDARD for job in jobs):
        yield from (_read(job, config) for job in jobs)  # a thread that waits for stdin cannot be stopped
        return
    with ThreadPoolExecutor(1, thread_name_prefix="fast-nst pictures") as reader:
        coming: Future[Result] | None = None
        for job in jobs:
            following = reader.submit(_read, job, config)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


def _read(job: Job, config: InferenceConfig) -> Result:
    """The job's picture at the size asked for, if its result can be written."""
    result = Result(job)
    with result.step("read"):
        if job.error is not None:
            raise InputError(job.error)
        _check_target(result, config)
        if result.skipped:
            return result
        if not is_remote(job.target):
            _check_folder(Path(job.target))
        if job.video:
            return result
        picture = _picture(job.source, config.max_pixels)
        _check_size(job, picture, config)
        result.notes += picture.notes
        result.picture = fit(picture, config.longer_side)
        result.height, result.width = result.picture.height, result.picture.width
    return result


def _check_target(result: Result, config: InferenceConfig) -> None:
    """Skip or refuse a job whose result exists."""
    target = result.job.target
    if target == STANDARD or config.overwrite or not _exists(target):
        return
    if not config.skip_existing:
        raise InputError(f"{target} exists; give --overwrite or --skip-existing")
    result.skipped, result.picture = True, None


def _exists(target: str) -> bool:
    return exists(target) if is_remote(target) else os.path.lexists(target)


def _picture(source: str, max_pixels: int) -> Picture:
    if not is_remote(source):
        return read_picture(sys.stdin.buffer if source == STANDARD else source, max_pixels=max_pixels)
    try:
        return read_picture(read_bytes(source), max_pixels=max_pixels)
    except ImageReadError as error:
        raise ImageReadError(source, error.reason) from None  # bytes have no name


def _check_folder(target: Path) -> None:
    """Find out before the work that the result cannot be written."""
    if str(target) == STANDARD:
        return
    folder = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise InputError(f"{target}: {folder} is not a folder; give another --out")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{target}: no permission to write in {folder}; give another --out")


def _check_size(job: Job, picture: Picture, config: InferenceConfig) -> None:
    """Hold ``--size`` to the limit of the input: it can ask for as much memory as a large file."""
    if (size := config.longer_side) is None:
        return
    short, long = sorted((picture.height, picture.width))
    pixels = size * max(1, size * short // long)
    if pixels > config.max_pixels:
        raise InputError(
            f"{job.source}: --size {size} makes {pixels:,} pixels of it, over the limit of "
            f"{config.max_pixels:,}; --max-pixels {pixels} allows it"
        )


def _run_pictures(
    batch: Sequence[Result], predictor: Stylizer | Upscaler, config: InferenceConfig, on_bands: BandProgress
) -> Iterator[Result]:
    """Stylize or upscale, and write, one batch."""
    if config.skip_existing:
        for result in batch:
            with result.step("read"):
                _check_target(result, config)  # another process may have written it since it was read
    _predict([result for result in batch if not result.over], predictor, on_bands)
    for result in batch:
        if not result.over:
            _write(result, config)
            _skip_if_written(result, config)
        yield result


def _predict(batch: Sequence[Result], predictor: Stylizer | Upscaler, on_bands: BandProgress) -> None:
    """Replace the pictures by their results; what fails in a batch is tried again one by one."""
    if not batch:
        return
    started = time.perf_counter()
    try:
        pictures = [result.picture for result in batch if result.picture is not None]
        made = predictor.pictures(pictures, progress=lambda share: on_bands(batch[0].job, share))
        made = [replace(one, metadata=of.metadata) for one, of in zip(made, pictures, strict=True)]
    except Exception as error:
        if len(batch) > 1:
            for result in batch:
                _predict([result], predictor, on_bands)
            return
        batch[0].fail(_named(error, batch[0].job))
    else:
        for result, picture in zip(batch, made, strict=True):
            result.picture, result.width, result.height = picture, picture.width, picture.height
    spent = round(1e3 * (time.perf_counter() - started) / len(batch), 1)
    for result in batch:
        result.ms["run"] = spent


def _named(error: Exception, job: Job) -> Exception:
    """The network knows no file names."""
    return InputError(f"{job.source}: {error}") if isinstance(error, InputError) else error


def _write(result: Result, config: InferenceConfig) -> None:
    target, picture = result.job.target, result.picture
    assert picture is not None
    # A format for videos may have been asked for, where a folder holds both.
    format = config.format if config.format and can_write(f".{config.format.removeprefix('.')}") else None
    with result.step("write"):
        if target == STANDARD or is_remote(target):
            format = format or (Path(target).suffix if target != STANDARD else "png")
            encoded = io.BytesIO()
            write_picture(encoded, picture, format=format, quality=config.quality)
            if target == STANDARD:
                _write_stdout(encoded.getvalue())
            else:
                write_bytes(target, encoded.getvalue())
        else:
            place = Path(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_picture(place, picture, format=format, quality=config.quality, overwrite=config.overwrite)
        if picture.alpha is not None and not keeps_alpha(format or target):
            result.notes.append("transparency composited on white, which this format cannot hold")
    result.picture = None


def _write_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"stdout: {error.strerror}") from None


def _skip_if_written(result: Result, config: InferenceConfig) -> None:
    """With ``--skip-existing``, a result that another process has written meanwhile is no failure."""
    if result.error is not None and config.skip_existing and _exists(result.job.target):
        result.error = result.traceback = None
        result.skipped = True


def _run_video(
    result: Result, stylizer: Stylizer | Upscaler, config: InferenceConfig
) -> Iterator[Result | VideoProgress]:
    """Stylize and write one video."""
    job = result.job
    with result.step("run"):
        from fast_nst.inference.video.pipeline import VideoRun  # PyAV takes an eighth of a second to import

        if not isinstance(stylizer, Stylizer) or not isinstance(config, StylizeConfig):
            raise InputError(f"{job.source} is a video; only pictures can be upscaled")
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        with VideoRun(job.source, job.target, stylizer, config) as run:
            result.width, result.height = run.info.width, run.info.height
            for report in run.reports():
                yield VideoProgress(job, report)
        result.frames = run.frames
        result.notes += run.notes
    _skip_if_written(result, config)
    yield result

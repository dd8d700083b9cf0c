"""The work of ``stylize.py`` and ``fast-nst upscale``: jobs in, results out. The command prints them."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fast_nst.config import InferenceConfig, StylizeConfig
from fast_nst.errors import InputError, one_line
from fast_nst.inference.batch.jobs import STANDARD, Job
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
from fast_nst.system.memory import is_out_of_memory

if TYPE_CHECKING:
    from fast_nst.inference.video.pipeline import VideoReport

__all__ = ["BandProgress", "Result", "VideoProgress", "paint"]


@dataclass
class Result:
    """What became of one job."""

    job: Job
    width: int = 0
    """of the result, pixels"""
    height: int = 0
    frames: int = 1
    """pictures in the result"""
    words: list[str] = field(default_factory=list)
    """what a person should know of it"""
    error: str | None = None
    skipped: bool = False
    ms: dict[str, float] = field(default_factory=dict)
    """time spent to ``read``, ``run`` (a picture's share of its batch, or a video's all) and ``write``"""
    picture: Picture | None = None
    """what was read; None if it could not or need not be"""
    waiting: bool = False
    """a video that has a place for its result, and is to be run"""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time one part of the work; what the user can cause becomes `error`."""
        started = time.perf_counter()
        try:
            yield
        except BrokenPipeError:  # nobody is left to tell
            raise
        except (InputError, OSError) as error:
            self.error = one_line(error)
        self.ms[name] = round(1e3 * (time.perf_counter() - started), 1)


BandProgress = Callable[[Job, float], None]
"""told the share of a job that is done while its picture is painted in strips"""


@dataclass(frozen=True)
class VideoProgress:
    """A video that is on its way."""

    job: Job
    report: VideoReport


def paint(
    jobs: Sequence[Job],
    stylizer: Stylizer | Upscaler,
    config: InferenceConfig,
    strips: BandProgress = lambda job, share: None,
) -> Iterator[Result | VideoProgress]:
    """Every job's result in order; before a video's, how far it is.

    Pictures of equal size that follow each other share a batch.
    """
    batch: list[Result] = []
    for result in _read_ahead(jobs, config):
        full = len(batch) == config.batch_size
        if batch and (full or _size(result) != _size(batch[0])):
            yield from _finish(batch, stylizer, config, strips)
            batch = []
        if result.waiting:
            yield from _run_video(result, stylizer, config)
        elif result.picture is None:
            yield result
        else:
            batch.append(result)
    if batch:
        yield from _finish(batch, stylizer, config, strips)


def _size(result: Result) -> tuple[int, int] | None:
    return (result.height, result.width) if result.picture is not None else None


def _read_ahead(jobs: Sequence[Job], config: InferenceConfig) -> Iterator[Result]:
    """The pictures in order, each read in a thread while the one before it is stylized."""
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
    """The job's picture at the size asked for, if there is a place for its result."""
    result = Result(job)
    with result.part("read"):
        if job.fault is not None:
            raise InputError(job.fault)
        if job.target != STANDARD and _is_there(job.target):
            if config.skip_existing:
                result.skipped = True
                return result
            if not config.overwrite:
                raise InputError(f"{job.target} exists; give --overwrite or --skip-existing")
        if not is_remote(job.target):
            _check_folder(Path(job.target))
        if job.video:
            result.waiting = True
            return result
        picture = _picture(job.source, config.max_pixels)
        _check_size(job, picture, config)
        result.picture = fit(picture, config.longer_side)
        result.height, result.width = result.picture.height, result.picture.width
    return result


def _is_there(target: str) -> bool:
    return exists(target) if is_remote(target) else os.path.lexists(target)


def _picture(source: str, max_pixels: int) -> Picture:
    if not is_remote(source):
        return read_picture(sys.stdin.buffer if source == STANDARD else source, max_pixels=max_pixels)
    try:
        return read_picture(read_bytes(source), max_pixels=max_pixels)
    except ImageReadError as error:
        raise ImageReadError(source, error.reason) from None  # bytes have no name


def _check_folder(target: Path) -> None:
    """Find out now, and not after the work, that the result has no place."""
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
            f"{job.source}: --size {size} would make {pixels:,} pixels of it, over the limit of "
            f"{config.max_pixels:,}; --max-pixels {pixels} would allow it"
        )


def _run_video(
    result: Result, stylizer: Stylizer | Upscaler, config: InferenceConfig
) -> Iterator[Result | VideoProgress]:
    from fast_nst.inference.video.pipeline import VideoRun  # PyAV takes an eighth of a second to import

    job = result.job
    assert isinstance(stylizer, Stylizer)
    assert isinstance(config, StylizeConfig)  # only styles are given videos
    with result.part("run"):
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        run = VideoRun(job.source, job.target, stylizer, config)
        result.width, result.height = run.heading.width, run.heading.height
        try:
            for report in run.reports():
                yield VideoProgress(job, report)
            result.frames = run.keep()
        except Exception as error:
            run.drop()
            if is_out_of_memory(error):
                raise InputError(
                    f"{job.source}: not enough memory for {_pixels(result)}; give a smaller --size"
                ) from error
            raise
        except BaseException as end:  # Ctrl-C: what is done is finished, so that it plays
            if frames := run.keep():
                end.add_note(f"{job.target} holds the first {frames} frames")
            raise
        result.words += run.words
    yield result


def _finish(
    batch: Sequence[Result], stylizer: Stylizer | Upscaler, config: InferenceConfig, strips: BandProgress
) -> Iterator[Result]:
    """Stylize and write one batch."""
    painted: list[Picture] = []
    error: str | None = None
    started = time.perf_counter()
    try:
        pictures = [result.picture for result in batch if result.picture is not None]
        painted = stylizer.pictures(pictures, progress=lambda share: strips(batch[0].job, share))
    except InputError as reason:
        error = one_line(reason)
    except (MemoryError, RuntimeError) as reason:
        if not is_out_of_memory(reason):
            raise
        error = f"not enough memory for {_pixels(batch[0])}, in strips either; give a smaller --size"
    spent = round(1e3 * (time.perf_counter() - started) / len(batch), 1)
    for i, result in enumerate(batch):
        result.picture, result.ms["run"] = None, spent
        if error is not None:
            result.error = f"{result.job.source}: {error}"
        else:
            result.height, result.width = painted[i].height, painted[i].width
            _write(result, painted[i], config)
        yield result


def _pixels(result: Result) -> str:
    return f"{result.width} x {result.height} pixels"


def _write(result: Result, picture: Picture, config: InferenceConfig) -> None:
    target = result.job.target
    # A format for videos may have been asked for, where a folder holds both.
    format = config.format if config.format and can_write(f".{config.format.removeprefix('.')}") else None
    with result.part("write"):
        if target == STANDARD or is_remote(target):
            format = format or (Path(target).suffix if target != STANDARD else "png")
            encoded = io.BytesIO()
            write_picture(encoded, picture, format=format, quality=config.quality)
            if target == STANDARD:
                _pour(encoded.getvalue())
            else:
                write_bytes(target, encoded.getvalue())
        else:
            place = Path(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_picture(place, picture, format=format, quality=config.quality, overwrite=config.overwrite)
        if picture.alpha is not None and not keeps_alpha(format or target):
            result.words.append("transparency laid on white, which this format cannot hold")


def _pour(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"stdout: {error.strerror}") from None

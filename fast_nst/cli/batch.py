"""What the commands share that run jobs: which of them are this process's, progress, and what is printed."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fast_nst.cli.common import DONE, FAILED, is_closed, put, say
from fast_nst.cli.progress import ProgressBar, VideoProgressBar
from fast_nst.config import InferenceConfig, StylizeConfig
from fast_nst.config.controls import STROKES
from fast_nst.errors import InputError, one_line

if TYPE_CHECKING:
    from fast_nst.inference.batch.jobs import Job
    from fast_nst.inference.batch.manifest import Manifest
    from fast_nst.inference.batch.results import Result
    from fast_nst.inference.batch.run import VideoProgress

__all__ = ["BatchReport", "own_jobs"]

_LARGE = 2048  # pixels of the longer side

Config = TypeVar("Config", bound=InferenceConfig)


def own_jobs(
    jobs: list[Job], config: Config, environment: Mapping[str, str] | None = None
) -> tuple[list[Job], Config]:
    """The jobs of this process's shard, and the config with its device and its shard, None if it has all.

    Args:
        environment: where a launcher says which shard this is [default: the process's].

    Raises:
        InputError: no such shard.
    """
    from fast_nst.inference.batch.shards import choose_shard

    shard = choose_shard(config.shard, os.environ if environment is None else environment)
    if shard.count == 1:
        return jobs, dataclasses.replace(config, shard=None)
    part = shard.part(jobs, config)
    origin = "" if shard.origin == "--shard" else f" (from {shard.origin}; --shard 0/1 takes all)"
    say(f"shard {shard.index}/{shard.count}{origin}: {len(part)} of {len(jobs)} pictures")
    if config.device == "auto" and shard.local_rank is not None:
        from fast_nst.system.device import device_for_rank

        config = dataclasses.replace(config, device=device_for_rank(shard.local_rank))
    return part, dataclasses.replace(config, shard=f"{shard.index}/{shard.count}")


class BatchReport:
    """Prints results as they come, and records them in the manifest; a context manager.

    Args:
        metadata: the metadata of the file that jobs are run with.
        name: what records call it.
        debug: whether tracebacks of failed jobs are printed.

    Raises:
        InputError: stdin or stdout are a terminal where a picture is to pass; no manifest can be written.
    """

    def __init__(
        self, jobs: list[Job], config: InferenceConfig, *, metadata: dict[str, Any], name: str, debug: bool
    ) -> None:
        from fast_nst.inference.batch.jobs import folders
        from fast_nst.io.files import remove_stale_partials

        _check_streams(jobs, config)
        self._config, self._total, self._debug = config, len(jobs), debug
        self._style, self._checkpoint = name, metadata["sha256"]
        self._done = self._failed = 0
        self._looks_at_strokes = (
            isinstance(config, StylizeConfig) and config.size is None and config.controls.stroke == 1
        )
        self._kind = "videos" if jobs and all(job.video for job in jobs) else "pictures"
        remove_stale_partials(folders(jobs))
        with ExitStack() as stack:
            self._manifest = _open_manifest(jobs, config)
            if self._manifest is not None:
                stack.callback(self._manifest.close)
            self._progress = stack.enter_context(ProgressBar(len(jobs), self._kind.removesuffix("s")))
            self._video = stack.enter_context(VideoProgressBar())
            self._bands = stack.enter_context(_BandProgressBar())
            self._stack = stack.pop_all()

    def __enter__(self) -> BatchReport:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add_all(self, results: Iterable[Result | VideoProgress]) -> int:
        """Report every result as it comes; returns the exit code."""
        from fast_nst.inference.batch.results import Result

        results = iter(results)
        try:
            for result in results:
                if isinstance(result, Result):
                    self._add(result)
                else:
                    self._video.show(result)
        except BaseException as end:
            if isinstance(results, Generator):  # a video that is under way is kept, and the message names it
                results.throw(end)
            raise
        if self._total > 1 and self._failed:
            say(f"{self._failed} of {self._total} {self._kind} failed")
        return FAILED if self._failed else DONE

    def show_bands(self, job: Job, share: float) -> None:
        """Progress of a picture that is computed in parts."""
        self._bands.show(job, share)

    def _add(self, result: Result) -> None:
        from fast_nst.inference.batch.manifest import record

        self._video.clear()
        self._bands.close()
        self._done, self._failed = self._done + 1, self._failed + (result.error is not None)
        line = record(result, self._style, self._checkpoint)
        if self._manifest is not None:
            self._manifest.add(line)
        if self._debug and result.traceback is not None:
            say(result.traceback.rstrip())
        _print(result, line if self._config.json else None)
        self._say_how_to_enlarge_strokes(result)
        if self._total > 1:
            counts = f"{self._done}/{self._total} {self._kind}, {self._failed} failed"
            self._progress.show(self._done, counts)

    def _say_how_to_enlarge_strokes(self, result: Result) -> None:
        """Once, at the first picture in which strokes of the usual size are lost to the eye."""
        side = max(result.width, result.height)
        if self._looks_at_strokes and not result.over and not result.job.video and side > _LARGE:
            self._looks_at_strokes = False
            stroke = min(STROKES[1], round(side / _LARGE * 2))
            size = f"{result.width} x {result.height}"
            say(f"strokes are small beside a picture of {size}; --stroke {stroke:g} makes them larger")


def _open_manifest(jobs: list[Job], config: InferenceConfig) -> Manifest | None:
    if config.manifest is None:
        return None
    from fast_nst.inference.batch.manifest import Manifest

    return Manifest(Path(config.manifest), jobs, alone=config.shard is None)


class _BandProgressBar:
    """A bar for the one picture that is computed in row bands or tiles, from the first to the last."""

    def __init__(self) -> None:
        self._progress: ProgressBar | None = None

    def show(self, job: Job, share: float) -> None:
        """The finished share of a job."""
        percent = int(100 * share)
        if self._progress is None:
            self._progress = ProgressBar(100, "%")
        self._progress.show(percent, f"{one_line(InputError(job.source))}: {percent} % done, in parts")

    def close(self) -> None:
        """The picture is finished or has failed."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def __enter__(self) -> _BandProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _check_streams(jobs: Sequence[Job], config: InferenceConfig) -> None:
    """Refuse to read a picture from a keyboard, and to write one to a terminal or among records."""
    from fast_nst.inference.batch.jobs import STANDARD

    if any(job.source == STANDARD for job in jobs) and is_closed("stdin"):
        raise InputError("stdin is closed; give it a picture: - < photo.jpg")
    if any(job.source == STANDARD for job in jobs) and sys.stdin.isatty():
        raise InputError("stdin is a terminal; give it a picture: - < photo.jpg")
    if any(job.target == STANDARD for job in jobs):
        if config.json:
            raise InputError("--json and the picture cannot share stdout; give --out FILE")
        if is_closed("stdout"):
            raise InputError("stdout is closed; give --out FILE")
        if sys.stdout.isatty():
            raise InputError("stdout is a terminal; give --out FILE, or redirect it: > stylized.png")


def _print(result: Result, line: dict[str, Any] | None) -> None:
    """The path, or the record, on stdout; notes and the error on stderr."""
    job = result.job
    for note in result.notes:
        say(f"{one_line(InputError(job.source))}: {note}")
    if result.error is not None:
        say(f"error: {result.error}")
    if line is not None:
        put(json.dumps(line))
    elif job.target != "-" and result.error is None and not result.skipped:
        put(job.target)

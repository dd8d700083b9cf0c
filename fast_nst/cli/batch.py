"""What the commands that paint pictures have in common: jobs divided, painted, told and counted."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fast_nst.cli.common import DONE, FAILED, put, say
from fast_nst.cli.progress import Progress, VideoProgressBar
from fast_nst.config import InferenceConfig
from fast_nst.errors import InputError, one_line

if TYPE_CHECKING:
    from fast_nst.inference.batch.jobs import Job
    from fast_nst.inference.batch.manifest import Manifest
    from fast_nst.inference.batch.run import BandProgress, Result, VideoProgress

__all__ = ["run_jobs"]

Config = TypeVar("Config", bound=InferenceConfig)


def run_jobs(
    jobs: list[Job],
    config: Config,
    painted: Callable[[list[Job], Config, BandProgress], Iterator[Result | VideoProgress]],
    *,
    about: dict[str, Any],
    name: str,
    everything: bool = False,
) -> int:
    """Have jobs painted, and tell how they went; returns the exit code.

    Args:
        painted: yields the results of jobs, and is given what to tell of pictures painted in parts.
        about: the metadata of the file they are painted with.
        name: what records call it.
        everything: whether all jobs are this process's, whatever the environment says.
    """
    from fast_nst.inference.batch.jobs import folders
    from fast_nst.inference.batch.manifest import record
    from fast_nst.inference.batch.run import VideoProgress
    from fast_nst.io.files import remove_stale_partials

    _check_streams(jobs, config)
    jobs, config, alone = _divide(jobs, config, {} if everything else os.environ)
    remove_stale_partials(folders(jobs))
    tell = partial(record, style=name, checkpoint=about["sha256"])
    failed, strips = 0, _BandProgressBar()
    done, kind = 0, "videos" if jobs and all(job.video for job in jobs) else "pictures"
    with (
        _manifest(jobs, config, alone) as manifest,
        Progress(len(jobs), kind.removesuffix("s")) as progress,
        VideoProgressBar() as video,
        strips,
    ):
        for result in painted(jobs, config, strips.show):
            if isinstance(result, VideoProgress):
                video.show(result)
                continue
            video.clear()
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


def _divide(
    jobs: list[Job], config: Config, environment: Mapping[str, str]
) -> tuple[list[Job], Config, bool]:
    """This shard's jobs, its device, and whether they are all; it is told what is left to other shards."""
    from fast_nst.inference.batch.shards import choose_shard

    shard = choose_shard(config.shard, environment)
    if shard.count == 1:
        return jobs, config, True
    part = shard.part(jobs, config)
    origin = "" if shard.origin == "--shard" else f" (from {shard.origin}; --shard 0/1 takes all)"
    say(f"shard {shard.index}/{shard.count}{origin}: {len(part)} of {len(jobs)} pictures")
    if config.device == "auto" and shard.local_rank is not None:
        from fast_nst.system.device import deal_device

        config = dataclasses.replace(config, device=deal_device(shard.local_rank))
    return part, config, False


@contextmanager
def _manifest(jobs: list[Job], config: InferenceConfig, alone: bool) -> Iterator[Manifest | None]:
    if config.manifest is None:
        yield None
        return
    from fast_nst.inference.batch.manifest import Manifest

    manifest = Manifest(Path(config.manifest), jobs, alone=alone)
    try:
        yield manifest
    finally:
        manifest.close()


class _BandProgressBar:
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

    def __enter__(self) -> _BandProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _check_streams(jobs: Sequence[Job], config: InferenceConfig) -> None:
    """Refuse to wait at a keyboard for a picture, and to pour one into a terminal or among records."""
    from fast_nst.inference.batch.jobs import STANDARD

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

"""The queue of jobs: pictures and videos that wait, run one at a time, and are kept for a while.

Each job has a folder of its own in the server's private one. Its id cannot be guessed, so that nobody gets
another one's result.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Literal

from fast_nst.errors import InputError, first_line, one_line
from fast_nst.web.parameters import Parameters
from fast_nst.web.refusals import Refusal

__all__ = ["Cancelled", "JobQueue", "WebJob"]

_log = logging.getLogger("fast_nst")

KEPT = 600.0  # seconds that a finished job is kept
_PATIENCE = 5.0  # seconds that closing waits for the job that runs

State = Literal["queued", "running", "done", "failed", "cancelled"]


class Cancelled(BaseException):
    """Raised in a job that was cancelled; no error of the job, so no handler of those catches it."""


@dataclass(eq=False)
class WebJob:
    """One upload and what becomes of it."""

    folder: Path
    """private to the job; holds the upload and then the result"""
    source: Path
    target: Path
    download: str
    """the name that the result is offered under"""
    parameters: Parameters
    video: bool = False
    size: int | None = None
    mask: Path | None = None
    minutes: float = 0.0
    """of training, where a painting's style is refined on the source"""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "queued"
    progress: float = 0.0
    message: str = ""
    ended: float = 0.0
    """when it was over, as `time.monotonic` counts"""
    cancelled: bool = False

    def advance(self, progress: float, message: str = "") -> None:
        """Report progress, from 0 to 1.

        Raises:
            Cancelled: the job is to end.
        """
        if self.cancelled:
            raise Cancelled
        self.progress, self.message = min(1.0, max(self.progress, progress)), message

    def end(self, state: State, message: str = "") -> None:
        """The job is over; what it leaves but the result is removed."""
        self.state, self.message, self.ended = state, message, time.monotonic()
        self.progress = 1.0 if state == "done" else self.progress
        if state != "done":
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for file in self.folder.iterdir():
            if file != self.target:
                file.unlink(missing_ok=True)


class JobQueue:
    """Runs jobs one at a time in a thread, in the order in which they came. Safe for threads.

    Args:
        run: does a job; what it raises is the reason why the job failed.
        most: jobs that may wait.
    """

    def __init__(self, run: Callable[[WebJob], None], most: int) -> None:
        self._run, self._most = run, most
        self._changed = Condition()
        self._jobs: dict[str, WebJob] = {}
        self._waiting: list[WebJob] = []
        self._closed = False
        self._thread = Thread(target=self._work, name="fast-nst jobs", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Jobs that wait or run."""
        with self._changed:
            return sum(job.state in ("queued", "running") for job in self._jobs.values())

    def __contains__(self, id: str) -> bool:
        """Whether there is a job with this id."""
        with self._changed:
            return id in self._jobs

    def check_room(self) -> None:
        """Refuse a job that would have no place, before it is uploaded.

        Raises:
            Refusal: too many jobs wait, or the server ends.
        """
        with self._changed:
            if self._closed:
                raise Refusal(503, "the server is shutting down")
            if len(self._waiting) >= self._most:
                raise Refusal(503, f"{self._most} jobs are waiting, which is the limit; try again later")

    def add(self, job: WebJob) -> None:
        """Queue a job.

        Raises:
            Refusal: as `check_room`.
        """
        self.check_room()
        with self._changed:
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._changed.notify()

    def get(self, id: str) -> WebJob:
        """The job with this id.

        Raises:
            Refusal: there is none, or it has expired.
        """
        self.remove_expired()
        with self._changed:
            if (job := self._jobs.get(id)) is None:
                raise Refusal(404, f"no such job; results are kept for {KEPT / 60:.0f} minutes")
            return job

    def place(self, job: WebJob) -> int:
        """1 is next in line; 0 if it does not wait."""
        with self._changed:
            return self._waiting.index(job) + 1 if job in self._waiting else 0

    def cancel(self, job: WebJob) -> None:
        """End a job, and remove its files; one that is over is forgotten."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.end("cancelled")
            elif job.state != "running":
                self._forget(job)

    def remove_expired(self, age: float = KEPT) -> None:
        """Forget the jobs that have been over for so many seconds, and remove their results."""
        now = time.monotonic()
        with self._changed:
            for job in [job for job in self._jobs.values() if job.ended and now - job.ended >= age]:
                self._forget(job)

    def _forget(self, job: WebJob) -> None:
        del self._jobs[job.id]
        shutil.rmtree(job.folder, ignore_errors=True)

    def close(self) -> None:
        """Cancel all jobs, and wait a little for the one that runs."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.cancelled = True
            self._changed.notify()
        self._thread.join(_PATIENCE)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._waiting.pop(0)
                job.state = "running"
            self._finish(job)

    def _finish(self, job: WebJob) -> None:
        try:
            job.advance(0.0)
            self._run(job)
            job.advance(1.0)
        except Cancelled:
            job.end("cancelled")
        except InputError as error:
            job.end("failed", one_line(error))
        except Exception as error:  # a defect of ours ends the job, not the server
            _log.exception("job failed")
            job.end("failed", f"internal error, {type(error).__name__}: {first_line(error)}")
        else:
            job.end("done")

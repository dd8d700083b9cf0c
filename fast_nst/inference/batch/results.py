"""What became of a job, and the error boundary around its work: no exception of one job ends a run."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fast_nst.errors import InputError, first_line, one_line
from fast_nst.inference.batch.jobs import STANDARD, Job
from fast_nst.io.images import Picture
from fast_nst.system.memory import is_out_of_memory

__all__ = ["Result"]


@dataclass
class Result:
    """What became of one job."""

    job: Job
    width: int = 0
    """of the result, pixels"""
    height: int = 0
    frames: int = 1
    """pictures in the result"""
    notes: list[str] = field(default_factory=list)
    """what a person should know of it"""
    error: str | None = None
    """why it failed, one line"""
    traceback: str | None = None
    """of the exception behind `error`"""
    skipped: bool = False
    ms: dict[str, float] = field(default_factory=dict)
    """time spent to ``read``, ``run`` (a picture's share of its batch, or a video's all) and ``write``"""
    picture: Picture | None = None
    """the content image, then the stylized or upscaled one, until it is written"""

    @property
    def over(self) -> bool:
        """Whether nothing more is to be done."""
        return self.skipped or self.error is not None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step of the job; whatever goes wrong in it becomes `error`, and the run continues."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            if isinstance(error, BrokenPipeError) and self.job.target == STANDARD:
                raise  # the reader of stdout has left
            self.fail(error)
        finally:
            self.ms[name] = round(self.ms.get(name, 0.0) + 1e3 * (time.perf_counter() - started), 1)

    def fail(self, error: Exception) -> None:
        """Record why the job failed."""
        self.picture = None
        self.traceback = "".join(traceback.format_exception(error))
        notes = getattr(error, "__notes__", [])
        self.error = one_line(InputError("; ".join([self._reason(error), *notes])))

    def _reason(self, error: Exception) -> str:
        if isinstance(error, InputError):
            return one_line(error)
        source = self.job.source
        if is_out_of_memory(error):
            size = f" for {self.width} x {self.height} pixels" if self.width else ""
            return f"{source}: not enough memory{size}; give a smaller picture, or a smaller --size"
        if isinstance(error, OSError) and error.strerror:
            return one_line(error) if error.filename else f"{source}: {error.strerror}"
        kind = type(error).__name__
        return f"{source}: internal error, {kind}: {first_line(error)}; --debug shows the traceback"

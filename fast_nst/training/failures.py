"""Errors that end a run: out of memory, a lost process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from fast_nst.config import RunConfig
from fast_nst.errors import InputError
from fast_nst.system.memory import is_out_of_memory

__all__ = ["TrainingError", "explained"]


class TrainingError(InputError):
    """A run that cannot continue; the last saved state is intact."""


@contextmanager
def explained(config: RunConfig, state: Path) -> Iterator[None]:
    """Raise a `TrainingError` for failures of a ``with`` block that are no defects.

    Args:
        config: of the run, whose settings the cure names.
        state: the file to resume from.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise TrainingError(
                f"out of memory with --batch-size {config.batch_size} and --image-size "
                f"{config.image_size}: lower one of them, in a new --run"
            ) from error
        if _is_lost_process(error):
            raise TrainingError(
                "another process of this run has ended or does not answer; see its own output; "
                f"the last saved state is in {state}: start all of them again with --resume"
            ) from error
        raise


def _is_lost_process(error: BaseException) -> bool:
    known = dist.is_available() and isinstance(error, dist.DistError)
    return known or "gloo" in str(error).lower()

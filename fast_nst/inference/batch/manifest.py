"""The manifest: what became of each job, one JSON record a line, of all shards in one file.

A line is appended under a lock, complete or not at all. A killed process may have written a result and not
its record, which is added when the job is skipped later. What is recorded is not recorded again for being
skipped, or for failing in the same way. A job that a signal interrupted has no record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fast_nst.errors import InputError, one_line
from fast_nst.inference.batch.jobs import Job
from fast_nst.inference.batch.results import Result
from fast_nst.io.files import LineLog
from fast_nst.io.json_lines import read_records

__all__ = ["Manifest", "record"]


def record(result: Result, style: str, checkpoint: str) -> dict[str, Any]:
    """A result as plain values.

    Args:
        style: the style's name.
        checkpoint: the SHA-256 of its tensors.

    Returns:
        ``width`` and ``height`` in pixels and None where there is no result, ``seconds`` spent on it, and in
        ``ms`` the same by part; ``output`` and ``error`` are None where there is none.
    """
    return {
        "input": result.job.source,
        "output": None if result.error else result.job.target,
        "ok": result.error is None,
        "skipped": result.skipped,
        "error": result.error,
        "width": result.width or None,
        "height": result.height or None,
        "frames": result.frames,
        "seconds": round(sum(result.ms.values()) / 1e3, 4),
        "ms": result.ms,
        "style": style,
        "checkpoint": checkpoint,
    }


class Manifest:
    """A manifest to append to.

    Args:
        path: made if it is not there.
        jobs: those of this process, whose records alone are looked for.
        alone: whether no other process appends to it.

    Raises:
        InputError: another kind of file, one that cannot be written, or a file system without locks that
            several processes are to share.
    """

    def __init__(self, path: Path, jobs: Sequence[Job], *, alone: bool) -> None:
        wanted = {job.source for job in jobs}
        try:
            if path.is_file():
                with path.open("rb") as file:
                    _check_kind(path, file.read(16))
            self._log = LineLog(path)
        except OSError as error:
            raise InputError(f"--manifest {one_line(error)}; give a file that can be written") from None
        if not (alone or self._log.shared):
            raise InputError(
                f"--manifest {path}: this file system has no locks, so shards cannot share a file; "
                "give each shard one of its own"
            )
        self._known = {_identity(line) for line in read_records(path) if line.get("input") in wanted}

    def add(self, line: dict[str, Any]) -> None:
        """Append a record, unless it repeats what is known of a job that was skipped or failed.

        Raises:
            OSError: it cannot be written; no part of it was.
        """
        identity = _identity(line)
        if (line["skipped"] or line["error"]) and identity in self._known:
            return
        self._log.append(json.dumps(line))
        self._known.add(identity)

    def close(self) -> None:
        """Nothing more is added."""
        self._log.close()


def _identity(line: dict[str, Any]) -> tuple[Any, ...]:
    return line.get("input"), line.get("output"), line.get("error"), line.get("checkpoint")


def _check_kind(path: Path, start: bytes) -> None:
    """A torn line is cut off, which must not happen to a file of another kind."""
    ours = b'{"input": '
    if start and not start.startswith(ours[: len(start)]):
        raise InputError(f"--manifest {path} holds something else; give a new file, or the manifest of a run")

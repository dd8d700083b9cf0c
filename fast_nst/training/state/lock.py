"""One process at a time trains in a run folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fast_nst.errors import InputError

__all__ = ["locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder for this process; the system unlocks it however the process ends.

    Raises:
        InputError: another process has it locked, or ``.lock`` is not a regular file of this run's own.
    """
    path = folder / ".lock"
    # A link would have another file locked and written to.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"{path} is a link or no regular file; remove it, or give another --run")
    lock = FileLock(path, timeout=0, is_singleton=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another run (process {_holder(path)}) is training in {folder}; "
            "wait for it, or give another --run"
        ) from None
    try:
        _write_holder(path)
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    with suppress(OSError):
        return path.read_bytes()[:32].decode("ascii", "replace").strip() or "unknown"
    return "unknown"


def _write_holder(path: Path) -> None:
    """This process's number into the lock file, for the message of others; Windows does not allow it."""
    with suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        try:
            os.write(handle, f"{os.getpid()}\n".encode())
        finally:
            os.close(handle)

"""Files that are whole or absent, and logs of whole lines, whenever a process is killed.

Whether a half-written file belongs to a living process is asked of the kernel: a writer holds a lock, which
ends with the process. No clock and no process number is trusted, and machines that share a disk agree as
far as its file system has locks.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["LineLog", "remove_leftovers", "replace_file"]

_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")


def replace_file(path: Path, data: bytes) -> None:
    """Write a file; until it is whole, whatever stood there before stays.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    # Short and free of the target's name, which may be as long as the file system allows. Opened as any new
    # file is, so that the umask decides who may read it; `tempfile` would make it private.
    partial = path.parent / f".{uuid.uuid4().hex}.partial"
    try:
        with open(partial, "xb") as file:
            locked = _lock(file.fileno())
            if locked and os.fstat(file.fileno()).st_nlink == 0:  # taken for a leftover before it was locked
                return replace_file(path, data)
            file.write(data)
            file.flush()
            if locked:  # renamed before the lock ends with the file
                os.replace(partial, path)
        if not locked:
            os.replace(partial, path)
    except BaseException:  # Ctrl-C leaves no litter either
        with suppress(OSError):
            partial.unlink()
        raise


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove what killed writers left half-written in these folders; files being written are left alone."""
    for folder in folders:
        try:
            names = [entry.name for entry in os.scandir(folder) if _PARTIAL.fullmatch(entry.name)]
        except OSError:  # not there yet
            continue
        for name in names:
            with suppress(OSError):  # renamed or removed by another process
                _remove_if_dead(folder / name)


def _remove_if_dead(path: Path) -> None:
    file = os.open(path, os.O_RDWR)
    try:
        if _lock(file, wait=False):
            path.unlink()
    finally:
        os.close(file)


def _lock(file: int, *, wait: bool = True) -> bool:
    """Lock an open file until it is closed; False if another process has it, or there are no locks here."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unlock(file: int) -> None:
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_UN)


class LineLog:
    """A file to which several processes append whole lines; what a killed one left of a line is cut off.

    Args:
        path: made with its folders if it is not there.

    Raises:
        OSError: it cannot be opened for writing.

    Attributes:
        shared: whether the file system has locks; without them only one process may append.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opened for each line anew, a log that is moved away in between would split; so it stays open.
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        self.shared = _lock(self._file)
        try:
            self._cut()
        finally:
            if self.shared:
                _unlock(self._file)

    def append(self, line: str) -> None:
        """Add one line, which holds no line end; it is there for every reader afterwards.

        Raises:
            OSError: a full disk, for example; no part of the line stays.
        """
        data = f"{line}\n".encode()
        locked = self.shared and _lock(self._file)
        try:
            end = self._cut()
            while data:
                try:
                    data = data[os.write(self._file, data) :]
                except OSError:
                    os.ftruncate(self._file, end)
                    raise
        finally:
            if locked:
                _unlock(self._file)

    def _cut(self) -> int:
        """Drop a last line without an end; returns the size that remains, in bytes."""
        size = end = os.fstat(self._file).st_size
        while end:
            start = max(0, end - 4096)
            block = os.pread(self._file, end - start, start)
            if (at := block.rfind(b"\n")) >= 0:
                end = start + at + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._file, end)
        return end

    def close(self) -> None:
        """Nothing can be appended any more."""
        os.close(self._file)

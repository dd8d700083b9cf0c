"""Files that are complete or absent, and logs of whole lines, whenever a process is killed.

Whether a half-written file belongs to a living process is asked of the kernel: a writer holds a lock on it,
which ends with the process. No clock and no process number is trusted, and machines that share a disk agree
as far as its file system has locks. filelock would lock a second file, which a killed writer leaves as well.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import uuid
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from fast_nst.errors import FileError

if sys.platform != "win32":
    import fcntl

__all__ = [
    "AtomicFile",
    "LineLog",
    "remove_stale_partials",
    "sync_folder",
    "why_not_writable",
    "write_atomically",
    "write_reason",
]

_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")


class AtomicFile:
    """A new file open for writing, which takes the place of `path` when the ``with`` block ends well.

    Whatever goes wrong in the block, Ctrl-C too, an old file of that name stays and nothing else is left; so
    it is without a block, once nobody holds the object. A process that is killed leaves a hidden file for
    `remove_stale_partials`. A new file has the permissions of the one it replaces, or those of
    `mode`. A link is replaced; the file it points at stays as it is.

    Raises:
        OSError, ValueError: the folder cannot be written to, or the name is none.
    """

    def __init__(self, path: Path, *, mode: int | None = None) -> None:
        self._path, self._mode = path, mode
        while True:
            # Short and free of the target's name, which may be as long as the file system allows. Opened as
            # any new file is, so that the umask decides who may read it; `tempfile` would make it private.
            self._partial = path.parent / f".{uuid.uuid4().hex}.partial"
            # Before it is there: Ctrl-C may come between any two lines, of the caller too.
            self._remove = weakref.finalize(self, _remove_own, self._partial, os.getpid())
            self.file = open(self._partial, "xb")  # noqa: SIM115 -- closed by `commit`
            self._copy_mode(path)  # before it holds anything
            self._locked = _lock(self.file.fileno())
            if not (self._locked and os.fstat(self.file.fileno()).st_nlink == 0):
                return
            self.file.close()  # taken for a leftover before it was locked
            self._remove()

    def commit(self, path: Path | None = None) -> None:
        """Close the file and give it its name, or another one in the same folder."""
        path = path or self._path
        self.file.flush()
        self._copy_mode(path)
        if self._locked:  # renamed before the lock ends with the file
            os.replace(self._partial, path)
        self.file.close()
        if not self._locked:
            os.replace(self._partial, path)
        self._remove.detach()

    def _copy_mode(self, path: Path) -> None:
        """Give the new file the permissions of the regular file it replaces: a private one stays so."""
        if os.name != "posix":
            return
        if self._mode is not None:
            os.fchmod(self.file.fileno(), self._mode)
            return
        with suppress(OSError, ValueError):  # there is none, or the name is none
            old = os.lstat(path)
            if stat.S_ISREG(old.st_mode):
                # Not set-user-ID and the like: those were given to the old contents.
                os.fchmod(self.file.fileno(), old.st_mode & 0o777)

    def discard(self) -> None:
        """Remove it, unless it has its name."""
        with suppress(OSError):
            self.file.close()
        self._remove()

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()


def _remove_own(path: Path, process: int) -> None:
    if os.getpid() == process:  # and not that of the process this one was forked from
        with suppress(OSError):
            path.unlink()


def write_atomically(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file; until it is whole, whatever stood there before stays.

    Args:
        durable: also when the power fails: wait until the disk has the bytes, and then the name.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    with AtomicFile(path) as whole:
        whole.file.write(data)
        if durable:
            whole.file.flush()
            os.fsync(whole.file.fileno())
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder; some systems cannot open folders, and need not."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def why_not_writable(path: Path, *, overwrite: bool) -> str | None:
    """The reason why no file can be written under this name; None if none is known beforehand."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None  # not there, or not reachable: writing will tell
    if stat.S_ISDIR(mode):
        return f"is a folder; name a file in it, such as {path / ('out' + (path.suffix or '.png'))}"
    if not stat.S_ISREG(mode):  # renaming over /dev/null would replace the device
        return "is a pipe, a socket or a device, which a file must not replace"
    if not overwrite:
        return "exists already; --overwrite replaces it"
    return None


def write_reason(error: OSError | ValueError, path: Path) -> str:
    """What a person can act on, from what the system raised when `path` was written."""
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full; free some space or write elsewhere"
    if isinstance(error, FileNotFoundError):
        return f"the folder {path.parent} does not exist; create it first"
    if isinstance(error, PermissionError) or code == errno.EROFS:
        return f"no permission to write in {path.parent}; choose another folder"
    return f"cannot be written ({os.strerror(code) if code else error})"


def remove_stale_partials(folders: Iterable[Path]) -> None:
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
        path: created with its folders if it is not there; a link is not followed.

    Raises:
        OSError: it cannot be opened for writing, or is a link.
        FileError: it is something else, which cutting off its last line would damage.

    Attributes:
        shared: whether the file system has locks; without them only one process may append.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # If it were opened again for each line, a log that is moved away in between would split.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # neither is on Windows
        self._file = os.open(path, flags, 0o666)
        try:
            if not (stat.S_ISREG(os.fstat(self._file).st_mode) and os.pread(self._file, 1, 0) in (b"", b"{")):
                raise FileError(path, "is not a log of JSON lines; give another name")
            self.shared = _lock(self._file)
            try:
                self._cut()
            finally:
                if self.shared:
                    _unlock(self._file)
        except BaseException:
            os.close(self._file)
            raise

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
        """Cut off a last line without an end; returns the size that remains, in bytes."""
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
        """Close the file."""
        os.close(self._file)

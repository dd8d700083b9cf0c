"""Files that are written whole or not at all: under a hidden name first, under their own when complete."""

from __future__ import annotations

import errno
import os
import stat
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType

__all__ = ["WholeFile", "refusal", "write_reason"]


class WholeFile:
    """A new file open for writing, which takes the place of `path` when the ``with`` block ends well.

    Whatever goes wrong in the block, Ctrl-C too, an old file of that name stays and nothing else is left; a
    process that is killed leaves the hidden ``.….partial`` beside it. A link is replaced; the file it points
    at stays as it is.

    Raises:
        OSError, ValueError: the folder cannot be written to, or the name is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Short and free of the target's name, which may be as long as the file system allows. Opened as any
        # new file is, so that the umask decides who may read it; `tempfile` would make it private.
        self._partial = path.parent / f".{os.getpid()}-{threading.get_ident()}-{uuid.uuid4().hex[:8]}.partial"
        self.file = open(self._partial, "xb")  # noqa: SIM115 -- closed by `keep`

    def keep(self) -> None:
        """Close the file and give it its name."""
        self.file.close()
        os.replace(self._partial, self._path)

    def drop(self) -> None:
        """Take it away."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self._partial.unlink()

    def __enter__(self) -> WholeFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.keep()
        finally:
            self.drop()


def refusal(path: Path, *, overwrite: bool) -> str | None:
    """Why nothing can be written under this name; None if nothing speaks against it beforehand."""
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

"""The server's private folder: what is uploaded and made lies in it, and it is removed at the end."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from pathlib import Path

from fast_nst.serialization import show_bytes
from fast_nst.web.refusals import Refusal

__all__ = ["Storage"]

_MARGIN = 256 << 20  # bytes of the disk that are left to others
_AGE = 1.0  # seconds that a measurement of the folder holds


class Storage:
    """A temporary folder that only this user can enter; a context manager that removes it.

    Args:
        limit: bytes of all files in it.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._measured = limit, 0, 0.0
        self.folder = Path(tempfile.mkdtemp(prefix="fast-nst-web-"))  # mode 0700

    def new_folder(self) -> Path:
        """A folder for one job, with a random name."""
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder

    def check_room(self, more: int) -> None:
        """Refuse bytes for which there is no room.

        Raises:
            Refusal: the limit is reached, or the disk is full.
        """
        if time.monotonic() - self._measured > _AGE:
            self._used, self._measured = _bytes_in(self.folder), time.monotonic()
        self._used += more
        if self._used > self._limit:
            limit = show_bytes(self._limit)
            raise Refusal(507, f"uploads and results have reached the limit of {limit}; try again in minutes")
        if shutil.disk_usage(self.folder).free < more + _MARGIN:
            raise Refusal(507, "the server's disk is full; try again later")

    def __enter__(self) -> Storage:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except OSError:  # removed meanwhile
            continue
    return total

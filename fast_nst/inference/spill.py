"""Maps of activations that are written and read in rows: in memory as long as they fit, else in a file.

The file has no name where the system allows that, so that nothing is left of it however the process ends. It
is read and written, not mapped: pages of a mapped file would count as memory of the process.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from fast_nst.errors import InputError
from fast_nst.plain import show_bytes

__all__ = ["Map", "Spill"]

_FLOAT = 4  # bytes


class Map:
    """``(C, H, W)`` fp32 on the CPU, by rows. A row must be written before it is read."""

    def __init__(self, shape: tuple[int, int, int], file: _File | None) -> None:
        self.channels, self.height, self.width = shape
        self._file = file
        # Rows first, in memory as in a file, so that a strip is one piece.
        self._rows = torch.empty(0 if file else self.height, self.channels, self.width)

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top to bottom, the last not included, as a new ``(1, C, rows, W)`` tensor."""
        strip = self._rows[top:bottom]
        if self._file:
            strip = torch.empty(bottom - top, self.channels, self.width)
            self._file.read(strip, top * self._bytes_a_row)
        # A copy even where one would be the same tensor: whoever reads may work in place.
        return strip.permute(1, 0, 2).unsqueeze(0).clone(memory_format=torch.contiguous_format)

    def write(self, top: int, strip: Tensor) -> None:
        """Put a ``(1, C, rows, W)`` strip at row ``top``."""
        rows = strip[0].permute(1, 0, 2)
        if self._file:
            self._file.write(rows.cpu().contiguous(), top * self._bytes_a_row)
        else:
            self._rows[top : top + rows.shape[0]].copy_(rows)

    def close(self) -> None:
        """Give up what it holds."""
        self._rows = torch.empty(0)
        if self._file:
            self._file.close()

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    @property
    def size(self) -> int:
        """In bytes."""
        return self.height * self._bytes_a_row

    @property
    def _bytes_a_row(self) -> int:
        return self.channels * self.width * _FLOAT


class Spill:
    """Where the maps of one picture are kept; a context at whose end they are gone.

    Args:
        memory: bytes of maps that may be held in memory; None: all.
    """

    def __init__(self, memory: int | None = None) -> None:
        self._left = memory
        self._maps: list[Map] = []

    def map(self, channels: int, height: int, width: int) -> Map:
        """A new map, in memory if there is room for it.

        Raises:
            InputError: the disk has no room for it either.
        """
        size = channels * height * width * _FLOAT
        shape = channels, height, width
        if self._left is None or size <= self._left:
            self._left = None if self._left is None else self._left - size
            return self._kept(Map(shape, None))
        folder = spill_folder()
        if (free := shutil.disk_usage(folder).free) < size:
            raise _no_room(folder, f"{show_bytes(size)} more are needed, {show_bytes(free)} are free")
        return self._kept(Map(shape, _File(folder)))

    def _kept(self, new: Map) -> Map:
        self._maps.append(new)
        return new

    def free(self, done: Map) -> None:
        """Give the room of a map back; it must not be used again."""
        self._maps.remove(done)
        if self._left is not None and not done.on_disk:
            self._left += done.size
        done.close()

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._maps:
            self._maps.pop().close()


def spill_folder() -> Path:
    """$TMPDIR, else /var/tmp: /tmp is memory on many systems, which is what there is too little of."""
    large = Path("/var/tmp")
    if not os.environ.get("TMPDIR") and os.access(large, os.W_OK | os.X_OK):
        return large
    return Path(tempfile.gettempdir())


def _no_room(folder: Path, why: str) -> InputError:
    return InputError(
        f"no room for temporary files in {folder}: {why}; set TMPDIR to a folder on a larger disk, "
        "or give more --memory or a smaller --size"
    )


class _File:
    """A temporary file of floats."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by its map

    def read(self, into: Tensor, offset: int) -> None:
        self._file.seek(offset)
        left = _bytes(into)
        while left:
            count = self._file.readinto(left)
            assert count, "a row was read before it was written"
            left = left[count:]

    def write(self, values: Tensor, offset: int) -> None:
        self._file.seek(offset)
        try:
            left = _bytes(values)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise _no_room(self._folder, "the disk is full") from error

    def close(self) -> None:
        self._file.close()


def _bytes(values: Tensor) -> memoryview:
    array: Any = values.numpy()
    return memoryview(array).cast("B")

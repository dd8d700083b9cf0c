"""Feature maps that are written and read in row bands: in memory as long as they fit, else in a file.

The file has no name where the system allows that, so that nothing is left of it however the process ends. It
is read and written, not mapped: pages of a mapped file would count as memory of the process.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from fast_nst.errors import InputError
from fast_nst.serialization import show_bytes

__all__ = ["FeatureMap", "FeatureStore"]


_HUGE = 1 << 22  # bytes from which on it is worth it


class FeatureMap:
    """``(C, H, W)`` on the CPU, by rows. A row must be written before it is read."""

    def __init__(
        self, shape: tuple[int, int, int], dtype: torch.dtype, held: Tensor | None, file: _File | None
    ) -> None:
        self.channels, self.height, self.width = shape
        self.held = held
        """the memory it is in; None if it is in a file"""
        self._dtype, self._file = dtype, file
        # Rows first and channels last, in memory as in a file, so that a band is one piece.
        sizes = (self.height, self.width, self.channels)
        self._rows = torch.empty(0) if held is None else held.view(dtype).view(sizes)

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows top to bottom, the last not included, as ``(1, C, rows, W)``; they must not be changed."""
        if self._file:
            band = torch.empty(bottom - top, self.width, self.channels, dtype=self._dtype)
            self._file.read(band, top * self._bytes_a_row)
        else:
            band = self._rows[top:bottom]
        return band.permute(2, 0, 1).unsqueeze(0)

    def write(self, top: int, band: Tensor) -> None:
        """Put a ``(1, C, rows, W)`` band at row ``top``; one that is the whole map is taken as it is."""
        rows = band[0].permute(1, 2, 0)
        if self._file:
            self._file.write(rows.cpu().contiguous(), top * self._bytes_a_row)
        elif rows.shape[0] == self.height:
            self._rows = rows
        else:
            self._rows[top : top + rows.shape[0]].copy_(rows)

    def close(self) -> None:
        """Give up what it holds."""
        self._rows, self.held = torch.empty(0), None
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
        return self.channels * self.width * self._dtype.itemsize


class FeatureStore:
    """Where the maps of one picture are kept; a context at whose end they are gone.

    Args:
        memory: bytes of maps that may be held in memory; None: all.
        spare: memory that is not given back but kept here, by size, for the next map or picture: to be given
            new pages takes longer than to write them.
    """

    def __init__(self, memory: int | None = None, spare: dict[int, list[Tensor]] | None = None) -> None:
        self._left, self._spare = memory, spare
        self._maps: list[FeatureMap] = []

    def map(self, channels: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> FeatureMap:
        """A new map, in memory if there is room for it.

        Raises:
            InputError: the disk has no room for it either.
        """
        shape, size = (channels, height, width), channels * height * width * dtype.itemsize
        if self.fits(size):
            self._left = None if self._left is None else self._left - size
            spare = (self._spare or {}).get(size)
            return self._opened(FeatureMap(shape, dtype, spare.pop() if spare else _memory(size), None))
        folder = feature_store_folder()
        if (free := shutil.disk_usage(folder).free) < size:
            raise _no_room(folder, f"{show_bytes(size)} more are needed, {show_bytes(free)} are free")
        return self._opened(FeatureMap(shape, dtype, None, _File(folder)))

    def fits(self, size: int) -> bool:
        """Whether so many bytes of maps would stay in memory."""
        return self._left is None or size <= self._left

    def _opened(self, new: FeatureMap) -> FeatureMap:
        self._maps.append(new)
        return new

    def keep_only(self, *wanted: FeatureMap | None) -> None:
        """Give back the room of all other maps."""
        for done in [one for one in self._maps if not any(one is kept for kept in wanted)]:
            self.free(done)

    def free(self, done: FeatureMap) -> None:
        """Give the room of a map back; it must not be used again."""
        self._maps.remove(done)
        if self._left is not None and not done.on_disk:
            self._left += done.size
        if self._spare is not None and done.held is not None:
            self._spare.setdefault(done.size, []).append(done.held)
        done.close()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.keep_only()
        if self._spare is not None and kind is not None:  # perhaps there was too little memory
            self._spare.clear()


def feature_store_folder() -> Path:
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
    """A temporary file of values."""

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


def _memory(size: int) -> Tensor:
    """Bytes in pages of their own, huge ones where the system has them, which are sooner there."""
    huge: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
    if huge is None or size < _HUGE:
        return torch.empty(size, dtype=torch.uint8)
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a system without them
        pages.madvise(huge)
    return torch.frombuffer(pages, dtype=torch.uint8)


def _bytes(values: Tensor) -> memoryview:
    array: Any = values.as_strided((values.numel(),), (1,)).view(torch.uint8).numpy()  # numpy knows no bf16
    return memoryview(array).cast("B")

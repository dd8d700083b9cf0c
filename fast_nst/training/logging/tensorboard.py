"""TensorBoard's event files, written at once and whole.

Not `SummaryWriter`: on a full disk its thread ends with a traceback, and every later event is lost (measured:
of 35 scalars with the disk full at the fifth, its file has 5; ours has all but those of the outage).
"""

from __future__ import annotations

import io
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from fast_nst.io.images import Picture, write_picture

__all__ = ["EventFile", "append"]

_log = logging.getLogger("fast_nst")

BINS = 64  # of a histogram


def append(path: Path, data: bytes) -> None:
    """Add all of the data to the end of a file, or nothing.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            while data:  # a disk that is nearly full takes a part
                data = data[file.write(data) :]
        except OSError:
            file.truncate(end)
            raise


class EventFile:
    """One file of events in a folder that TensorBoard watches.

    Args:
        folder: which exists.
        purge_step: what earlier files of this folder have from this step on is hidden.
    """

    def __init__(self, folder: Path, *, purge_step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        now = f"{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self.path = folder / f"events.out.tfevents.{now}"
        self._failing = False
        self._write(file_version="brain.Event:2")
        self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """A point of a curve."""
        self._write(step=step, summary=_summaries().scalar(name, value))

    def picture(self, name: str, pixels: Any, step: int) -> None:
        """``(H, W, 3)`` uint8; kept as JPEG: the format's checksum of a PNG takes longer than the preview."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        file = io.BytesIO()
        write_picture(file, Picture(pixels), format="jpg", quality=90)
        height, width = pixels.shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=file.getvalue())
        self._write(step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))

    def histogram(self, name: str, values: Any, step: int) -> None:
        """How often each value occurs: a flat array or tensor, finite."""
        self._write(step=step, summary=_summaries().histogram(name, values, BINS))

    def text(self, name: str, words: str, step: int) -> None:
        """Markdown."""
        self._write(step=step, summary=_summaries().text(name, words))

    def _write(self, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), **event).SerializeToString())
        try:
            append(self.path, record.getvalue())
            self._failing = False
        except OSError as error:
            if not self._failing:  # one warning an outage
                _log.warning("events for TensorBoard are lost: %s: %s", self.path, error.strerror or error)
            self._failing = True


def _summaries() -> Any:
    """Torch's functions that make summaries; imported on first use, since it takes a second."""
    from torch.utils.tensorboard import summary

    return summary

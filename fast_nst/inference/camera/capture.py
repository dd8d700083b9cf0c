"""A camera without delay: always the newest frame, and a report when there is none.

OpenCV queues frames, so that a slow reader sees old ones; here a thread reads them as they come and keeps the
last. An unplugged camera may block, fail, or repeat its last frame for ever: each case is detected, and the
camera is opened again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import CameraConfig
from fast_nst.errors import InputError
from fast_nst.system.opencv import opencv

__all__ = ["Camera", "CameraError", "CameraFrame", "CameraStalled", "Capture", "open_capture"]


class CameraError(InputError):
    """A camera that cannot be opened, or that was disconnected and did not come back."""


class Capture(Protocol):
    """The source of frames: OpenCV's ``VideoCapture``, or a replacement."""

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """Whether there was a frame, and the frame, ``(H, W, 3)`` BGR."""

    def get(self, property: int) -> float:
        """One of OpenCV's properties, 0 if unknown."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether it can be read from."""

    def release(self) -> None:
        """Close it."""


@dataclass(frozen=True)
class CameraFrame:
    """The newest frame of a camera."""

    pixels: NDArray[np.uint8]
    """``(H, W, 3)`` RGB"""
    taken: float
    """when it was read, as `time.monotonic` counts"""
    number: int
    """counted over all frames read, dropped ones included"""


@dataclass(frozen=True)
class CameraStalled:
    """No new frame came for a while; the camera is opened again."""

    reason: str
    tries_left: int


def open_capture(source: str) -> Capture:
    """A camera by its number, or any address or file that OpenCV can open."""
    cv = opencv()
    cv.utils.logging.setLogLevel(
        cv.utils.logging.LOG_LEVEL_SILENT
    )  # its message about a missing camera has several lines, and ours has one
    capture: Any = cv.VideoCapture(int(source) if source.isdecimal() else source)
    capture.set(cv.CAP_PROP_BUFFERSIZE, 1)  # for the drivers that support it
    return capture  # type: ignore[no-any-return]


class Camera:
    """The frames of a camera, each the newest one when it is requested.

    Args:
        source: a number, an address or a file. A file is played at its own speed, and ends.
        config: the patience, and how often to try again.
        open: opens the source; for cameras that OpenCV does not know.
        pause: seconds between two attempts to open it again.
    """

    def __init__(
        self,
        source: str,
        config: CameraConfig,
        *,
        open: Callable[[str], Capture] = open_capture,
        pause: float = 1.0,
    ) -> None:
        self._source, self._config, self._open, self._pause = source, config, open, pause
        opencv()  # its absence is reported here, not in the thread
        self._reader = _Reader(source, open, 0, None)

    def frames(self) -> Iterator[CameraFrame | CameraStalled]:
        """The newest frame, each once; in between, `CameraStalled` while there is none.

        Raises:
            CameraError: it cannot be opened, or did not come back after all attempts.
        """
        number, tries = 0, self._config.tries
        while True:
            frame = self._reader.newer_than(number, self._config.patience)
            if frame is not None:
                number, tries = frame.number, self._config.tries
                yield frame
            elif self._reader.finished:
                return
            else:
                reason = self._reader.reason(self._config.patience)
                if number == 0 and self._reader.refused:
                    raise CameraError(f"{_name(self._source)} cannot be opened; {_cure(self._source)}")
                if tries == 0:
                    raise CameraError(
                        f"{_name(self._source)} is disconnected: {reason}; {_cure(self._source)}"
                    )
                tries -= 1
                yield CameraStalled(f"{_name(self._source)}: {reason}", tries)
                self._reader.stop()
                if self._reader.ended:  # the last attempt failed at once
                    time.sleep(self._pause)
                # A camera that still repeats its last frame has not come back.
                self._reader = _Reader(self._source, self._open, number, self._reader.last)

    def close(self) -> None:
        """Close the camera."""
        self._reader.stop()


class _Reader:
    """A thread that reads one opened source. One that blocks is abandoned: no thread can be ended."""

    def __init__(
        self, source: str, open: Callable[[str], Capture], number: int, last: NDArray[np.uint8] | None
    ) -> None:
        self._source, self._open, self.last = source, open, last
        self._is_file = os.path.isfile(source)
        self._changed, self._frame = Condition(), CameraFrame(np.zeros((1, 1, 3), np.uint8), 0.0, number)
        self._stopped = self._repeats = False
        self.refused = self.ended = False
        self._error: Exception | None = None
        Thread(target=self._work, name="fast-nst camera", daemon=True).start()

    @property
    def finished(self) -> bool:
        """Whether it was a file, and has ended."""
        return self.ended and self._is_file and not self.refused

    def newer_than(self, number: int, patience: float) -> CameraFrame | None:
        """The newest frame if it has a higher number, after at most so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame.number > number or self.ended, patience)
            if self._error is not None:
                raise self._error
            return self._frame if self._frame.number > number else None

    def reason(self, patience: float) -> str:
        """Why there is no new frame."""
        if self.refused:
            return "it cannot be opened"
        if self.ended:
            return "it gives no more frames"
        same = "always the same frame" if self._repeats else "no frame"
        return f"{same} for {patience:g} seconds"

    def stop(self) -> None:
        """Read no more."""
        self._stopped = True

    def _work(self) -> None:
        try:
            capture = self._open(self._source)
        except Exception as error:  # raised by `newer_than`
            self._error = error
            self._end(refused=True)
            return
        if not capture.isOpened():
            self._end(refused=True)
            return
        try:
            self._read(capture)
        finally:
            capture.release()
            self._end()

    def _read(self, capture: Capture) -> None:
        step = self._seconds_between(capture)
        due = time.monotonic()
        while not self._stopped:
            there, pixels = capture.read()
            if not there or pixels is None:
                return
            # A sensor's noise never repeats itself. A video's frames may.
            known = self.last
            self._repeats = not self._is_file and known is not None and np.array_equal(pixels, known)
            self.last = pixels
            if not self._repeats:
                with self._changed:
                    number = self._frame.number + 1
                    self._frame = CameraFrame(
                        np.ascontiguousarray(pixels[..., ::-1]), time.monotonic(), number
                    )
                    self._changed.notify_all()
            elif not step:
                time.sleep(0.01)  # a broken driver may repeat itself as fast as it can
            due += step
            time.sleep(max(0.0, due - time.monotonic()))

    def _seconds_between(self, capture: Capture) -> float:
        """The interval between a file's frames; cameras have clocks of their own."""
        if not self._is_file:
            return 0.0
        rate = capture.get(opencv().CAP_PROP_FPS)
        return 1 / rate if 0 < rate < 1000 else 1 / 25

    def _end(self, *, refused: bool = False) -> None:
        with self._changed:
            self.ended, self.refused = True, refused
            self._changed.notify_all()


def _name(source: str) -> str:
    return f"camera {source}" if source.isdecimal() else source


def _cure(source: str) -> str:
    if source.isdecimal():
        return "is it plugged in, and not used by another program? other cameras have the numbers 0, 1, 2 …"
    return "check the address, and that OpenCV can open it"

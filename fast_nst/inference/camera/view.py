"""What the window shows: result, original beside it, figures and help; and the window itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fast_nst.errors import InputError, first_line
from fast_nst.images import MAX_LEVEL
from fast_nst.opencv import opencv

__all__ = ["KEYS", "Screen", "VirtualCamera", "Window", "write_lines"]

KEYS = {
    "n": "next style",
    "p": "previous style",
    "+": "stronger",
    "-": "weaker",
    "o": "original beside it",
    "s": "snapshot",
    "r": "record, and stop recording",
    "f": "figures",
    "h": "this help",
    "q": "quit",
}
_ESCAPE = 27
_MARGIN = 8


class Screen(Protocol):
    """Where results are shown, and where keys come from."""

    def show(self, pixels: NDArray[np.uint8]) -> str:
        """Show ``(H, W, 3)`` RGB; the key of `KEYS` that was pressed since, or the empty string."""

    def close(self) -> None:
        """Take it away."""


class Window:
    """A `Screen` on the desktop.

    OpenCV must have been imported before PyAV: after it, in one process, its windows never open. Both bring
    libraries of X11 of their own.

    Raises:
        InputError: there is no display, or an OpenCV without windows.
    """

    def __init__(self, title: str) -> None:
        if sys.platform.startswith("linux") and not (
            os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        ):
            raise InputError("there is no display here; give --no-window --out live.mp4")
        self._cv, self._title, self._shown = opencv(), title, False
        try:
            self._cv.namedWindow(title, self._cv.WINDOW_NORMAL | self._cv.WINDOW_KEEPRATIO)
        except self._cv.error as error:
            why = first_line(error)
            raise InputError(
                f"OpenCV cannot open a window ({why}); give --no-window --out live.mp4"
            ) from error

    def show(self, pixels: NDArray[np.uint8]) -> str:
        """Show ``(H, W, 3)`` RGB; the key of `KEYS` that was pressed since, or the empty string."""
        cv = self._cv
        if not self._shown:
            cv.resizeWindow(self._title, pixels.shape[1], pixels.shape[0])
        elif cv.getWindowProperty(self._title, cv.WND_PROP_VISIBLE) < 1:
            return "q"  # closed by its button
        cv.imshow(self._title, pixels[..., ::-1])
        self._shown = True
        code = cv.waitKey(1)
        if code == _ESCAPE:
            return "q"
        key = chr(code & 0x7F).lower() if code >= 0 else ""
        return {"=": "+", "_": "-"}.get(key, key if key in KEYS else "")

    def close(self) -> None:
        """Take it away."""
        self._cv.destroyAllWindows()


class VirtualCamera:
    """The result as a camera for other programs, by the package pyvirtualcam.

    Raises:
        InputError: the package or the system's device is missing.
    """

    def __init__(self, width: int, height: int, rate: float) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise InputError(
                "--virtual-camera needs the package pyvirtualcam: pip install pyvirtualcam"
            ) from error
        try:
            self._camera: Any = pyvirtualcam.Camera(width=width, height=height, fps=rate)
        except RuntimeError as error:
            why = first_line(error)
            raise InputError(
                f"--virtual-camera: {why}; Linux needs the module v4l2loopback, other systems OBS Studio"
            ) from error

    def send(self, pixels: NDArray[np.uint8]) -> None:
        """Offer ``(H, W, 3)`` RGB."""
        self._camera.send(pixels)

    def close(self) -> None:
        """Take it away."""
        self._camera.close()


def write_lines(pixels: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """A copy of ``(H, W, 3)`` RGB with lines of text in its upper left corner, readable on any picture."""
    cv = opencv()
    written = pixels.copy()
    size = max(0.35, min(pixels.shape[:2]) / 800)
    step = round(34 * size)
    for i, line in enumerate(lines):
        place = (_MARGIN, _MARGIN + step * (i + 1) - step // 3)
        for colour, width in ((0, 3), (MAX_LEVEL, 1)):  # dark around bright
            cv.putText(written, line, place, cv.FONT_HERSHEY_SIMPLEX, size, (colour,) * 3, width, cv.LINE_AA)
    return written

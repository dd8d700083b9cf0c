"""The window: result, original beside it, statistics and help; and the virtual camera."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fast_nst.errors import InputError, first_line
from fast_nst.io.images import MAX_LEVEL
from fast_nst.system.extras import how_to_install
from fast_nst.system.opencv import opencv

__all__ = ["KEYS", "Screen", "VirtualCamera", "Window", "write_lines"]

KEYS = {
    "n": "next style",
    "p": "previous style",
    "+": "stronger",
    "-": "weaker",
    "o": "original beside it",
    "s": "snapshot",
    "r": "record, and stop recording",
    "f": "statistics",
    "h": "this help",
    "q": "quit",
}
_ESCAPE = 27
_MARGIN = 8


class Screen(Protocol):
    """A display for results that also reads keys."""

    def show(self, pixels: NDArray[np.uint8]) -> str:
        """Show ``(H, W, 3)`` RGB; the key of `KEYS` that was pressed since, or the empty string."""

    def close(self) -> None:
        """Close it."""


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
        self._cv, self._title = opencv(), title
        self._size: tuple[int, int] | None = None  # width and height of what is shown
        if fonts := _fonts():  # OpenCV names a folder that it no longer ships, with a warning at every start
            os.environ["QT_QPA_FONTDIR"] = fonts
        plain = self._cv.WINDOW_GUI_NORMAL  # else Qt adds a bar of buttons, which takes room from the picture
        try:
            self._cv.namedWindow(title, self._cv.WINDOW_NORMAL | self._cv.WINDOW_KEEPRATIO | plain)
        except self._cv.error as error:
            why = first_line(error)
            raise InputError(
                f"OpenCV cannot open a window ({why}); give --no-window --out live.mp4"
            ) from error

    def show(self, pixels: NDArray[np.uint8]) -> str:
        """Show ``(H, W, 3)`` RGB; the key of `KEYS` that was pressed since, or the empty string."""
        cv = self._cv
        if self._size is not None and cv.getWindowProperty(self._title, cv.WND_PROP_VISIBLE) < 1:
            return "q"  # closed by its button
        self._fit(pixels.shape[1], pixels.shape[0])
        cv.imshow(self._title, pixels[..., ::-1])
        code = cv.waitKey(1)
        if code == _ESCAPE:
            return "q"
        key = chr(code & 0x7F).lower() if code >= 0 else ""
        return {"=": "+", "_": "-"}.get(key, key if key in KEYS else "")

    def _fit(self, width: int, height: int) -> None:
        """Fit the window's aspect ratio to the frame; the height stays as the user has set it."""
        if (width, height) == self._size:
            return
        shown = height if self._size is None else self._cv.getWindowImageRect(self._title)[3]
        if shown > 0:
            self._cv.resizeWindow(self._title, round(width * shown / height), shown)
        self._size = width, height

    def close(self) -> None:
        """Close it."""
        self._cv.destroyAllWindows()


def _fonts() -> str | None:
    """The folder of the fonts that come with matplotlib, which is not imported for it."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return None
    return str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf")


class VirtualCamera:
    """The result as a camera for other programs, with the package pyvirtualcam.

    Raises:
        InputError: the package or the system's device is missing.
    """

    def __init__(self, width: int, height: int, rate: float) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise InputError(
                f"--virtual-camera needs another package: {how_to_install('virtualcam')}"
            ) from error
        try:
            self._camera: Any = pyvirtualcam.Camera(width=width, height=height, fps=rate)
        except RuntimeError as error:
            why = first_line(error)
            raise InputError(
                f"--virtual-camera: {why}; Linux needs the module v4l2loopback, other systems OBS Studio"
            ) from error

    def send(self, pixels: NDArray[np.uint8]) -> None:
        """Output ``(H, W, 3)`` RGB."""
        self._camera.send(pixels)

    def close(self) -> None:
        """Close it."""
        self._camera.close()


def write_lines(pixels: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """A copy of ``(H, W, 3)`` RGB with lines of text in its upper left corner, readable on any picture."""
    cv = opencv()
    written = pixels.copy()
    size = max(0.35, min(pixels.shape[:2]) / 800)
    step = round(34 * size)
    for i, line in enumerate(lines):
        place = (_MARGIN, _MARGIN + step * (i + 1) - step // 3)
        # Not a thicker line below: OpenCV 5 sets that wider.
        for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)):
            x, y, bright = place[0] + right, place[1] + down, MAX_LEVEL * (right == down == 0)
            cv.putText(written, line, (x, y), cv.FONT_HERSHEY_SIMPLEX, size, (bright,) * 3, 1, cv.LINE_AA)
    return written

"""The camera through the network in real time: the newest frame, stylized, shown, and recorded on request.

One loop does it all, so that what is shown is never older than one frame of the network and one of the
camera; only encoding has a thread of its own, which drops frames rather than block the loop. A recording
ends when the camera is stopped: whatever stops it, Ctrl-C too, the file is complete.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import StylizeConfig
from fast_nst.config.controls import STROKES, Colors
from fast_nst.errors import InputError
from fast_nst.inference.camera.capture import Camera, CameraStalled
from fast_nst.inference.camera.live_styles import LiveStyles
from fast_nst.inference.camera.view import KEYS, Screen, VirtualCamera, write_lines
from fast_nst.inference.layers import open_controls
from fast_nst.inference.styles import StyleChoice
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.video.codecs import choose_codec, container_of
from fast_nst.inference.video.queues import BackgroundWriter
from fast_nst.inference.video.smoothing import TemporalSmoother
from fast_nst.inference.video.stream import Frame, VideoInfo
from fast_nst.inference.video.writing import VideoWriter
from fast_nst.io.images import Picture, write_picture
from fast_nst.system.opencv import opencv

__all__ = ["Live", "LiveReport", "Recorder"]

_RECENT = 30  # frames over which statistics are averaged
_STEP = 0.1  # of the strength, at one press of a key
_STROKE_FACTOR = 1.25  # of the stroke size, at one press of a key
_COLORS: tuple[Colors, ...] = get_args(Colors)
_DEPTH = 4  # frames that may wait for the encoder
_MS = Fraction(1, 1000)
_RATE = 30  # frames a second in headers and for virtual cameras; the times of frames are the real ones


@dataclass(frozen=True)
class LiveReport:
    """The state after one frame."""

    frames: int
    """shown so far"""
    dropped: int
    """dropped, since they were no longer the newest"""
    rate: float
    """frames a second, averaged over the last ones"""
    latency: float
    """seconds from the camera to the screen, averaged over the last frames"""
    notes: list[str] = field(default_factory=list)
    """messages for a person"""


class Recorder:
    """A video of the stream: every frame has the time at which it is added."""

    def __init__(self, path: Path, pixels: NDArray[np.uint8], config: StylizeConfig) -> None:
        height, width = pixels.shape[:2]
        info = VideoInfo(width, height, time_base=_MS, rate=Fraction(_RATE))
        container = container_of(path, config.format)
        codec = choose_codec(config.video.codec, container, info)
        self.path, self._size, self._started = path, (height, width), time.monotonic()
        self._writer = VideoWriter(
            path, info, container, codec, quality=config.quality, overwrite=config.overwrite
        )
        self._writer_thread: BackgroundWriter[Frame] = BackgroundWriter(
            self._writer.write, self._writer.finish, self._writer.abandon, _DEPTH
        )

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Add a frame, unless the encoder is too far behind or its size is another."""
        if pixels.shape[:2] == self._size:
            now = round((time.monotonic() - self._started) / _MS)
            self._writer_thread.offer(Frame(Picture(pixels), now, 0))

    def finish(self) -> int:
        """Finish the video; the number of its frames. Without any, there is no file."""
        self._writer_thread.close()
        return self._writer.frames


class Live:
    """A camera, a style that can be changed, and the outputs.

    Args:
        camera: the source; closed at the end.
        styles: names, and what `load` makes a stylizer of; the first one is used first.
        screen: None for none.
    """

    def __init__(
        self,
        camera: Camera,
        styles: Sequence[tuple[str, Path | StyleChoice]],
        config: StylizeConfig,
        *,
        screen: Screen | None,
        load: Callable[[Path | StyleChoice], Stylizer],
    ) -> None:
        self._camera, self._config, self._screen = camera, config, screen
        self._styles = LiveStyles(styles, load)
        self.controls = open_controls(config)
        self._beside = self._help = False
        self._figures = screen is not None
        self._recorder: Recorder | None = None
        self._virtual: VirtualCamera | None = None
        self._smoother: TemporalSmoother | None = None
        self._renew_smoother()
        self._notes: list[str] = []

    @property
    def style(self) -> str:
        """The style in use."""
        return self._styles.name

    def reports(self) -> Iterator[LiveReport]:
        """Run until the camera ends, the duration is over, or the user quits; a report for every frame.

        Raises:
            CameraError: the camera cannot be opened, or is disconnected.
            InputError: the recording or the virtual camera fails.
        """
        started, frames, first = time.monotonic(), 0, 0
        latencies, ends = deque[float](maxlen=_RECENT), deque[float](maxlen=_RECENT)
        for frame in self._camera.frames():
            notes, self._notes = self._notes, []
            if isinstance(frame, CameraStalled):
                notes.append(f"{frame.reason}; reopening it, {frame.tries_left} attempts left")
                yield LiveReport(frames, 0, 0.0, 0.0, notes)
                continue
            first = first or frame.number
            original = self._prepare(frame.pixels)
            result = self._stylize(original)
            self._send(result)
            rate = (len(ends) - 1) / (ends[-1] - ends[0]) if len(ends) > 1 else 0.0
            latency = sum(latencies) / len(latencies) if latencies else 0.0
            running = self._show(original, result, rate, latency)
            frames += 1
            ends.append(time.monotonic())
            latencies.append(ends[-1] - frame.taken)
            dropped = frame.number - first + 1 - frames
            yield LiveReport(frames, dropped, rate, latency, notes + self._notes)
            self._notes = []
            if not running or (
                self._config.video.duration and ends[-1] - started >= self._config.video.duration
            ):
                return

    def close(self) -> list[str]:
        """Finish the recording and close everything; messages for a person."""
        self._camera.close()
        try:
            return self._stop_recording()
        finally:
            if self._virtual is not None:
                self._virtual.close()
                self._virtual = None
            if self._screen is not None:
                self._screen.close()
                self._screen = None

    def press(self, key: str, result: NDArray[np.uint8]) -> bool:
        """Do what a key stands for; False if it quits."""
        if key in ("n", "p"):
            self._styles.move(1 if key == "n" else -1)
            self._renew_smoother()
        elif key in ("+", "-"):
            step = _STEP if key == "+" else -_STEP
            strength = round(min(1.0, max(0.0, self.controls.strength + step)), 3)
            self.controls = dataclasses.replace(self.controls, strength=strength)
        elif key in ("[", "]"):
            stroke = self.controls.stroke * (_STROKE_FACTOR if key == "]" else 1 / _STROKE_FACTOR)
            stroke = round(min(STROKES[1], max(STROKES[0], stroke)), 3)
            self.controls = dataclasses.replace(self.controls, stroke=stroke)
        elif key == "c":
            colors = _COLORS[(_COLORS.index(self.controls.colors) + 1) % len(_COLORS)]
            self.controls = dataclasses.replace(self.controls, colors=colors)
        elif key == "o":
            self._beside = not self._beside
        elif key == "f":
            self._figures = not self._figures
        elif key == "h":
            self._help = not self._help
        elif key == "s":
            path = self._place("snapshot", ".png")
            write_picture(path, Picture(result), overwrite=False)
            self._notes.append(f"{path} written")
        elif key == "r":
            if self._recorder is not None:
                self._notes += self._stop_recording()
            else:
                self._record(self._place("live", ".mp4"), result)
        return key != "q"

    def _prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Mirror and resize as configured."""
        if self._config.camera.mirror:
            pixels = pixels[:, ::-1]
        if (size := self._config.size) is not None:
            height, width = pixels.shape[:2]
            share = size / max(height, width)
            wanted = max(1, round(width * share)), max(1, round(height * share))
            cv = opencv()
            shrinks = share < 1
            pixels = cv.resize(pixels, wanted, interpolation=cv.INTER_AREA if shrinks else cv.INTER_CUBIC)
        return np.ascontiguousarray(pixels)

    def _stylize(self, original: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.controls.strength == 0:
            return original
        seen = Picture(original)
        (result,) = self._styles.stylizer(self.controls).pictures([seen])
        if self._smoother is not None:
            result = self._smoother(seen, result)
        return result.rgb

    def _renew_smoother(self) -> None:
        video = self._config.video
        self._smoother = TemporalSmoother(video.smoothing_strength) if video.temporal_smoothing else None

    def _send(self, result: NDArray[np.uint8]) -> None:
        """Pass a result to the recording and the virtual camera, if there are any."""
        if self._recorder is None and self._config.out is not None:
            self._record(Path(self._config.out), result)
            # The name of the first recording; those that a key starts have names of their own.
            self._config = dataclasses.replace(self._config, out=None)
        if self._recorder is not None:
            self._recorder.add(result)
        if self._config.camera.virtual_camera:
            if self._virtual is None:
                self._virtual = VirtualCamera(result.shape[1], result.shape[0], _RATE)
            self._virtual.send(result)

    def _record(self, path: Path, result: NDArray[np.uint8]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._recorder = Recorder(path, result, self._config)
        self._notes.append(f"recording {path}")

    def _stop_recording(self) -> list[str]:
        if self._recorder is None:
            return []
        recorder, self._recorder = self._recorder, None
        return [f"{recorder.path} written, {frames} frames"] if (frames := recorder.finish()) else []

    def _place(self, what: str, ending: str) -> Path:
        now = time.time()
        moment = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
        return Path(f"{what}_{self.style}_{moment}-{round(now % 1 * 1000):03}{ending}")

    def _show(
        self, original: NDArray[np.uint8], result: NDArray[np.uint8], rate: float, latency: float
    ) -> bool:
        """Update the window and handle a key; False if the user quits."""
        if self._screen is None:
            return True
        view = np.hstack([original, result]) if self._beside else result
        lines = []
        if self._figures:
            lines.append(f"{self.style}  {rate:.1f} fps  {1e3 * latency:.0f} ms  h: help")
            c = self.controls
            if not c.are_default:
                lines.append(f"strength {c.strength:.0%}  stroke {c.stroke:g}  colors {c.colors}")
            if self._recorder is not None:
                lines.append("recording")
        if self._help:
            lines += [f"{key}  {what}" for key, what in KEYS.items()]
        key = self._screen.show(write_lines(view, lines) if lines else view)
        try:
            return self.press(key, result)
        except InputError as error:  # a snapshot or recording that cannot be written does not stop the camera
            self._notes.append(str(error))
            return True

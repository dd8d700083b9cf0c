"""An animated GIF or WebP as a video."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

from fast_nst.inference.video.stream import Frame, FrameBatch, VideoInfo
from fast_nst.io.animations import read_animation
from fast_nst.io.images import MAX_PIXELS, ImageReadError, Picture, resized

__all__ = ["AnimatedFile"]

_MS = Fraction(1, 1000)


class AnimatedFile:
    """A `VideoReader` from `start` seconds, for `duration` seconds (0: to the end).

    Raises:
        ImageReadError: it cannot be read.
    """

    def __init__(
        self, path: str, *, start: float = 0.0, duration: float = 0.0, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.path, self.notes = path, list[str]()
        animation, self._frames = read_animation(path, max_pixels=max_pixels)
        self._start, self._size = round(start / _MS), (animation.width, animation.height)
        self._end = self._start + round(duration / _MS) if duration else None
        self._first = next(self._part(), None)
        if self._first is None:
            raise ImageReadError(path, f"there is no frame after --start {start:g} seconds")
        self.info = VideoInfo(
            animation.width,
            animation.height,
            time_base=_MS,
            rate=Fraction(1000, max(1, self._first.duration)),
            frames=0 if start or duration else animation.frames,
            alpha=animation.alpha,
            loops=animation.loops,
        )

    def resize(self, width: int, height: int) -> None:
        """Scale frames to this size; to be called before the first one is read."""
        self._size = (width, height)
        self.info = dataclasses.replace(self.info, width=width, height=height)

    def batches(self, frames: int) -> Iterator[FrameBatch]:
        """The video in order, in batches of up to so many frames."""
        assert self._first is not None
        batch = FrameBatch([self._resized(self._first)])
        try:
            for frame in self._part():
                if len(batch.frames) == frames:
                    yield batch
                    batch = FrameBatch()
                batch.frames.append(self._resized(frame))
        except ImageReadError as error:
            self.notes.append(f"ends early ({error.reason}); the frames before that were used")
        yield batch

    def close(self) -> None:
        """Close the file."""
        self._frames.close()

    def _part(self) -> Iterator[Frame]:
        for frame in self._frames:
            if self._end is not None and frame.time >= self._end:
                return
            if frame.time >= self._start:
                yield Frame(frame.picture, frame.time - self._start, frame.duration)

    def _resized(self, frame: Frame) -> Frame:
        picture: Picture = resized(frame.picture, *self._size)
        return dataclasses.replace(frame, picture=picture)

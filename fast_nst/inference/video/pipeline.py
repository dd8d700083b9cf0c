"""A video through the network: decoding, stylizing and encoding in three threads, in constant memory.

Frames go one way, from top to bottom of this file: `prefetch` decodes ahead in a thread, `VideoRun._stylize`
runs the network and the temporal smoothing in the caller's thread, and `BackgroundWriter` encodes behind it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.video.animated_images import AnimatedFile
from fast_nst.inference.video.codecs import choose_codec, container_of
from fast_nst.inference.video.queues import BackgroundWriter, prefetch
from fast_nst.inference.video.reading import VideoFile
from fast_nst.inference.video.smoothing import TemporalSmoother
from fast_nst.inference.video.stream import FrameBatch, VideoInfo, VideoReader
from fast_nst.inference.video.writing import VideoWriter
from fast_nst.io.animations import ANIMATIONS

if TYPE_CHECKING:
    from fast_nst.inference.stylizer import Stylizer

__all__ = ["VideoReport", "VideoRun", "open_video"]

DEPTH = 2  # batches of frames that may wait on either side of the network
_GPU_BATCH = 4  # frames that a GPU takes at once, so that it does not wait for the interpreter between them


@dataclass(frozen=True)
class VideoReport:
    """The progress of a video."""

    frames: int
    """handed to the encoder"""
    total: int
    """as the file says; 0 if it does not"""
    seconds: float
    """since the start"""

    @property
    def rate(self) -> float:
        """Frames a second so far."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to go; None if unknown."""
        return max(0, self.total - self.frames) / self.rate if self.total and self.rate else None


def open_video(path: str, config: StylizeConfig) -> VideoReader:
    """A video or an animation, for the part asked for.

    Raises:
        VideoReadError, ImageReadError: it cannot be read.
    """
    kind = AnimatedFile if Path(path).suffix.lower() in ANIMATIONS else VideoFile
    return kind(path, start=config.video.start, duration=config.video.duration, max_pixels=config.max_pixels)


class VideoRun:
    """One video from file to file: a context manager in whose block the `reports` are iterated.

    The result gets its name when the block ends without an exception after the last report. When it ends
    earlier or with an exception, Ctrl-C too, the finished frames are kept as a playable file of another name,
    `fast_nst.inference.video.partial.partial_path`, and a note with that name is added to the exception.

    Raises:
        InputError: the video cannot be read, or the result cannot be written.
    """

    def __init__(self, source: str, target: str | Path, stylizer: Stylizer, config: StylizeConfig) -> None:
        self._stylizer, self._config, self._reader = stylizer, config, open_video(source, config)
        try:
            container = container_of(target, config.format)
            codec = choose_codec(config.video.codec, container, self._reader.info)
            if config.size is not None:
                self._reader.resize(*_fitted(self._reader.info, config, even=codec.odd is not None))
            self._smoother = (
                TemporalSmoother(config.video.smoothing_strength) if config.video.temporal_smoothing else None
            )
            self._writer = writer = VideoWriter(
                target,
                self._reader.info,
                container,
                codec,
                quality=config.quality,
                overwrite=config.overwrite,
            )
        except BaseException:
            self._reader.close()
            raise
        self._complete = False
        self._batches: Generator[FrameBatch] = prefetch(iter(()), DEPTH)
        self._encoder: BackgroundWriter[FrameBatch] = BackgroundWriter(
            self._encode, self._finish, writer.abandon, DEPTH
        )

    @property
    def info(self) -> VideoInfo:
        """Of the result."""
        return self._writer.info

    @property
    def frames(self) -> int:
        """Encoded so far."""
        return self._writer.frames

    @property
    def dropped(self) -> int:
        """Frames that came too soon after the last for the format."""
        return self._writer.dropped

    @property
    def waiting(self) -> int:
        """Batches of frames that wait to be encoded, at most `DEPTH`."""
        return self._encoder.waiting

    @property
    def written(self) -> Path | None:
        """The file that was written, complete or partial; None before the end, and if there is none."""
        return self._writer.written

    @property
    def notes(self) -> list[str]:
        """What a person should know; complete at the end."""
        notes, writer = [*self._reader.notes, *self._writer.notes], self._writer
        if self.info.alpha and not writer.keeps_alpha:
            notes.append("transparency composited on white, which this format cannot hold")
        if writer.dropped:
            notes.append(f"{writer.dropped} frames dropped: the rate is too high for this format")
        if writer.damaged:
            notes.append(f"{writer.damaged} damaged packets of sound or subtitles dropped")
        return notes

    def reports(self) -> Iterator[VideoReport]:
        """Stylize; a report for every batch of frames."""
        started, done, total = time.perf_counter(), 0, self.info.frames
        size = self._config.batch_size
        if self._stylizer.device.startswith("cuda"):
            size = max(size, _GPU_BATCH)
        self._batches = prefetch(self._reader.batches(size), DEPTH)
        for batch in self._batches:
            self._encoder.put(self._stylize(batch))
            done += len(batch.frames)
            yield VideoReport(done, max(total, done) if total else 0, time.perf_counter() - started)
        self._complete = True

    def _stylize(self, batch: FrameBatch) -> FrameBatch:
        """The network, then the smoothing; packets pass as they are."""
        if not batch.frames:
            return batch
        results = self._stylizer.pictures([frame.picture for frame in batch.frames])
        frames = []
        for frame, result in zip(batch.frames, results, strict=True):
            if self._smoother is not None:
                result = self._smoother(frame.picture, result)
            frames.append(dataclasses.replace(frame, picture=result))
        return FrameBatch(frames, batch.packets)

    def _encode(self, batch: FrameBatch) -> None:
        """In the encoder's thread."""
        for packet in batch.packets:
            self._writer.copy(packet)
        for frame in batch.frames:
            self._writer.write(frame)

    def _finish(self) -> None:
        """In the encoder's thread, after the last frame."""
        self._writer.finish(partial=not self._complete)

    def __enter__(self) -> VideoRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
        except Exception:
            if error is None:  # else it follows from the one that ended the block
                raise
        except BaseException as end:  # Ctrl-C while the last frames were encoded
            self._name_result(end)
            raise
        if error is not None:
            self._name_result(error)

    def _close(self) -> None:
        try:
            self._batches.close()
            self._encoder.close()
        finally:
            if self._encoder.finished:  # packets on their way to the encoder belong to the reader
                self._reader.close()

    def _name_result(self, error: BaseException) -> None:
        if self.written is not None:
            part = "all" if self._complete else "the first"
            error.add_note(f"{self.written} holds {part} {self.frames} frames")


def _fitted(info: VideoInfo, config: StylizeConfig, *, even: bool) -> tuple[int, int]:
    """Width and height with the longer side as asked, the shorter one even where the codec needs that."""
    assert config.size is not None
    short, long = sorted((info.width, info.height))
    other = max(1, (2 * short * config.size + long) // (2 * long))
    if even:
        other = max(2, 2 * round(config.size * short / long / 2))
    if config.size * other > config.max_pixels:
        raise InputError(
            f"--size {config.size} makes {config.size * other:,} pixels a frame, over the limit of "
            f"{config.max_pixels:,}; --max-pixels {config.size * other} allows it"
        )
    return (config.size, other) if info.width >= info.height else (other, config.size)

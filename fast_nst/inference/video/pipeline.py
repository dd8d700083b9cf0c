"""A video through the network: decoding, painting and encoding at once, in constant memory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.video.animated_images import AnimatedFile
from fast_nst.inference.video.codecs import choose_codec, container_of
from fast_nst.inference.video.queues import BackgroundWriter, prefetch
from fast_nst.inference.video.reading import VideoFile
from fast_nst.inference.video.smoothing import TemporalSmoother
from fast_nst.inference.video.stream import Chunk, Heading, Video
from fast_nst.inference.video.writing import VideoWriter
from fast_nst.io.animations import ANIMATIONS
from fast_nst.io.images import Picture

if TYPE_CHECKING:
    from fast_nst.inference.stylizer import Stylizer

__all__ = ["VideoReport", "VideoRun", "open_video"]

_DEPTH = 2  # chunks that may wait on either side of the network
_GPU_BATCH = 4  # frames that a GPU takes at once, so that it does not wait for the interpreter between them


@dataclass(frozen=True)
class VideoReport:
    """How far a video is."""

    frames: int
    """handed to the encoder"""
    total: int
    """as far as the file says; 0 if it does not"""
    seconds: float
    """since the beginning"""

    @property
    def rate(self) -> float:
        """Frames a second so far."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to go; None if nobody knows."""
        return max(0, self.total - self.frames) / self.rate if self.total and self.rate else None


@dataclass
class _Painted:
    chunk: Chunk
    pictures: list[Picture]


def open_video(path: str, config: StylizeConfig) -> Video:
    """A video or an animation, for the part asked for.

    Raises:
        VideoReadError, ImageReadError: it cannot be read.
    """
    kind = AnimatedFile if Path(path).suffix.lower() in ANIMATIONS else VideoFile
    return kind(path, start=config.video.start, duration=config.video.duration, max_pixels=config.max_pixels)


class VideoRun:
    """One video on its way from file to file: take the `reports`, then `keep` the result, or `drop` it.

    Raises:
        InputError: the video cannot be read, or the result not be written; nothing is left on the disk.
    """

    def __init__(self, source: str, target: str | Path, stylizer: Stylizer, config: StylizeConfig) -> None:
        self._stylizer, self._config, self._video = stylizer, config, open_video(source, config)
        try:
            container = container_of(target, config.format)
            codec = choose_codec(config.video.codec, container, self._video.heading)
            if config.size is not None:
                self._video.resize(*_fitted(self._video.heading, config, even=codec.odd is not None))
            self._smoother = TemporalSmoother(config.video.steadiness) if config.video.steady else None
            self._writer = VideoWriter(
                target,
                self._video.heading,
                container,
                codec,
                quality=config.quality,
                overwrite=config.overwrite,
            )
        except BaseException:
            self._video.close()
            raise
        writer = self._writer
        self._chunks: Generator[Chunk] = prefetch(iter(()), _DEPTH)
        self._writer_thread: BackgroundWriter[_Painted] = BackgroundWriter(
            self._write, writer.finish, writer.abandon, _DEPTH
        )

    @property
    def heading(self) -> Heading:
        """Of the result."""
        return self._writer.heading

    @property
    def frames(self) -> int:
        """Encoded so far."""
        return self._writer.frames

    @property
    def words(self) -> list[str]:
        """What a person should know; complete at the end."""
        words, writer = [*self._video.words, *self._writer.words], self._writer
        if self.heading.alpha and not writer.keeps_alpha:
            words.append("transparency laid on white, which this format cannot hold")
        if writer.left_out:
            words.append(
                f"{writer.left_out} frames left out: they follow each other too fast for this format"
            )
        return words

    def reports(self) -> Iterator[VideoReport]:
        """Stylize; a report for every batch of frames."""
        started, done, total = time.perf_counter(), 0, self.heading.frames
        batch = self._config.batch_size
        if self._stylizer.device.startswith("cuda"):
            batch = max(batch, _GPU_BATCH)
        self._chunks = prefetch(self._video.chunks(batch), _DEPTH)
        for chunk in self._chunks:
            pictures = self._stylizer.pictures([f.picture for f in chunk.frames]) if chunk.frames else []
            self._writer_thread.put(_Painted(chunk, pictures))
            done += len(chunk.frames)
            yield VideoReport(done, max(total, done) if total else 0, time.perf_counter() - started)

    def keep(self) -> int:
        """Finish the file with what has been done; the number of its frames. With none there is no file."""
        self._chunks.close()
        try:
            self._writer_thread.close()
        finally:
            self._video.close()  # last: the packets on their way to the sink belong to it
        return self._writer.frames

    def drop(self) -> None:
        """Leave nothing."""
        self._chunks.close()
        self._writer_thread.cancel()
        self._video.close()

    def _write(self, painted: _Painted) -> None:
        """In the sink's thread."""
        for packet in painted.chunk.packets:
            self._writer.copy(packet)
        for frame, picture in zip(painted.chunk.frames, painted.pictures, strict=True):
            if self._smoother is not None:
                picture = self._smoother(frame.picture, picture)
            self._writer.write(dataclasses.replace(frame, picture=picture))


def _fitted(heading: Heading, config: StylizeConfig, *, even: bool) -> tuple[int, int]:
    """Width and height with the longer side as asked, the shorter one even where the codec likes that."""
    assert config.size is not None
    short, long = sorted((heading.width, heading.height))
    other = max(1, (2 * short * config.size + long) // (2 * long))
    if even:
        other = max(2, 2 * round(config.size * short / long / 2))
    if config.size * other > config.max_pixels:
        raise InputError(
            f"--size {config.size} would make {config.size * other:,} pixels of a frame, over the limit of "
            f"{config.max_pixels:,}; --max-pixels {config.size * other} would allow it"
        )
    return (config.size, other) if heading.width >= heading.height else (other, config.size)

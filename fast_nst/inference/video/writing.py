"""Write videos with PyAV: every frame at its time, sound and subtitles copied.

The file has a hidden name until it is finished (see `fast_nst.io.files`), and an incomplete video never gets
the name of the result. A writer belongs to one thread.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from fast_nst.errors import FileError
from fast_nst.inference.video.codecs import Codec, Container
from fast_nst.inference.video.opening import ffmpeg_reason
from fast_nst.inference.video.palette import Palette
from fast_nst.inference.video.partial import partial_path
from fast_nst.inference.video.stream import Frame, VideoInfo
from fast_nst.io.files import AtomicFile, why_not_writable, write_reason
from fast_nst.io.images import MAX_LEVEL, Picture, over_white

__all__ = ["VideoWriteError", "VideoWriter"]

_FRAME_DURATION = 1 << 8  # AV_CODEC_FLAG_FRAME_DURATION: the last frame lasts as long as it did
_ERRORS = (av.FFmpegError, OSError, ValueError, MemoryError, OverflowError)


class VideoWriteError(FileError):
    """A video that cannot be written."""


class VideoWriter:
    """A video being written: frames and packets in, one file out.

    Args:
        path: the file. It exists when `finish` returns, and not before.
        info: of the video, as it is to be.
        quality: 1 to 100.

    Raises:
        VideoWriteError: by every method; then nothing is left but to `abandon`.
    """

    def __init__(
        self,
        path: str | Path,
        info: VideoInfo,
        container: Container,
        codec: Codec,
        *,
        quality: int = 95,
        overwrite: bool = False,
    ) -> None:
        self.path, self.info, self.codec = Path(path), info, codec
        self.notes: list[str] = []
        self.frames = self.dropped = self.damaged = 0
        self.written: Path | None = None
        self._overwrite = overwrite
        self._format, self._layout, self._last = container, codec.layout(info), -container.least
        self._base = info.time_base if container.ticks is None else Fraction(1, container.ticks)
        self._reformatter, self._palette = VideoReformatter(), Palette() if codec.encoder == "gif" else None
        self._copied: dict[int, Stream] = {}
        self._held: VideoFrame | None = None
        if why := why_not_writable(self.path, overwrite=overwrite):
            raise VideoWriteError(path, why)
        try:
            self._file = AtomicFile(self.path)
        except (OSError, ValueError) as error:
            raise VideoWriteError(path, write_reason(error, self.path)) from error
        try:
            self._container = self._open()
            self._video = self._add_video(quality)
            self._add_copied_streams()
            self._container.start_encoding()
        except BaseException as error:
            self._file.discard()
            if not isinstance(error, _ERRORS):
                raise
            raise self._as_write_error(error) from error

    @property
    def keeps_alpha(self) -> bool:
        """Whether transparency is written; otherwise frames are composited on white."""
        return self._layout == self.codec.alpha

    def write(self, frame: Frame) -> None:
        """Add a frame. One that comes too soon after the last for the format is dropped."""
        time = round(frame.time * self.info.time_base / self._base)
        if time < self._last + self._format.least:
            self.dropped += 1
            return
        step, self._last = time - self._last, time
        try:
            raw = self._convert(frame.picture)
            raw.pts, raw.time_base = time, self._base
            # Of the last frame; the others last until the next. One that says nothing lasts as long as the
            # one before it did.
            said = round(frame.duration * self.info.time_base / self._base)
            raw.duration = said or (step if self.frames else round(1 / (self.info.rate * self._base)))
            self._encode_held(time)
        except _ERRORS as error:
            raise self._as_write_error(error) from error
        self._held = raw
        self.frames += 1

    def _encode_held(self, until: int) -> None:
        """Encode the frame before, which lasts until now: players take the duration from its packet."""
        if self._held is not None:
            self._held.duration = until - self._held.pts  # type: ignore[operator]
            self._container.mux(self._video.encode(self._held))

    def copy(self, packet: Packet[Any]) -> None:
        """Add a packet of one of the video's copied streams, unless the container cannot hold that stream."""
        stream = self._copied.get(packet.stream.index)
        if stream is None:
            return
        packet.stream = stream
        try:
            self._container.mux(packet)
        except av.FFmpegError:  # damaged; a full disk is an error of the system
            self.damaged += 1
        except _ERRORS as error:
            raise self._as_write_error(error) from error

    def finish(self, *, partial: bool = False) -> None:
        """Write what is queued and name the file; without a frame there is no file.

        Args:
            partial: the video is incomplete and gets the name of `partial_path`. A complete one removes the
                partial file of an earlier run.
        """
        if not self.frames:
            self.abandon()
            return
        place = partial_path(self.path) if partial else self.path
        try:
            self._container.mux(self._video.encode(self._held))
            self._container.mux(self._video.encode(None))
            self._container.close()
            if why := why_not_writable(place, overwrite=self._overwrite or partial):  # it appeared meanwhile
                raise VideoWriteError(place, why)
            self._file.commit(place)
        except _ERRORS as error:
            raise self._as_write_error(error) from error
        self.written = place
        if not partial:
            with suppress(OSError):
                partial_path(self.path).unlink()

    def abandon(self) -> None:
        """Remove what was written."""
        with suppress(*_ERRORS):
            self._container.close()
        self._file.discard()

    def _open(self) -> OutputContainer:
        options = {"loop": str(self.info.loops)} if not self._format.other_streams else {}
        container = av.open(self._file.file, "w", self._format.format, options=options, buffer_size=1 << 18)
        if self._format.other_streams and self.info.chapters:
            container.set_chapters(list(self.info.chapters))
        return container

    def _add_video(self, quality: int) -> VideoStream:
        info, codec = self.info, self.codec
        options = {**codec.options, **codec.rate_options(quality)}
        if self.keeps_alpha:
            options |= codec.alpha_options
        if codec.encoder == "libwebp_anim":
            options |= {"quality": str(quality), "lossless": str(int(quality == 100))}
        rate = info.rate.limit_denominator(1 << 30)
        video: VideoStream = self._container.add_stream(codec.encoder, rate=rate, options=options)  # type: ignore[assignment]
        video.width, video.height, video.pix_fmt = info.width, info.height, self._layout
        context = video.codec_context
        video.time_base = context.time_base = self._base
        context.flags |= _FRAME_DURATION
        if info.aspect:
            context.sample_aspect_ratio = info.aspect
        if not self._layout.startswith(("bgr", "pal")):
            color = info.color
            context.colorspace, context.color_range = color.matrix, int(ColorRange.MPEG)
            context.color_primaries, context.color_trc = color.primaries, color.transfer
        if self.keeps_alpha and codec.encoder == "libvpx-vp9":
            video.metadata["alpha_mode"] = "1"
        return video

    def _add_copied_streams(self) -> None:
        """Add those of the video's copied streams that this container can hold."""
        lost = []
        for source in self.info.copied_streams:
            try:
                if not self._format.other_streams:
                    raise ValueError
                stream = self._container.add_stream_from_template(source, opaque=True)
            except ValueError:
                kind = "sound" if source.type == "audio" else "subtitles"
                lost.append(f"{kind} ({source.codec_context.codec.canonical_name})")
                continue
            stream.disposition = source.disposition
            for key in ("language", "title"):
                if key in source.metadata:
                    stream.metadata[key] = source.metadata[key]
            self._copied[source.index] = stream
        if lost:
            self.notes.append(f"{self._format.format} cannot hold {', '.join(lost)}; --format mkv takes all")

    def _convert(self, picture: Picture) -> VideoFrame:
        """RGB in the encoder's layout."""
        if self._palette is not None:
            return self._palette.reduce(_with_alpha(picture))
        if self.keeps_alpha:
            raw = VideoFrame.from_ndarray(_with_alpha(picture), format="rgba")
        else:
            raw = VideoFrame.from_ndarray(over_white(picture), format="rgb24")
        if self._layout.startswith("bgr"):
            return self._reformatter.reformat(raw, format=self._layout)
        return self._reformatter.reformat(
            raw,
            format=self._layout,
            dst_colorspace=self.info.color.swscale,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
        )

    def _as_write_error(self, error: BaseException) -> VideoWriteError:
        if isinstance(error, VideoWriteError):
            return error
        size = f"{self.info.width} x {self.info.height}"
        if isinstance(error, OSError) and not isinstance(error, av.FFmpegError):
            why = write_reason(error, self.path)
        elif not self.frames and isinstance(error, av.FFmpegError):
            why = f"{self.codec.encoder} cannot write {size} pixels; give another --codec or --size"
        else:
            why = f"cannot be written ({ffmpeg_reason(error)})"
        return VideoWriteError(self.path, why)


def _with_alpha(picture: Picture) -> np.ndarray[Any, np.dtype[np.uint8]]:
    alpha = picture.alpha
    if alpha is None:
        alpha = np.full(picture.rgb.shape[:2], MAX_LEVEL, np.uint8)
    return np.dstack([picture.rgb, alpha])

"""Read videos with PyAV: upright RGB frames at exact times, with packets of sound and subtitles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from fast_nst.errors import FileError
from fast_nst.inference.video.opening import (
    PYAV_ERRORS,
    VideoReadError,
    best_video,
    ffmpeg_reason,
    make_decoder,
    open_container,
    open_file,
    read_error_reason,
    refuse_hdr,
)
from fast_nst.inference.video.stream import SWSCALE, Color, Frame, FrameBatch, VideoInfo
from fast_nst.io.images import MAX_PIXELS, Picture, check_size, fill_hidden, resized

__all__ = ["VideoFile"]

_CLOCKS_FROM_ANYWHERE = ("mpegts", "mpeg")  # broadcasts: their first time stamp is no beginning
_UNKNOWN = 2  # H.273 for "not said"
# FFmpeg's quick conversion rounds down, which darkens a video by half a level, and 10-bit ones by two.
_EXACT = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
_KEPT = ("audio", "subtitle")
_MOST_PACKETS = 256  # of sound and subtitles in a batch without frames
_READ_ON = 1.0  # seconds of the file in which sound may lie behind the frames it belongs to
_FASTEST = 1000  # frames a second; more is a damaged header


class VideoFile:
    """A `VideoReader` in a file of its own, from `start` seconds, for `duration` seconds (0: to the end).

    Raises:
        VideoReadError: no such file, no video, HDR, more pixels than allowed, nothing that can be decoded.
    """

    def __init__(
        self, path: str, *, start: float = 0.0, duration: float = 0.0, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.path, self.notes = path, list[str]()
        self._max_pixels, self._start, self._damaged = max_pixels, start, 0
        self._reformatter = VideoReformatter()
        self._file = open_file(path)
        try:
            self._container = open_container(path, self._file)
            self._video = best_video(path, self._container, max_pixels)
            self._decoder = make_decoder(self._video, max_pixels)
            self._origin = self._begin_at(start)
            self._end = self._origin + Fraction(duration) if duration else None
            self._decoding = self._decode()
            # The first frame gives what the header may not: rotation, colors, transparency.
            self._waiting, first = self._read_to_first_frame()
            self._turn = _quarter_turns(first)
            self.info = self._make_info(first)
        except BaseException as error:
            self.close()
            if isinstance(error, FileError) or not isinstance(error, PYAV_ERRORS):
                raise
            raise VideoReadError(path, read_error_reason(error)) from error

    def close(self) -> None:
        """Close the file."""
        if (container := getattr(self, "_container", None)) is not None:
            container.close()
        self._file.close()

    def resize(self, width: int, height: int) -> None:
        """Scale frames to this size; to be called before the first one is read."""
        self.info = dataclasses.replace(self.info, width=width, height=height)

    def batches(self, frames: int) -> Iterator[FrameBatch]:
        """The video in order, in batches of up to so many frames."""
        batch, last = FrameBatch(), -1
        for event in self._events():
            if isinstance(event, Packet):
                batch.packets.append(event)
            else:
                frame = self._frame(event, last)
                if frame is None:
                    continue
                last = frame.time
                batch.frames.append(frame)
            if len(batch.frames) == frames or len(batch.packets) >= _MOST_PACKETS:
                yield batch
                batch = FrameBatch()
        if self._damaged:
            self.notes.append(f"{self._damaged} damaged packets or frames dropped")
        if batch.frames or batch.packets:
            yield batch

    def _begin_at(self, start: float) -> Fraction:
        """Seek to the key frame at or before `start`; returns the file time that is 0 in the result."""
        origin, container = Fraction(0), self._container
        if container.format.name in _CLOCKS_FROM_ANYWHERE and container.start_time is not None:
            origin = Fraction(container.start_time, av.time_base)
        if start:
            origin += Fraction(start)
            try:
                container.seek(int(origin * av.time_base), backward=True)
            except PYAV_ERRORS:
                container.seek(0, any_frame=True)  # no index: everything before is read and left out
        return origin

    def _read_to_first_frame(self) -> tuple[list[Any], VideoFrame]:
        events: list[Any] = []
        for event in self._decoding:
            events.append(event)
            if isinstance(event, VideoFrame):
                check_size(self.path, (event.width, event.height), self._max_pixels)
                refuse_hdr(self.path, event.color_trc)
                return events, event
        if self._start:
            raise VideoReadError(self.path, f"there is no frame after --start {self._start:g} seconds")
        raise VideoReadError(self.path, "not one frame can be decoded; it is damaged or cut off")

    def _make_info(self, first: VideoFrame) -> VideoInfo:
        video, sideways = self._video, self._turn % 2
        height, width = (first.width, first.height) if sideways else (first.height, first.width)
        aspect = video.sample_aspect_ratio
        if aspect and sideways:
            aspect = 1 / aspect
        rate = video.average_rate or video.guessed_rate or Fraction(25)
        if first.interlaced_frame:
            self.notes.append("is interlaced; deinterlace it first to avoid combing")
        return VideoInfo(
            width,
            height,
            time_base=video.time_base or Fraction(1, 1000),
            rate=min(rate, Fraction(_FASTEST)),
            frames=self._count(rate),
            alpha=any(part.is_alpha for part in first.format.components),
            aspect=None if not aspect or aspect == 1 else aspect,
            color=_color(first),
            chapters=self._chapters(),
            copied_streams=[s for s in self._container.streams if s.type in _KEPT and s.codec_context],
        )

    def _count(self, rate: Fraction) -> int:
        """The number of frames according to the header."""
        video, container = self._video, self._container
        seconds = Fraction(0)
        if video.duration and video.time_base:
            seconds = video.duration * video.time_base
        elif container.duration:
            seconds = Fraction(container.duration, av.time_base)
        if self._origin == 0 and self._end is None and video.frames:
            return video.frames
        if self._end is not None:
            seconds = min(seconds or self._end, self._end)
        return max(0, round((seconds - self._origin) * rate)) if seconds else 0

    def _chapters(self) -> list[Any]:
        """The chapters of the part asked for, counted from its beginning."""
        kept = []
        for chapter in self._container.chapters():
            base = chapter["time_base"] or Fraction(1, 1000)
            start, end = (moment * base - self._origin for moment in (chapter["start"], chapter["end"]))
            if end > 0 and (self._end is None or start < self._end - self._origin):
                titles = {k: v for k, v in chapter["metadata"].items() if k == "title"}
                times = {"start": max(0, round(start / base)), "end": round(end / base)}
                kept.append({**chapter, **times, "time_base": base, "metadata": titles})
        return kept

    def _events(self) -> Iterator[Any]:
        yield from self._waiting
        self._waiting = []
        yield from self._decoding  # the same: its decoder holds frames already

    def _decode(self) -> Iterator[Any]:
        """Decoded frames and packets of copied streams, in the order of the file, of the part asked for."""
        over = False
        for packet in self._demux():
            base = packet.time_base
            time = None if packet.dts is None or not base else packet.dts * base
            if packet.stream is not self._video:
                if packet.size and time is not None and (kept := self._in_part(packet, base)):
                    yield kept
                continue
            if self._end is not None and time is not None and time > self._end + Fraction(_READ_ON):
                return
            if over:
                continue
            for frame in self._decode_packet(packet):
                if self._end is not None and frame.pts is not None and self._seconds(frame) >= self._end:
                    over = True
                    break
                if frame.pts is None or self._seconds(frame) >= self._origin:
                    yield frame

    def _demux(self) -> Iterator[Packet[Any]]:
        kept = [
            s for s in self._container.streams if s is self._video or (s.type in _KEPT and s.codec_context)
        ]
        packets = self._container.demux(kept)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except PYAV_ERRORS as error:
                self.notes.append(
                    f"the file ends early ({ffmpeg_reason(error)}); the frames before that were used"
                )
                return
            yield packet

    def _decode_packet(self, packet: Packet[Any]) -> list[VideoFrame]:
        try:
            frames: list[VideoFrame] = self._decoder.decode(packet if packet.size else None)
        except EOFError:
            return []
        except PYAV_ERRORS:
            self._damaged += 1
            return []
        return frames

    def _seconds(self, frame: VideoFrame) -> Fraction:
        return frame.pts * (frame.time_base or self._video.time_base)  # type: ignore[operator,return-value]

    def _in_part(self, packet: Packet[Any], base: Fraction) -> Packet[Any] | None:
        """The packet at its time in the result, or None outside of the part asked for."""
        moment = packet.pts if packet.pts is not None else packet.dts
        assert moment is not None and packet.dts is not None
        time = moment * base
        # What lies before the beginning of a whole video, such as the priming of AAC, belongs to it.
        cut = self._origin > 0 and time < self._origin
        if cut or (self._end is not None and time >= self._end):
            return None
        shift = round(self._origin / base)
        packet.dts -= shift
        if packet.pts is not None:
            packet.pts -= shift
        return packet

    def _frame(self, raw: VideoFrame, last: int) -> Frame | None:
        """A decoded frame, upright, with a time after the last one's; None if it cannot be converted."""
        base = self.info.time_base
        duration = max(0, raw.duration or 0)
        if raw.pts is None:  # a stream without clocks: one step of the average rate
            time = last + max(1, round(1 / (self.info.rate * base))) if last >= 0 else 0
        else:
            time = raw.pts - round(self._origin / base)
        try:
            picture = self._picture(raw)
        except PYAV_ERRORS:
            self._damaged += 1
            return None
        return Frame(picture, max(time, last + 1, 0), duration)

    def _picture(self, raw: VideoFrame) -> Picture:
        info = self.info
        width, height = info.width, info.height
        if self._turn % 2:
            width, height = height, width
        if info.alpha:  # FFmpeg would blend hidden colors into visible ones
            width, height = raw.width, raw.height
        matrix = None if raw.format.is_rgb else info.color.swscale
        turned = self._reformatter.reformat(
            raw,
            width,
            height,
            "rgba" if info.alpha else "rgb24",
            src_colorspace=matrix,
            interpolation=_EXACT,
        ).to_ndarray()
        pixels: NDArray[np.uint8] = np.ascontiguousarray(np.rot90(turned, self._turn), np.uint8)
        if not info.alpha:
            return Picture(pixels)
        rgb, alpha = np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3])
        return resized(Picture(fill_hidden(rgb, alpha), alpha), info.width, info.height)


def _quarter_turns(first: VideoFrame) -> int:
    """Counterclockwise quarter turns that make a frame upright; other angles do not occur in practice."""
    return round(first.rotation / 90) % 4


def _color(first: VideoFrame) -> Color:
    """The frame's own, with missing values filled in as players do: BT.709 from 720 lines upwards."""
    if first.format.is_rgb:
        return Color()
    guess = 1 if min(first.width, first.height) >= 720 else 6
    matrix = first.colorspace if first.colorspace in SWSCALE else guess
    said = (first.color_primaries, first.color_trc)
    return Color(matrix, *(guess if number in (0, 3, _UNKNOWN) else number for number in said))

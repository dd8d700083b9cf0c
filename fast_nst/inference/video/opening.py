"""Open videos safely: local files only, only formats that hold their own data, nothing too large.

PyAV gets a stream of bytes and no file name: a playlist could point at any file of this machine or its
network. Whatever a file holds, the result is a stream to decode or one `VideoReadError`.
"""

from __future__ import annotations

import os
import stat
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from fast_nst.errors import FileError, first_line
from fast_nst.io.images import check_size

__all__ = [
    "PYAV_ERRORS",
    "VideoReadError",
    "best_video",
    "ffmpeg_reason",
    "make_decoder",
    "open_container",
    "open_file",
    "read_error_reason",
    "refuse_hdr",
]

# Demuxers that read one file and nothing else. Left out: hls, dash, concat, imf and image2, which open what
# the file names, and lavfi, which runs a program of filters.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,live_flv,ogg,mxf,nut,ivf,rm,dv,m4v,"
    "h264,hevc,obu,gxf,swf,apng"
)
_PLAYLISTS = (b"#extm3u", b"ffconcat", b"<?xml", b"<mpd", b"[playlist]", b"<smil", b"<asx")
_HDR = {16: "PQ", 18: "HLG"}  # transfer functions of ITU-T H.273
# What PyAV lets through besides its own errors on damaged files.
PYAV_ERRORS = (av.FFmpegError, OSError, ValueError, IndexError, MemoryError, EOFError, OverflowError)


class VideoReadError(FileError):
    """A video that cannot be read: the only error of reading one, whatever the file holds."""


def open_file(path: str) -> BinaryIO:
    """A regular file, for reading."""
    try:
        mode = os.stat(path).st_mode  # before opening: a named pipe would wait for a writer, perhaps for ever
        if stat.S_ISDIR(mode):
            raise VideoReadError(path, "is a folder, not a video")
        if not stat.S_ISREG(mode):
            raise VideoReadError(path, "is a pipe, a socket or a device, not a file")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        why = (
            "no such file"
            if isinstance(error, FileNotFoundError)
            else f"cannot be read ({ffmpeg_reason(error)})"
        )
        raise VideoReadError(path, why) from error


def open_container(path: str, file: BinaryIO) -> InputContainer:
    """What holds the streams, if it is of a kind that holds them itself."""
    head = file.read(4096)
    file.seek(0)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise VideoReadError(path, "the file is empty")
    if start.startswith(_PLAYLISTS):
        raise VideoReadError(path, "is a playlist, which names other files; give the video itself")
    if head.isascii() and b"\0" not in head:
        raise VideoReadError(path, "not a video: the file holds text")
    # No nested file may be opened by any protocol, whatever the demuxers make of the contents.
    limits = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
    return av.open(file, "r", options=limits, metadata_errors="replace", buffer_size=1 << 18)


def best_video(path: str, container: InputContainer, max_pixels: int) -> VideoStream:
    """The video among the streams: not a cover picture, the default one, the largest."""
    streams = container.streams
    found = [s for s in streams.video if not s.disposition & s.disposition.attached_pic]
    if not found:
        others = sorted({stream.type for stream in streams})
        rest = f", only {' and '.join(others)}" if others else ""
        raise VideoReadError(path, f"has no video stream{rest}")
    if not (found := [s for s in found if s.codec_context is not None]):
        raise VideoReadError(path, "no decoder for its codec; convert it first: ffmpeg -i FILE FILE.mp4")
    video = max(found, key=lambda s: (s.disposition & s.disposition.default, s.width * s.height))
    if not video.width or not video.height:
        raise VideoReadError(path, "its header gives no frame size; the file is damaged")
    check_size(path, (video.width, video.height), max_pixels)
    refuse_hdr(path, video.color_trc)
    return video


def make_decoder(video: VideoStream, max_pixels: int) -> Any:
    """The decoder of a stream, also of its transparency."""
    limits = {"max_pixels": str(max_pixels)}  # the header may lie: each frame has its own size
    tags = {name.lower(): value for name, value in video.metadata.items()}
    with_alpha = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(video.codec_context.name)
    if with_alpha and tags.get("alpha_mode") == "1":  # FFmpeg's own decoders leave the transparency out
        decoder: Any = av.CodecContext.create(with_alpha, "r")
        decoder.options = limits
        return decoder
    video.codec_context.options = limits
    video.thread_type = "AUTO"
    return video.codec_context


def refuse_hdr(path: str, transfer: int) -> None:
    """Refuse the transfer functions of HDR: read as SDR, they give a flat gray image."""
    if transfer in _HDR:
        raise VideoReadError(
            path,
            f"is HDR ({_HDR[transfer]}), and styles are trained on SDR; convert it to SDR (BT.709) first",
        )


def read_error_reason(error: BaseException) -> str:
    """What a person can act on, from whatever PyAV raised."""
    if isinstance(error, MemoryError):
        return "not enough memory to read it"
    return f"not a video, or one that is damaged or cut off ({ffmpeg_reason(error)})"


def ffmpeg_reason(error: BaseException) -> str:
    """The reason that FFmpeg or the system gives, without numbers and file names."""
    return (getattr(error, "strerror", None) or first_line(error)).removesuffix(".")

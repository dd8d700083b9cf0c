"""The interface of a video reader: its properties, then batches of frames and packets in file order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from fast_nst.io.images import Picture

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

__all__ = ["SWSCALE", "Color", "Frame", "FrameBatch", "VideoInfo", "VideoReader"]


# FFmpeg's scaler has numbers of its own for the matrices of H.273; the others it does not know.
SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}


@dataclass(frozen=True)
class Color:
    """The color space of a file, in the numbers of ITU-T H.273, which every format uses."""

    matrix: int = 1
    primaries: int = 1
    transfer: int = 1

    @property
    def swscale(self) -> int:
        """The matrix as FFmpeg's scaler numbers it."""
        return SWSCALE[self.matrix]


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video that its result is set up with."""

    width: int
    """of a frame as it is shown, upright, pixels"""
    height: int
    time_base: Fraction
    """the unit of `Frame.time`, seconds"""
    rate: Fraction
    """frames a second on average; times are exact and do not come from it"""
    frames: int = 0
    """the number of frames according to the file; 0 if unknown"""
    alpha: bool = False
    aspect: Fraction | None = None
    """of a pixel, width over height; None for square ones"""
    color: Color = field(default_factory=Color)
    loops: int = 0
    """how often an animation is played; 0: endlessly"""
    chapters: Sequence[Any] = ()
    """as PyAV gives them, counted from the beginning of the result"""
    copied_streams: Sequence[Stream] = ()
    """sound and subtitles, to be copied as they are"""


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    picture: Picture
    time: int
    """when it is shown, in units of the video's `time_base`, from the beginning of the result"""
    duration: int
    """for how long; 0 if unknown"""


@dataclass
class FrameBatch:
    """Consecutive frames of equal size, and the packets of copied streams that lie among them."""

    frames: list[Frame] = field(default_factory=list)
    packets: list[Packet[Any]] = field(default_factory=list)


class VideoReader(Protocol):
    """A video open for reading."""

    path: str
    info: VideoInfo
    notes: list[str]
    """what a person should know of it; complete when the last batch has been read"""

    def resize(self, width: int, height: int) -> None:
        """Scale frames to this size; to be called before the first one is read."""

    def batches(self, frames: int) -> Iterator[FrameBatch]:
        """The video in order, in batches of up to so many frames."""

    def close(self) -> None:
        """Close the file."""

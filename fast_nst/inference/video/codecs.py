"""Output formats of videos: containers by their ending, their codecs, and the capabilities of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fast_nst.errors import InputError
from fast_nst.inference.video.stream import VideoInfo

__all__ = ["CODECS", "CONTAINERS", "VIDEO_ENDINGS", "Codec", "Container", "choose_codec", "container_of"]


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg and its options."""

    encoder: str
    pixels: str
    """layout of the samples"""
    odd: str | None = None
    """layout for an odd width or height, where `pixels` cannot have one"""
    alpha: str | None = None
    """layout with transparency"""
    crf: tuple[int, int, int] | None = None
    """constant rate factor at a quality of 0, 95 and 100; None if the encoder has none"""
    options: Mapping[str, str] = field(default_factory=dict)
    alpha_options: Mapping[str, str] = field(default_factory=dict)

    def layout(self, info: VideoInfo) -> str:
        """The layout of samples that keeps this video's size and, if possible, its alpha."""
        if info.alpha and self.alpha:
            return self.alpha
        if self.odd and (info.width % 2 or info.height % 2):
            return self.odd
        return self.pixels

    def rate_options(self, quality: int) -> dict[str, str]:
        """The encoder's options for a quality of 1 to 100; 95 is visually lossless, 100 the best."""
        if self.crf is None:
            return {}
        worst, usual, best = self.crf
        low, high, share = (
            (worst, usual, quality / 95) if quality <= 95 else (usual, best, (quality - 95) / 5)
        )
        return {"crf": str(round(low + (high - low) * share))}


# Presets on the quick side: a network that needs the processor too waits for the encoder otherwise. The usual
# factors are where the encoders' own documentation puts "visually lossless".
CODECS: dict[str, Codec] = {
    "h264": Codec("libx264", "yuv420p", "yuv444p", crf=(51, 18, 0), options={"preset": "veryfast"}),
    "h265": Codec(
        "libx265",
        "yuv420p",
        "yuv444p",
        crf=(51, 20, 0),
        # With B-frames a video of two frames gets time stamps from memory that x265 never set.
        options={"preset": "veryfast", "x265-params": "log-level=none:bframes=0"},
    ),
    "vp9": Codec(
        "libvpx-vp9",
        "yuv420p",
        alpha="yuva420p",
        crf=(63, 20, 0),
        options={"b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
        alpha_options={"auto-alt-ref": "0"},  # alternate reference frames lose the alpha
    ),
    "av1": Codec("libsvtav1", "yuv420p", crf=(63, 24, 1), options={"preset": "10"}),
    "prores": Codec(
        "prores_ks",
        "yuv422p10le",
        "yuv444p10le",
        "yuva444p10le",
        options={"profile": "hq"},
        alpha_options={"profile": "4444", "alpha_bits": "8"},
    ),
    "ffv1": Codec("ffv1", "bgr0", alpha="bgra", options={"level": "3"}),
    "gif": Codec("gif", "pal8", alpha="pal8"),
    "webp": Codec("libwebp_anim", "bgra", alpha="bgra"),
}


@dataclass(frozen=True)
class Container:
    """A file format for videos."""

    format: str
    """its name in FFmpeg"""
    codecs: tuple[str, ...]
    """the first is the default"""
    alpha: str | None = None
    """the codec for videos with transparency"""
    ticks: int | None = None
    """times are whole multiples of one second over this; None if any unit will do"""
    least: int = 1
    """ticks between two frames"""
    other_streams: bool = True
    """whether it can hold sound and subtitles"""


_EVERY = ("h264", "h265", "vp9", "av1", "ffv1")
CONTAINERS: dict[str, Container] = {
    ".mp4": Container("mp4", ("h264", "h265", "av1", "vp9")),
    ".m4v": Container("mp4", ("h264", "h265", "av1", "vp9")),
    ".mov": Container("mov", ("h264", "h265", "prores"), alpha="prores"),
    ".mkv": Container("matroska", _EVERY, alpha="vp9", ticks=1000),
    ".webm": Container("webm", ("vp9", "av1"), alpha="vp9", ticks=1000),
    # Browsers show what is to last for less than two hundredths of a second ten times as long.
    ".gif": Container("gif", ("gif",), alpha="gif", ticks=100, least=2, other_streams=False),
    ".webp": Container("webp", ("webp",), alpha="webp", ticks=1000, other_streams=False),
}

# What is taken for a video, by its ending, and the ending of its result: its own where that can be written,
# else .mp4, or .mkv for those whose usual sound does not go into .mp4.
VIDEO_ENDINGS: dict[str, str] = {
    **{ending: ending for ending in (".mp4", ".m4v", ".mov", ".mkv", ".webm")},
    **dict.fromkeys((".avi", ".flv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".qt", ".f4v"), ".mp4"),
    **dict.fromkeys((".wmv", ".asf", ".ogv", ".mxf", ".nut", ".vob", ".rm", ".dv", ".apng"), ".mkv"),
}


def container_of(target: str | Path, format: str | None = None) -> Container:
    """The container of a format such as ``mp4`` if that is one for videos, else of a file name.

    Raises:
        InputError: none of ours.
    """
    wanted = f".{format.lower().removeprefix('.')}" if format else ""
    if wanted not in CONTAINERS:
        wanted = Path(target).suffix
    if (container := CONTAINERS.get(wanted.lower())) is None:
        raise InputError(
            f"{target}: a video cannot be written as {wanted!r}; give one of {' '.join(CONTAINERS)}"
        )
    return container


def choose_codec(wanted: str, container: Container, info: VideoInfo) -> Codec:
    """The codec asked for; for ``auto`` the container's default, or the one that keeps this video's alpha.

    Raises:
        InputError: the container cannot hold it.
    """
    if wanted == "auto" or not container.other_streams:  # an animation has one codec
        return CODECS[container.alpha if info.alpha and container.alpha else container.codecs[0]]
    if wanted not in container.codecs:
        places = [ending for ending, other in CONTAINERS.items() if wanted in other.codecs]
        raise InputError(
            f"--codec {wanted} does not go into {container.format}, which takes "
            f"{', '.join(container.codecs)}; write it as {' or '.join(places)}"
        )
    return CODECS[wanted]

"""Videos from file to file, and as lists of what they hold."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from fast_nst.config import StylizeConfig, VideoConfig
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.video.pipeline import VideoRun


@pytest.fixture
def paint(stylizer: Stylizer, stylize_video: Callable[..., VideoRun]) -> Callable[..., VideoRun]:
    """Stylizes a video from file to file; options are those of videos, or of pictures."""
    return partial(stylize_video, stylizer)


@pytest.fixture(scope="session")
def stylize_video() -> Callable[..., VideoRun]:
    """As `paint`, with a stylizer of the test's own."""

    def run(stylizer: Stylizer, source: Path, target: Path, **options: Any) -> VideoRun:
        of_films = {k: options.pop(k) for k in list(options) if k in VideoConfig.__dataclass_fields__}
        config = StylizeConfig(video=VideoConfig(**of_films), **options)
        with VideoRun(str(source), target, stylizer, config) as video:
            for _ in video.reports():
                pass
        return video

    return run


@pytest.fixture
def seen() -> Callable[[Path], SimpleNamespace]:
    """What a video holds: times in seconds, pictures, packets of sound and subtitles, chapters."""

    def look(path: Path) -> SimpleNamespace:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            frames = list(container.decode(video))
            base = video.time_base
            container.seek(0)
            others = [s for s in container.streams if s.type in ("audio", "subtitle")]
            packets: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in others}
            for packet in container.demux(others) if others else []:
                if packet.size:
                    packets[packet.stream.index].append((packet.pts * packet.time_base, bytes(packet)))
            return SimpleNamespace(
                base=base,
                times=[frame.pts * base for frame in frames],
                pictures=[frame.to_ndarray(format="rgb24") for frame in frames],
                alpha=any(part.is_alpha for part in frames[0].format.components),
                codec=video.codec_context.name,
                pixels=video.codec_context.pix_fmt,
                tracks=list(packets.values()),
                languages=[s.language for s in others],
                chapters=[
                    (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"].get("title"))
                    for c in container.chapters()
                ],
            )

    return look


@pytest.fixture(scope="session")
def gray() -> Callable[[int], NDArray[Any]]:
    """Frame ``i`` as a flat gray of its own, to be told apart after the encoder."""
    return lambda i: np.full((48, 64, 3), 20 + 20 * i, np.uint8)

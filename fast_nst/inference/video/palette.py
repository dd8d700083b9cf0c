"""A frame in at most 256 colors of its own, for GIF."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray

__all__ = ["Palette"]


class Palette:
    """FFmpeg's palette filters, one frame at a time: a palette for all would hold a video in memory."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._count = 0

    def reduce(self, pixels: NDArray[np.uint8]) -> VideoFrame:
        """``(H, W, 4)`` RGBA, each pixel shown or not, as a frame of indices into its own palette."""
        raw = VideoFrame.from_ndarray(pixels, format="rgba")
        raw.pts, raw.time_base = self._count, Fraction(1, 100)
        self._count += 1
        if self._graph is None:
            self._graph = _graph(raw.width, raw.height)
        self._graph.push(raw)
        reduced = self._graph.pull()
        assert isinstance(reduced, VideoFrame)
        return reduced


def _graph(width: int, height: int) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=width, height=height, format=av.VideoFormat("rgba"), time_base=Fraction(1, 100)
    )
    split, writer = graph.add("split"), graph.add("buffersink")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=1")
    use = graph.add("paletteuse", "new=1:dither=sierra2_4a:alpha_threshold=128")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(writer)
    graph.configure()
    return graph

"""GIF blocks: how large the frames say they are, before one of them is decoded."""

from __future__ import annotations

from typing import BinaryIO

__all__ = ["extent"]

_EXTENSION, _IMAGE = 0x21, 0x2C


def extent(stream: BinaryIO) -> tuple[int, int]:
    """Width and height that hold the screen and all frames; Pillow enlarges the screen to what lies outside.

    The data of frames are skipped. A damaged file is looked at as far as its blocks go.
    """
    head = stream.read(13)
    if len(head) < 13:
        return 0, 0
    width, height = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    _skip_colors(stream, head[10])
    while kind := stream.read(1):
        if kind[0] == _EXTENSION:
            stream.read(1)
        elif kind[0] == _IMAGE and len(place := stream.read(9)) == 9:
            left, top, across, down = (int.from_bytes(place[k : k + 2], "little") for k in (0, 2, 4, 6))
            width, height = max(width, left + across), max(height, top + down)
            _skip_colors(stream, place[8])
            stream.read(1)  # the size of codes
        else:
            continue  # the end, or what Pillow skips too
        while size := stream.read(1):
            if not size[0]:
                break
            stream.seek(size[0], 1)
    return width, height


def _skip_colors(stream: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        stream.seek(3 << ((flags & 7) + 1), 1)

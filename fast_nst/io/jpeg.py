"""JPEG markers: how many scans a file asks to decode, and a file that lost its end."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fast_nst.io.image_files import ImageReadError

__all__ = ["check_scans", "recovered"]

# Cameras and encoders write 1 to 20. Each scan passes over the whole picture, even one of two bytes.
_MOST_SCANS = 100
_START_OF_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))  # baseline, extended and progressive; Huffman, arithmetic
_ALONE = frozenset((0x01, 0xD8))  # markers without a length
# Within a scan, FF 00 is a byte of data and D0 to D7 are restarts; every other marker ends it.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def check_scans(data: bytes, name: str | Path, pixels: int, max_pixels: int) -> None:
    """Refuse a file whose scans would take long to decode: about a second per 200 million pixels.

    Raises:
        ImageReadError: more than 100 scans, or more work than 16 scans of the largest picture allowed.
    """
    scans = sum(kind == _START_OF_SCAN for kind, _ in _segments(data))
    if scans > _MOST_SCANS or scans * pixels > 16 * max(max_pixels, pixels):
        raise ImageReadError(
            name, f"{scans} scans of {pixels:,} pixels take too long to decode (limit: {_MOST_SCANS} scans)"
        )


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and contents of each marker segment; the data of scans are left out."""
    at = 2
    while marker := _NEXT_MARKER.search(data, at):
        kind, at = data[marker.end() - 1], marker.end()
        if kind == _END:
            return
        length = 0 if kind in _ALONE else max(2, int.from_bytes(data[at : at + 2], "big"))
        yield kind, data[at + 2 : at + length]
        at += length


def recovered(data: bytes) -> tuple[Image.Image, float | None]:
    """A picture whose file ends early, and the share of its rows that does not depend on what is missing.

    It is decoded with two different continuations; the rows above the first difference are the file's own.

    Returns:
        The image and the share; None if scans are missing, which would have refined every row.
    """
    # Zeros first, as libjpeg itself fills; then bits that decode to other coefficients.
    image, other = (_decoded(data + tail + b"\xff\xd9") for tail in (b"", b"\x5a\xa5\x36\xc9" * 1024))
    same = (np.asarray(image) == np.asarray(other)).reshape(image.height, -1).all(axis=1)
    if same.all():
        return image, 1.0 if _has_every_scan(data) else None
    return image, int(np.argmin(same)) / image.height


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image


def _has_every_scan(data: bytes) -> bool:
    """Whether the scans give each of 64 coefficients of each component to its last bit (T.81, B.2.3, G.1)."""
    wanted, found = set[tuple[int, int]](), set[tuple[int, int]]()
    for kind, body in _segments(data):
        if kind in _FRAMES and len(body) > 5:
            wanted = {(component, k) for component in body[6::3][: body[5]] for k in range(64)}
        elif kind == _START_OF_SCAN and body and len(body) >= 4 + 2 * body[0]:
            components = body[1 : 1 + 2 * body[0] : 2]
            first, last, bits = body[1 + 2 * body[0] :][:3]
            if bits & 15 == 0:
                found |= {(component, k) for component in components for k in range(first, last + 1)}
    return bool(wanted) and wanted <= found

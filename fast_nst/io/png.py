"""PNG chunks: the few that matter for a picture, and a file whose other chunks are damaged or enormous."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import PngImagePlugin

__all__ = ["SIGNATURE", "PngFile", "scan", "share_present"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
# Text, times and the frames of an animation are left out: what they hold is never looked at.
_USED = frozenset((b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"eXIf", b"pHYs"))
_MOST_ANCILLARY = 32 << 20  # bytes of one chunk; profiles are below 4 MB
_PIECE = 1 << 20
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type


class PngFile(NamedTuple):
    """A PNG without the chunks that are damaged or of no use here."""

    data: bytes
    chunks: dict[bytes, bytes]
    """the header and the ancillary chunks that are used, by their names"""
    notes: tuple[str, ...]
    animated: bool


def scan(data: bytes) -> PngFile:
    """Check the chunks; damaged ancillary ones are left out with a note. Decoding checks the others."""
    kept, chunks, notes = [SIGNATURE], dict[bytes, bytes](), list[str]()
    animated = False
    for kind, start, end in _chunks(data):
        if kind in _CRITICAL:
            kept.append(data[start:end])
            if kind == b"IHDR":
                chunks[kind] = data[start + 8 : end - 4]
            continue
        animated |= kind == b"acTL"
        if kind in _USED and (end - start > _MOST_ANCILLARY or _is_bomb(kind, data[start + 8 : end - 4])):
            notes.append(f"its {kind.decode()} chunk is too large and ignored")
        elif zlib.crc32(memoryview(data)[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            notes.append(f"its {kind.decode('latin-1')} chunk is damaged and ignored (wrong checksum)")
        elif kind in _USED:
            kept.append(data[start:end])
            chunks[kind] = data[start + 8 : end - 4]
    return PngFile(b"".join(kept), chunks, tuple(dict.fromkeys(notes)), animated)


def _is_bomb(kind: bytes, body: bytes) -> bool:
    """Whether a color profile is larger than Pillow takes."""
    if kind != b"iCCP":
        return False
    decoder = zlib.decompressobj()
    try:
        decoder.decompress(body.partition(b"\0")[2][1:], PngImagePlugin.MAX_TEXT_CHUNK)
    except zlib.error:  # damaged, which Pillow ignores
        return False
    return not decoder.eof and bool(decoder.unconsumed_tail)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk; the last one may be cut short."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end <= len(data) or kind in _CRITICAL:
            yield kind, at, min(end, len(data))
        if kind == b"IEND":
            return
        at = end


def share_present(data: bytes) -> float | None:
    """Which share of a truncated picture's bytes can be decompressed; None if its header is damaged."""
    idat, header = [], b""
    for kind, start, end in _chunks(data):
        header = data[start + 8 : start + 21] if kind == b"IHDR" else header
        if kind == b"IDAT":
            length = int.from_bytes(data[start : start + 4], "big")
            idat.append(data[start + 8 : min(start + 8 + length, end)])
    if len(header) < 13:
        return None
    width, height, depth, color = (int(value) for value in struct.unpack(">IIBB", header[:10]))
    wanted = height * (1 + (width * depth * _SAMPLES.get(color, 1) + 7) // 8)
    decoder, found, rest = zlib.decompressobj(), 0, b"".join(idat)
    try:
        while rest and found < wanted and not decoder.eof:
            found += len(decoder.decompress(rest, _PIECE))
            rest = decoder.unconsumed_tail
    except zlib.error:  # damaged from here on
        pass
    return min(1.0, found / wanted)

"""What a file says about its colors besides an ICC profile: PNG's gAMA, cHRM and cICP, AVIF's ``colr`` box.

Code points are those of ITU-T H.273: 8.1 for primaries, 8.2 for transfer characteristics. Video decoders
use the same numbers; pictures in HDR are refused as videos in HDR are: no tone mapping happens here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColorTags", "HdrError", "convert", "of_isobmff", "of_png", "profile_is_hdr"]

_WHITE = np.iinfo(np.uint8).max
_ROWS = 256

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue"""

_D65 = (0.3127, 0.3290)
_SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: dict[int, Chromaticities] = {
    1: _SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),  # NTSC 1953
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),  # PAL
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),  # SMPTE 170M
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),  # SMPTE 240M
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # DCI-P3
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
# 2 is "unspecified". The curves of BT.709, 601 and 2020 are shown as sRGB's, as browsers do.
_LIKE_SRGB = frozenset((1, 2, 6, 7, 11, 12, 13, 14, 15))
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_HDR = {16: "PQ", 18: "HLG"}


class HdrError(ValueError):
    """A high dynamic range, or a curve that is not known here."""


@dataclass(frozen=True)
class ColorTags:
    """Colors that differ from sRGB.

    Attributes:
        gamma: the exponent from levels to light; None for sRGB's curve.
        chromaticities: of white and the primaries.
    """

    gamma: float | None = None
    chromaticities: Chromaticities = _SRGB


def _of_code_points(primaries: int, transfer: int) -> ColorTags | None:
    """Colors by H.273's numbers; None if they are sRGB's."""
    if transfer in _HDR:
        raise HdrError(
            f"HDR ({_HDR[transfer]}) pictures would come out pale and gray; convert it to SDR (sRGB) first"
        )
    if transfer not in _LIKE_SRGB and transfer not in _GAMMAS:
        raise HdrError(f"its transfer characteristics {transfer} are not supported; convert it to sRGB first")
    tags = ColorTags(_GAMMAS.get(transfer), _PRIMARIES.get(primaries, _SRGB))
    return None if tags == ColorTags() else tags


def of_png(chunks: Mapping[bytes, bytes]) -> ColorTags | None:
    """What the chunks of a PNG say (third edition, 4.3: cICP goes before iCCP, sRGB, then gAMA and cHRM)."""
    if len(cicp := chunks.get(b"cICP", b"")) == 4:
        return _of_code_points(cicp[0], cicp[1])
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return None
    gamma, chromaticities = None, _SRGB
    if len(found := chunks.get(b"gAMA", b"")) == 4 and (value := int.from_bytes(found, "big")):
        # 0.45455 is how sRGB is written down; what deviates by less than a twentieth was meant to be it.
        gamma = None if abs(value / 45455 - 1) < 0.05 else 100_000 / value
    if len(found := chunks.get(b"cHRM", b"")) == 32:
        stored: Any = tuple(value / 100_000 for value in struct.unpack(">8I", found))
        far = max(abs(a - b) for a, b in zip(stored, _SRGB, strict=True)) > 0.005
        chromaticities = stored if far and _is_usable(stored) else _SRGB
    tags = ColorTags(gamma if gamma is None or 0.1 <= gamma <= 10 else None, chromaticities)
    return None if tags == ColorTags() else tags


def _is_usable(xy: tuple[float, ...]) -> bool:
    """Whether chromaticities are of colors, and the primaries span a triangle."""
    (_, wy, rx, ry, gx, gy, bx, by) = xy
    area = abs((gx - rx) * (by - ry) - (bx - rx) * (gy - ry)) / 2
    return min(wy, ry, gy, by) > 0.001 and max(xy) <= 1 and area > 0.01


def of_isobmff(data: bytes) -> ColorTags | None:
    """What the ``colr`` box of the main picture of an AVIF or HEIC says (ISO/IEC 14496-12, 12.1.5)."""
    for box in _main_properties(data):
        if box[:8] == b"colrnclx" and len(box) >= 14:
            primaries, transfer = struct.unpack(">HH", box[8:12])
            return _of_code_points(primaries, transfer)
    return None


def _main_properties(data: bytes) -> Iterator[bytes]:
    """The property boxes of the primary item, from their names on; of a sequence, those of its tracks."""
    for kind, body in _boxes(data):
        if kind == b"moov":
            at = -1
            while (at := body.find(b"colrnclx", at + 1)) >= 0:
                yield body[at : at + 16]
    meta = next((body[4:] for kind, body in _boxes(data) if kind == b"meta"), b"")
    boxes = dict(_boxes(meta))
    item, parts = boxes.get(b"pitm", b""), dict(_boxes(boxes.get(b"iprp", b"")))
    primary = int.from_bytes(item[4 : 6 if item[:1] == b"\0" else 8], "big")
    properties = [kind + body for kind, body in _boxes(parts.get(b"ipco", b""))]
    for number in _associated(parts.get(b"ipma", b""), primary):
        if 0 < number <= len(properties):
            yield properties[number - 1]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= len(data):
            size, start = struct.unpack_from(">Q", data, at + 8)[0], at + 16
        end = at + size if size else len(data)
        if end < start:
            return
        yield kind, data[start:end]
        at = end


def _associated(ipma: bytes, item: int) -> Iterator[int]:
    """Numbers, from 1, of an item's properties (ISO/IEC 23008-12, 9.3)."""
    if len(ipma) < 8:
        return
    id_size, size = (2 if ipma[0] == 0 else 4), (2 if ipma[3] & 1 else 1)
    at = 8
    for _ in range(int.from_bytes(ipma[4:8], "big")):
        if at + id_size >= len(ipma):
            return
        owner, count = int.from_bytes(ipma[at : at + id_size], "big"), ipma[at + id_size]
        at += id_size + 1
        if owner == item:
            for k in range(count):
                number = int.from_bytes(ipma[at + k * size : at + (k + 1) * size], "big")
                yield number & (0x7FFF if size == 2 else 0x7F)  # the first bit says whether it is essential
        at += count * size


def profile_is_hdr(icc: bytes) -> bool:
    """Whether an ICC profile is for PQ or HLG: by its ``cicp`` tag (ICC.1:2022, 9.2.17)."""
    if len(icc) < 132:
        return False
    for k in range(min(100, int.from_bytes(icc[128:132], "big"))):
        name, at, _ = struct.unpack(">4sII", icc[132 + 12 * k : 144 + 12 * k].ljust(12, b"\0"))
        if name == b"cicp" and icc[at : at + 4] == b"cicp" and len(icc) > at + 9:
            return icc[at + 9] in _HDR
    return False


def convert(levels: NDArray[np.uint8], tags: ColorTags) -> NDArray[np.uint8]:
    """``(H, W, 3)`` levels as sRGB levels, a band of rows at a time; colors outside sRGB are clipped."""
    signal = np.linspace(0, 1, _WHITE + 1)
    light = signal**tags.gamma if tags.gamma else _srgb_to_light(signal)
    if tags.chromaticities == _SRGB:
        table: NDArray[np.uint8] = np.rint(_WHITE * _light_to_srgb(light)).astype(np.uint8)
        return np.take(table, levels)
    matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _adaptation(tags.chromaticities) @ _to_xyz(tags.chromaticities)
    converted = np.empty_like(levels)
    for top in range(0, len(levels), _ROWS):
        rows = light.astype(np.float32)[levels[top : top + _ROWS]] @ matrix.T.astype(np.float32)
        converted[top : top + _ROWS] = np.rint(_WHITE * _light_to_srgb(rows.clip(0, 1)))
    return converted


def _srgb_to_light(signal: NDArray[np.floating]) -> NDArray[np.floating]:
    """IEC 61966-2-1."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _light_to_srgb(light: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _white_xyz(xy: Chromaticities) -> NDArray[np.float64]:
    return np.array([xy[0] / xy[1], 1, (1 - xy[0] - xy[1]) / xy[1]])


def _to_xyz(xy: Chromaticities) -> NDArray[np.float64]:
    """The matrix from linear RGB to XYZ."""
    x, y = np.array(xy[2::2]), np.array(xy[3::2])
    primaries = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    return np.asarray(primaries * np.linalg.solve(primaries, _white_xyz(xy)))


def _adaptation(xy: Chromaticities) -> NDArray[np.float64]:
    """From one white to D65 (Bradford; ICC.1:2022, annex E)."""
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    scale = (cones @ _white_xyz(_SRGB)) / (cones @ _white_xyz(xy))
    return np.asarray(np.linalg.inv(cones) @ np.diag(scale) @ cones)

"""Pictures compared with what is known to be in them, over the layouts of TIFF that tifffile can write."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fast_nst.io.animations import read_animation
from fast_nst.io.images import (
    MAX_LEVEL,
    ImageReadError,
    Metadata,
    Picture,
    fill_hidden,
    fit,
    read_picture,
    write_picture,
)

AWKWARD = Path(__file__).parents[3] / "shared/data/awkward"
LAYOUTS = [
    ("miniswhite", 1, None),
    ("minisblack", 1, None),
    ("minisblack", 2, "unassalpha"),
    ("rgb", 3, None),
    ("rgb", 4, "unassalpha"),
    ("rgb", 4, "assocalpha"),
    ("rgb", 4, "unspecified"),
    ("separated", 4, None),
    ("separated", 5, "unassalpha"),
]
SAMPLES = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]
STORAGE = list(
    itertools.product(
        ["contig", "separate"],
        [None, "zlib", "lzw", "packbits", "zstd"],
        "<>",
        [None, (16, 16)],
        [False, True],
    )
)


def awkward(name: str) -> Path:
    path = AWKWARD / name
    if not path.exists():
        pytest.skip(f"needs {name} of a ../shared folder")
    return path


def ramps(channels: int, height: int = 24, width: int = 32) -> NDArray[Any]:
    """``(H, W, channels)`` in [0, 1], each channel another gradient over its whole range."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([x, y, (x + y) / 2, 1 - 0.7 * x, 0.3 + 0.5 * y][:channels], axis=-1)


def stored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    kind = np.dtype(dtype)
    return values.astype(kind) if kind.kind == "f" else np.rint(values * np.iinfo(kind).max).astype(kind)


def seen(values: NDArray[Any], photometric: str, extra: str | None) -> NDArray[Any]:
    """The levels that samples in [0, 1] stand for."""
    gray = np.repeat(values[..., :1], 3, axis=-1)
    if photometric == "separated":
        return MAX_LEVEL * (1 - values[..., :3]) * (1 - values[..., 3:4])
    color = {"miniswhite": 1 - gray, "minisblack": gray}.get(photometric, values[..., :3])
    return MAX_LEVEL * (color / values[..., 3:] if extra == "assocalpha" else color)


@pytest.mark.parametrize("dtype", SAMPLES)
@pytest.mark.parametrize(("photometric", "channels", "extra"), LAYOUTS)
def test_a_tiff_is_read_within_rounding_or_refused_by_name(
    photometric: str, channels: int, extra: str | None, dtype: str
) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    values = ramps(channels)
    if extra == "assocalpha":
        values[..., :3] *= values[..., 3:]
    samples = stored(values, dtype)
    for planar, compression, order, tile, predictor in STORAGE:
        if (predictor and compression in (None, "packbits")) or (channels == 1 and planar == "separate"):
            continue
        buffer, layers = io.BytesIO(), np.moveaxis(samples, -1, 0) if planar == "separate" else samples
        options = {"planarconfig": planar, "extrasamples": [extra] if extra else None}
        try:
            tifffile.imwrite(
                buffer,
                samples[..., 0] if channels == 1 else layers,
                photometric=photometric,
                compression=compression,
                byteorder=order,
                tile=tile,
                predictor=predictor,
                metadata=None,
                **(options if channels > 1 else {}),
            )
        except (ValueError, TypeError, KeyError, NotImplementedError):
            continue  # not a file that exists
        try:
            picture = read_picture(buffer.getvalue())
        except ImageReadError as error:
            assert "is not supported" in error.reason
            continue
        visible = np.ones((24, 32), bool) if picture.alpha is None else picture.alpha > 40
        apart = np.abs(picture.rgb - seen(values, photometric, extra))[visible].max()
        assert apart <= (8 if extra == "assocalpha" else 1.6), (planar, compression, order, tile, predictor)


def test_white_is_zero_and_planes_and_unsigned_integers_are_read_rightly() -> None:
    tifffile = pytest.importorskip("tifffile")
    white = tifffile.imread(awkward("miniswhite16.tif"))
    np.testing.assert_array_equal(
        read_picture(awkward("miniswhite16.tif")).rgb[..., 0], np.rint(MAX_LEVEL - white / 257)
    )
    planes = np.moveaxis(tifffile.imread(awkward("rgb16-planar.tif")), 0, -1)
    assert np.abs(read_picture(awkward("rgb16-planar.tif")).rgb - planes / 257).max() <= 1
    gray = tifffile.imread(awkward("grey-u32.tif")) / (2**32 - 1)
    assert np.abs(read_picture(awkward("grey-u32.tif")).rgb[..., 0] - MAX_LEVEL * gray).max() <= 0.5


@pytest.mark.parametrize(("name", "reason"), [("camera.dng", "camera's raw file"), ("hdr-pq.avif", "HDR")])
def test_what_cannot_be_shown_rightly_is_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(ImageReadError, match=reason):
        read_picture(awkward(name))


def test_a_frame_outside_the_screen_counts_towards_the_limit() -> None:
    with pytest.raises(ImageReadError, match="400,000,000 pixels are over the limit"):
        read_animation(awkward("gif-frame-outside.gif"))


def test_hidden_colors_of_a_photograph_change_nothing() -> None:
    black, white = (read_picture(awkward(f"cut_{color}.png")) for color in ("black", "white"))
    for first, second in ((black, white), (fit(black, 100), fit(white, 100))):
        np.testing.assert_array_equal(first.rgb, second.rgb)
        np.testing.assert_array_equal(first.alpha, second.alpha)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 1), (64, 64), (301, 517)])
def test_colors_do_not_depend_on_what_nobody_sees(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    alpha = rng.choice(np.array([0, 0, 0, 3, 200, 255], np.uint8), size)
    rgb, other = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    other = np.where(alpha[..., None] > 0, rgb, other)
    filled = fill_hidden(rgb, alpha)
    np.testing.assert_array_equal(filled, fill_hidden(other, alpha))
    np.testing.assert_array_equal(filled[alpha >= 16], rgb[alpha >= 16])


def test_hidden_colors_become_those_around_them() -> None:
    rgb, alpha = np.zeros((300, 40, 3), np.uint8), np.zeros((300, 40), np.uint8)
    rgb[:3], alpha[:3] = (10, 200, 90), MAX_LEVEL
    assert (fill_hidden(rgb, alpha) == (10, 200, 90)).all()
    assert (fill_hidden(rgb, np.zeros_like(alpha)) == MAX_LEVEL).all()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(chunks: bytes, rgb: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()[:33] + chunks + buffer.getvalue()[33:]


GRAYS = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)


@pytest.mark.parametrize(
    ("chunks", "note"),
    [
        (chunk(b"tEXt", b"a\0b")[:-1] + b"!", "its tEXt chunk is damaged"),
        (chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 << 20))), None),
        (chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(80 << 20))), "its iCCP chunk is too large"),
        (chunk(b"gAMA", struct.pack(">I", 45455)), None),
    ],
)
def test_a_chunk_that_is_damaged_or_enormous_does_not_cost_the_picture(chunks: Any, note: str | None) -> None:
    picture = read_picture(png_with(chunks, GRAYS))
    np.testing.assert_array_equal(picture.rgb, GRAYS)
    assert [note in found for found in picture.notes] == ([True] if note else [])


def test_linear_png_becomes_srgb() -> None:
    picture = read_picture(png_with(chunk(b"gAMA", struct.pack(">I", 100_000)), GRAYS))
    assert picture.rgb[GRAYS == 55].max() == 128 and picture.rgb.max() == MAX_LEVEL


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_png_is_refused(transfer: int, name: str) -> None:
    with pytest.raises(ImageReadError, match=rf"HDR \({name}\)"):
        read_picture(png_with(chunk(b"cICP", bytes((9, transfer, 0, 1))), GRAYS))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_marker_is_read_with_a_note(progressive: bool) -> None:
    buffer = io.BytesIO()
    Image.fromarray(GRAYS.repeat(4, 0).repeat(4, 1)).save(buffer, "JPEG", progressive=progressive)
    whole = read_picture(buffer.getvalue())
    cut = read_picture(buffer.getvalue()[:-2])
    np.testing.assert_array_equal(cut.rgb, whole.rgb)
    assert not whole.notes and "end marker is missing" in cut.notes[0]


def test_scans_and_numbers_as_text_are_bounded() -> None:
    buffer = io.BytesIO()
    Image.fromarray(GRAYS).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageReadError, match="scans of 256 pixels take too long"):
        read_picture(data[:-2] + 200 * last + data[-2:])
    with pytest.raises(ImageReadError, match="12,000,000 numbers as text take too long"):
        read_picture(b"P3 2000 2000 255 0 0 0")


@pytest.mark.parametrize("format", ["jpg", "png", "webp", "tiff", "avif"])
def test_artist_copyright_and_resolution_are_carried_and_nothing_else(format: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist], exif[ExifTags.Base.Copyright] = "José".encode(), b"(c) A\0B"
    exif[ExifTags.Base.Make] = "Camera"
    buffer = io.BytesIO()
    Image.fromarray(GRAYS).save(buffer, "JPEG", exif=exif, dpi=(300, 300))
    found = read_picture(buffer.getvalue())
    assert found.metadata == Metadata("José", "(c) A; B", (300, 300))
    target = io.BytesIO()
    write_picture(target, Picture(found.rgb, metadata=found.metadata), format=format)
    assert b"Camera" not in target.getvalue()
    again = read_picture(target.getvalue()).metadata
    assert (again.artist, again.copyright) == ("José", "(c) A; B")
    assert again.dpi == pytest.approx((300, 300), abs=0.1)

"""The pixel boundary. Every file is made here, by Pillow or byte by byte; no pixel passes through a mock."""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
import socket
import stat
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile

from fast_nst.errors import InputError
from fast_nst.io.images import (
    ImageReadError,
    ImageWriteError,
    Picture,
    find_pictures,
    fit,
    from_uint8,
    keeps_alpha,
    load_image,
    over_white,
    read_picture,
    save_image,
    to_uint8,
    write_picture,
)


def smooth(height: int = 40, width: int = 60) -> NDArray[Any]:
    """A soft, lopsided picture: no two corners alike, and lossy codecs change it little."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [40 + 180 * x / width, 30 + 150 * y / height, 220 - 90 * x / width - 90 * y / height]
    return np.stack(planes, axis=-1).astype(np.uint8)


def noise(*shape: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(width: int, height: int, *, depth: int = 8, color: int = 0, rows: bytes = b"") -> bytes:
    """A PNG written by hand: a header may claim any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def assert_close(found: NDArray[Any], expected: NDArray[Any], levels: float = 2) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).mean() <= levels


def fault(data: bytes) -> str:
    with pytest.raises(ImageReadError) as caught:
        read_picture(data)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_every_grey_level_survives_a_round_trip() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(to_uint8(from_uint8(levels)), levels)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_black_and_white_are_exact_in_every_precision(dtype: torch.dtype) -> None:
    image = torch.tensor([0.0, 1.0, 1.0], dtype=dtype).view(3, 1, 1)
    assert to_uint8(image).ravel().tolist() == [0, 255, 255]


def test_overshoot_is_clipped_not_wrapped() -> None:
    image = torch.tensor([-0.5, 0.5, 1.5]).view(3, 1, 1)
    assert to_uint8(image).ravel().tolist() == [0, 128, 255]
    assert to_uint8(torch.tensor([-torch.inf, 0.0, torch.inf]).view(3, 1, 1)).ravel().tolist() == [0, 0, 255]


@given(st.floats(0, 1, width=32))
def test_values_are_rounded_to_the_nearest_level(value: float) -> None:
    level = int(to_uint8(torch.full((3, 1, 1), value))[0, 0, 0])
    assert abs(level - 255 * value) <= 0.5 + 1e-4


def test_colors_keep_their_order_and_places() -> None:
    rgb = noise(5, 7, 3)
    image = from_uint8(rgb)
    assert image.shape == (3, 5, 7) and image.dtype == torch.float32 and image.is_contiguous()
    assert image[2, 4, 6].item() == pytest.approx(rgb[4, 6, 2] / 255)


def test_neither_direction_changes_its_argument() -> None:
    rgb = noise(4, 4, 3)
    rgb.flags.writeable = False
    image = from_uint8(rgb[:, :, ::-1])
    before = image.clone()
    to_uint8(image)
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (torch.zeros(1, 3, 4, 4), r"\(1, 3, 4, 4\)"),
        (torch.zeros(4, 4, 3), r"\(4, 4, 3\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "torch.uint8"),
        (torch.full((3, 2, 2), torch.nan), "NaN"),
    ],
)
def test_what_is_no_image_has_no_pixels(image: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        to_uint8(image)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_only_uint8_rgb_becomes_a_tensor(array: Any) -> None:
    with pytest.raises(ValueError, match="expected uint8 of shape"):
        from_uint8(array)


@given(st.integers(0, 255), st.integers(0, 255))
def test_over_white_rounds_to_the_nearest_level(color: int, alpha: int) -> None:
    picture = Picture(np.full((1, 1, 3), color, np.uint8), np.full((1, 1), alpha, np.uint8))
    exact = color * alpha / 255 + 255 - alpha
    assert over_white(picture)[0, 0].tolist() == [round(exact)] * 3


def test_alpha_must_be_as_large_as_the_picture() -> None:
    with pytest.raises(ValueError, match=r"alpha of shape \(2, 3\)"):
        Picture(noise(2, 3, 3), noise(3, 2))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 120))
def test_fit_sets_one_side_and_keeps_the_aspect(height: int, width: int, size: int) -> None:
    picture = Picture(np.zeros((height, width, 3), np.uint8))
    longer, shorter = fit(picture, size), fit(picture, shorter_side=size)
    assert max(longer.height, longer.width) == size and min(shorter.height, shorter.width) == size
    scale = size / max(height, width)
    assert abs(longer.height - height * scale) <= 0.5 or longer.height == 1
    assert abs(longer.width - width * scale) <= 0.5 or longer.width == 1


def test_fit_without_work_returns_the_same_object() -> None:
    picture = Picture(noise(30, 20, 3), noise(30, 20))
    assert fit(picture) is fit(picture, 30) is fit(picture, shorter_side=20) is picture


def test_fit_averages_fine_detail_instead_of_picking_pixels() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert_close(fit(Picture(stripes), 16).rgb, np.full((16, 16, 3), 128), levels=3)


def test_hidden_colors_do_not_bleed_when_resized() -> None:
    rgb, alpha = np.full((32, 32, 3), 200, np.uint8), np.zeros((32, 32), np.uint8)
    rgb[:, 16:], alpha[:, :16] = 0, 255  # black where nothing shows
    small = fit(Picture(rgb, alpha), 8)
    assert (
        small.rgb[small.alpha > 8].min() >= 190
    )  # black would pull it to 150; 8 bits at low alpha are coarse


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_of_no_pixels_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"cannot be {size} pixels"):
        fit(Picture(noise(2, 2, 3)), size)


def test_two_sizes_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        fit(Picture(noise(2, 2, 3)), 1, shorter_side=1)


_CODECS = [("JPEG", {"quality": 95, "subsampling": 0}), ("PNG", {}), ("WEBP", {"quality": 95}), ("TIFF", {})]
_CODECS += [("BMP", {}), ("PPM", {}), ("AVIF", {"quality": 95}), ("JPEG2000", {}), ("MPO", {"quality": 95})]


@pytest.mark.parametrize(("format", "options"), _CODECS, ids=[name for name, _ in _CODECS])
def test_each_format_gives_the_picture_back(format: str, options: dict[str, Any]) -> None:
    picture = read_picture(encoded(Image.fromarray(smooth()), format, **options))
    assert_close(picture.rgb, smooth())
    assert picture.alpha is None and (picture.height, picture.width) == (40, 60)


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "stream", "pipe"])
def test_a_picture_comes_from_a_path_bytes_or_a_stream(kind: str, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(smooth()), "PNG")
    path = tmp_path / "größe 🎨.png"
    path.write_bytes(data)
    if kind == "pipe":
        with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as process:
            found = read_picture(process.stdout)
    else:
        sources = {"path": path, "str": str(path), "bytes": data, "stream": io.BytesIO(data)}
        found = read_picture(sources[kind])
    np.testing.assert_array_equal(found.rgb, smooth())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(format: str, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transpositions that lead to what the camera stored
    image = Image.fromarray(smooth())
    stored = image.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else image
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = read_picture(encoded(stored, format, exif=exif))
    assert_close(picture.rgb, smooth(), levels=4)


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = encoded(Image.fromarray(smooth()), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    np.testing.assert_array_equal(read_picture(data).rgb, smooth())


def test_16_bit_grey_keeps_its_brightness() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (30, 20), dtype=np.uint16)
    by_hand = png(20, 30, depth=16, rows=b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels))
    for data in (by_hand, encoded(Image.fromarray(levels), "TIFF"), encoded(Image.fromarray(levels), "PPM")):
        np.testing.assert_array_equal(read_picture(data).rgb[..., 1], np.rint(levels / 257))


def test_a_dark_16_bit_pgm_stays_dark() -> None:
    data = b"P5 2 1 65535 " + np.array([0, 200], dtype=">u2").tobytes()
    assert read_picture(data).rgb[..., 0].tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([-0.1, 0.5, 1.2], [0, 128, 255]),  # overshoot of sharpening
        ([0.0, 100.0, 200.0], [0, 100, 200]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([-100.0, 0.0, 100.0], [0, 128, 255]),
        ([np.nan, 0.5, np.inf], [0, 128, 255]),
        ([np.nan, np.nan, -np.inf], [0, 0, 0]),
        ([-7.0, -7.0, -7.0], [0, 0, 0]),
        ([3e38, 3e38, 3e38], [0, 0, 0]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
    ],
)
def test_float_grey_finds_its_white(values: list[Any], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert read_picture(data).rgb[0, :, 0].tolist() == expected


def test_a_signalling_nan_is_black_and_silent() -> None:
    values = np.array([[0x7FA00000, 0x3F800000]], np.uint32).view(np.float32)  # and 1.0
    assert read_picture(encoded(Image.fromarray(values), "TIFF")).rgb[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 255], [0, 1, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([-5, 0, 5], [0, 128, 255]),
        ([0, 1 << 30, (1 << 31) - 1], [0, 128, 255]),
    ],
)
def test_32_bit_grey_finds_its_white(values: list[int], expected: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], np.int32)), "TIFF")
    assert read_picture(data).rgb[0, :, 0].tolist() == expected


def test_one_bit_and_grey_become_rgb() -> None:
    gray = Image.fromarray(noise(9, 9))
    np.testing.assert_array_equal(read_picture(encoded(gray, "PNG")).rgb, np.dstack([gray, gray, gray]))
    bits = read_picture(encoded(gray.convert("1"), "PNG"))
    assert set(np.unique(bits.rgb)) == {0, 255} and bits.alpha is None


def test_palettes_become_colors_with_and_without_transparency() -> None:
    image = Image.fromarray(smooth()).quantize(16)
    plain = read_picture(encoded(image, "PNG"))
    assert plain.alpha is None
    assert_close(plain.rgb, smooth(), levels=20)
    keyed = read_picture(encoded(image, "PNG", transparency=bytes([0, 128] + [255] * 14)))
    indices = np.asarray(image)
    np.testing.assert_array_equal(keyed.rgb[indices > 0], plain.rgb[indices > 0])
    np.testing.assert_array_equal(keyed.alpha, np.choose(np.minimum(indices, 2), [0, 128, 255]))
    gif = read_picture(encoded(image, "GIF", transparency=3))
    np.testing.assert_array_equal(gif.alpha == 0, indices == 3)


def test_grey_with_alpha_and_grey_with_a_key_keep_their_alpha() -> None:
    la = Image.merge("LA", [Image.fromarray(noise(8, 9, seed=seed)) for seed in (1, 2)])
    picture = read_picture(encoded(la, "PNG"))
    seen = noise(8, 9, seed=2) >= 16
    np.testing.assert_array_equal(picture.rgb[seen, 0], noise(8, 9, seed=1)[seen])
    np.testing.assert_array_equal(picture.alpha, noise(8, 9, seed=2))
    keyed = read_picture(encoded(Image.fromarray(noise(8, 9, seed=1)), "PNG", transparency=7))
    np.testing.assert_array_equal(keyed.alpha == 0, noise(8, 9, seed=1) == 7)


def test_premultiplied_tiff_is_divided_by_its_alpha() -> None:
    multiplied = np.dstack([smooth() // 2, np.full((40, 60), 128, np.uint8)])
    data = encoded(Image.fromarray(multiplied), "TIFF")
    separate, associated = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))  # ExtraSamples
    assert separate in data
    picture = read_picture(data.replace(separate, associated))
    assert_close(picture.rgb, smooth())
    assert (picture.alpha == 128).all()


def test_an_opaque_alpha_is_still_an_alpha() -> None:
    assert (read_picture(encoded(Image.fromarray(smooth()).convert("RGBA"), "PNG")).alpha == 255).all()


def test_cmyk_is_not_inverted() -> None:
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    for data in (encoded(cmyk, "JPEG", quality=95, subsampling=0), encoded(cmyk, "TIFF")):
        assert_close(read_picture(data).rgb, np.asarray(cmyk.convert("RGB")))


def test_lab_becomes_srgb() -> None:
    srgb, lab_ = (ImageCms.ImageCmsProfile(ImageCms.createProfile(space)) for space in ("sRGB", "LAB"))
    lab = ImageCms.profileToProfile(Image.fromarray(smooth()), srgb, lab_, outputMode="LAB")
    assert_close(read_picture(encoded(lab, "TIFF")).rgb, smooth())


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(format: str) -> None:
    first, second = Image.fromarray(smooth()), Image.new("RGB", (60, 40), "red")
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(first, format, save_all=True, append_images=[second, second], **options)
    assert_close(read_picture(data).rgb, smooth(), levels=12 if format == "GIF" else 0)


def swapped_profile() -> bytes:
    """sRGB with the red and the blue primary exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_color_profile_is_converted_to_srgb(alpha: bool) -> None:
    rgb = smooth()
    image = Image.fromarray(np.dstack([rgb, noise(40, 60)]) if alpha else rgb)
    picture = read_picture(encoded(image, "PNG", icc_profile=swapped_profile()))
    assert_close(picture.rgb, rgb[:, :, ::-1], levels=1)
    assert not alpha or (picture.alpha == noise(40, 60)).all()


def test_an_srgb_profile_changes_no_pixel() -> None:
    rgb = noise(64, 64, 3)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(Image.fromarray(rgb), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(read_picture(data).rgb, rgb)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
@pytest.mark.parametrize("profile", [b"garbage", swapped_profile()[:300]], ids=["garbage", "cut"])
def test_a_broken_profile_is_ignored_and_logged_once(
    mode: str, profile: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = Image.fromarray(smooth()).convert(mode)
    path = tmp_path / "broken.tif"
    image.save(path, icc_profile=profile)
    with caplog.at_level(logging.WARNING, "fast_nst"):
        for _ in range(2):
            assert_close(read_picture(path).rgb, np.asarray(image.convert("RGB")), levels=0)
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]


def test_a_profile_for_other_colors_is_ignored() -> None:
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    data = encoded(cmyk, "TIFF", icc_profile=swapped_profile())
    assert_close(read_picture(data).rgb, np.asarray(cmyk.convert("RGB")), levels=0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"just some words, no picture", "the file holds text"),
        (b"\n <!DOCTYPE html><html>404</html>", "starts like HTML"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"%PDF-1.7", "export it as PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "export it as PNG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(30), "HEIC|damaged"),
        (b"\xff\xd8\xff", "header is damaged or cut off; readable are JPEG, PNG"),
        (bytes(range(256)), "not a picture"),
        (bytes(18) + b"TRUEVISION-XFILE.\0", "not a picture"),  # TGA is on no list
    ],
)
def test_the_reason_says_what_the_file_is_instead(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match=reason) as caught:
        read_picture(path)
    assert caught.value.path == path and str(caught.value).startswith(f"{path}: ")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    folder, fifo, loop = tmp_path / "d.jpg", tmp_path / "fifo.jpg", tmp_path / "loop.jpg"
    folder.mkdir()
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    started = time.perf_counter()
    for path, reason in [
        (folder, "is a folder"),
        (fifo, "pipe"),
        (Path("/dev/zero"), "device"),
        (tmp_path / "s", "socket"),
        (tmp_path / "none.jpg", "no such file"),
        (folder / "none.jpg" / "x", "no such file"),
        (loop, "symbolic links"),
        (tmp_path / ("x" * 300), "name too long"),
    ]:
        with pytest.raises(ImageReadError, match=rf"(?i){reason}"):
            read_picture(path)
    server.close()
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"])
def test_a_truncated_picture_is_refused_wherever_it_is_cut(format: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(noise(24, 24, 3)), format, **options)
    for cut in {*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}:
        assert fault(data[:cut])


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_picture_that_lost_only_its_end_mark_is_whole_or_refused(format: str) -> None:
    data = encoded(Image.fromarray(noise(24, 24, 3)), format)
    whole = read_picture(data).rgb
    for cut in {*range(0, len(data), max(1, len(data) // 100)), *range(len(data) - 16, len(data))}:
        try:
            found = read_picture(data[:cut]).rgb
        except ImageReadError:
            continue
        np.testing.assert_array_equal(found, whole)


def test_truncation_is_called_by_its_name() -> None:
    data = encoded(Image.fromarray(noise(64, 64, 3)), "JPEG")
    assert re.fullmatch(
        r"the file ends early or is damaged \(truncated\); [1-4]\d % of the picture is there",
        fault(data[: len(data) // 2]),
    )


def test_a_switch_that_fills_truncated_files_with_grey_does_not_reach_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(Image.fromarray(noise(64, 64, 3)), "JPEG")
    assert "truncated" in fault(data[: len(data) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_bomb_is_refused_by_its_header() -> None:
    started = time.perf_counter()
    words = (
        r"12000 x 10000 = 120,000,000 pixels .* limit of 40,000,000; --max-pixels 120000000 would allow it"
    )
    with pytest.raises(ImageReadError, match=words):
        read_picture(png(12_000, 10_000), max_pixels=40_000_000)
    assert "over the limit of 110,000,000" in fault(png(30_000, 30_000))
    assert "over the limit" in fault(png(2**31 - 1, 2**31 - 1))
    assert time.perf_counter() - started < 0.5


def test_the_limit_itself_is_allowed_and_nothing_above() -> None:
    data = encoded(Image.fromarray(smooth()), "PNG")
    assert read_picture(data, max_pixels=2400).width == 60
    with pytest.raises(ImageReadError, match="over the limit"):
        read_picture(data, max_pixels=2399)


def test_pillow_neither_warns_nor_refuses_below_our_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # warns above 100, refuses above 200
    assert read_picture(encoded(Image.fromarray(smooth()), "WEBP")).width == 60
    assert Image.MAX_IMAGE_PIXELS == 100


def test_threads_read_together_and_leave_pillow_as_it_was(
    recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1300)  # 2400 pixels would warn
    data = [encoded(Image.fromarray(smooth()), format) for format in ("PNG", "BMP", "GIF", "WEBP")]
    data.append(data[0][:200])

    def read(k: int) -> bool:
        try:
            return read_picture(data[k % 5]).width == 60
        except ImageReadError:
            return k % 5 == 4

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(200)))
    assert Image.MAX_IMAGE_PIXELS == 1300 and not recwarn.list


def test_mutated_files_raise_only_read_errors() -> None:
    rng, outcomes = np.random.default_rng(0), {"read": 0, "refused": 0}
    image = Image.fromarray(noise(20, 20, 3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    profile = swapped_profile()
    seeds = [encoded(image, name, **options) for name, options in _CODECS]
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        seeds.append(encoded(image, name, exif=exif, icc_profile=profile))
    seeds += [encoded(image, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "packbits")]
    seeds += [encoded(image.quantize(8), "GIF", transparency=2), encoded(image.convert("CMYK"), "JPEG")]
    seeds += [encoded(Image.fromarray(noise(20, 20).astype(np.float32)), "TIFF")]
    for seed in seeds:
        for _ in range(30):
            data = bytearray(seed)
            for _ in range(rng.integers(1, 8)):
                place = rng.integers(0, min(len(data), 400) if rng.random() < 0.7 else len(data))
                data[place] = rng.integers(0, 256)
            if rng.random() < 0.3:
                cut = rng.integers(0, len(data))
                del data[cut : cut + rng.integers(1, 50)]
            try:
                picture = read_picture(bytes(data), max_pixels=1_000_000)
                assert picture.rgb.dtype == np.uint8 and picture.rgb.shape[2] == 3
                outcomes["read"] += 1
            except ImageReadError as error:
                assert "\n" not in str(error)
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50, outcomes


def test_an_error_is_one_line_and_crosses_process_borders(tmp_path: Path) -> None:
    error = ImageReadError(tmp_path / "a\nb\x1b[31m\udcff.jpg", "bad\nluck")
    assert str(error).isprintable() and isinstance(error, InputError)
    again = pickle.loads(pickle.dumps(ImageWriteError("a.png", "full")))
    assert (str(again), again.path, again.reason) == ("a.png: full", "a.png", "full")


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "png", "webp", "tif", "tiff", "avif", "bmp", "ppm"])
def test_what_is_written_is_read_back(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{ending}"
    save_image(path, from_uint8(smooth()))
    assert_close(read_picture(path).rgb, smooth())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("ending", "quality"), [("png", 95), ("tif", 95), ("webp", 100)])
def test_colors_and_alpha_are_bit_exact_where_they_are_seen_and_nothing_is_lossy(
    ending: str, quality: int, tmp_path: Path
) -> None:
    rgb, alpha = noise(30, 50, 3), noise(30, 50, seed=1)
    path = tmp_path / f"out.{ending}"
    save_image(path, rgb, alpha=alpha, quality=quality)
    picture, seen = read_picture(path), alpha >= 16
    np.testing.assert_array_equal(picture.rgb[seen], rgb[seen])
    np.testing.assert_array_equal(picture.alpha, alpha)


def test_alpha_of_a_lossy_webp_is_exact_and_of_an_avif_close(tmp_path: Path) -> None:
    alpha = smooth()[..., 0]
    for ending, levels in (("webp", 0), ("avif", 2)):
        save_image(tmp_path / f"out.{ending}", smooth(), alpha=alpha)
        assert_close(read_picture(tmp_path / f"out.{ending}").alpha, alpha, levels)


@pytest.mark.parametrize("ending", ["jpg", "bmp", "ppm"])
def test_without_alpha_the_picture_lies_on_white(ending: str, tmp_path: Path) -> None:
    assert not keeps_alpha(f"out.{ending}") and not keeps_alpha(ending) and keeps_alpha(Path("a.b/out.WebP"))
    path = tmp_path / f"out.{ending}"
    save_image(path, np.zeros((16, 16, 3), np.uint8), alpha=np.full((16, 16), 55, np.uint8))
    assert_close(read_picture(path).rgb, np.full((16, 16, 3), 200), levels=1)
    assert read_picture(path).alpha is None


def test_jpeg_keeps_full_color_resolution_at_quality_95(tmp_path: Path) -> None:
    save_image(tmp_path / "out.jpg", smooth())
    with Image.open(tmp_path / "out.jpg") as image:
        assert all(component[1:3] == (1, 1) for component in image.layer)
        assert max(image.quantization[0]) <= 12


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
def test_files_carry_an_srgb_profile_and_the_same_bytes_every_time(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{ending}"
    save_image(path, smooth())
    first = path.read_bytes()
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        assert image.info["icc_profile"][24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    save_image(path, smooth())
    assert path.read_bytes() == first


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
def test_the_place_a_photo_was_taken_at_does_not_leave_with_it(ending: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "SecretCamera"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    source = tmp_path / f"in.{ending}"
    Image.fromarray(smooth()).save(source, exif=exif)
    assert b"SecretCamera" in source.read_bytes()
    write_picture(tmp_path / f"out.{ending}", read_picture(source))
    assert b"SecretCamera" not in (tmp_path / f"out.{ending}").read_bytes()
    with Image.open(tmp_path / f"out.{ending}") as image:
        assert not image.getexif().get_ifd(ExifTags.IFD.GPSInfo)


@pytest.mark.parametrize("format", ["png", ".TIFF", "jpg", "avif"])
def test_a_stream_needs_a_format_and_no_seeking(format: str) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, ThreadPoolExecutor(1) as pool:
        found = pool.submit(reader.read)
        with os.fdopen(write, "wb") as writer:
            write_picture(writer, Picture(smooth()), format=format)
        assert_close(read_picture(found.result()).rgb, smooth())
    with pytest.raises(ImageWriteError, match="no ending; known endings"):
        write_picture(io.BytesIO(), Picture(smooth()))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out.xyz", r"cannot write '.xyz'; known endings are .jpg .jpeg .png"),
        ("out", "the name has no ending"),
        ("none/out.png", r"the folder .*none does not exist; create it first"),
        ("folder.png", r"is a folder; name a file in it, such as .*folder.png/out.png"),
        ("file/out.png", "cannot be written"),
        ("fifo.png", "a pipe"),
        ("x" * 300 + ".png", "(?i)name too long"),
        ("nul\0.png", "null"),
        ("old.png", "exists already; --overwrite"),
    ],
)
def test_what_cannot_be_written_is_said_with_the_cure(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "old.png").write_bytes(b"old")
    os.mkfifo(tmp_path / "fifo.png")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ImageWriteError, match=reason) as caught:
        save_image(tmp_path / name, smooth(), overwrite=False)
    assert str(caught.value).isprintable()
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "old.png").read_bytes() == b"old"


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(ImageWriteError, match="device"):
        write_picture("/dev/full", Picture(smooth()), format="png")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.parametrize(("ending", "width"), [("webp", 16384), ("jpg", 65501)])
def test_a_format_too_small_for_the_picture_is_named_before_encoding(
    ending: str, width: int, tmp_path: Path
) -> None:
    with pytest.raises(
        ImageWriteError, match=rf"{width} x 1 is too large.*{width - 1} pixels a side; write PNG"
    ):
        save_image(tmp_path / f"out.{ending}", np.zeros((1, width, 3), np.uint8))
    save_image(tmp_path / f"out.{ending}", np.zeros((1, width - 1, 3), np.uint8))
    save_image(tmp_path / "out.png", np.zeros((1, width, 3), np.uint8))


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_out_of_range_is_refused(quality: int, tmp_path: Path) -> None:
    with pytest.raises(ImageWriteError, match=f"quality {quality} is outside 1 to 100"):
        save_image(tmp_path / "out.jpg", smooth(), quality=quality)


def test_an_image_with_nan_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN"):
        save_image(tmp_path / "out.png", torch.full((3, 2, 2), torch.nan))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:  # root may write anywhere
            os.seteuid(65534)
        with pytest.raises(ImageWriteError, match="no permission to write in"):
            save_image(tmp_path / "out.png", smooth())
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "bmp"])
def test_a_full_disk_leaves_the_old_file_and_no_other(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{ending}"
    path.write_bytes(b"old")
    rgb = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(ImageWriteError) as caught:
            save_image(path, rgb)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == f"{path}: the disk is full; free some space or write elsewhere"
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_files_get_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        save_image(tmp_path / "out.png", smooth())
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o640


def test_a_link_is_replaced_and_what_it_points_at_is_spared(tmp_path: Path) -> None:
    original, link = tmp_path / "original.png", tmp_path / "out.png"
    original.write_bytes(b"precious")
    link.symlink_to(original)
    save_image(link, smooth())
    assert original.read_bytes() == b"precious" and not link.is_symlink()


def test_a_picture_may_replace_its_own_source(tmp_path: Path) -> None:
    path = tmp_path / "same.png"
    save_image(path, smooth())
    save_image(path, 1 - load_image(path))
    np.testing.assert_array_equal(read_picture(path).rgb, 255 - smooth())


def test_threads_that_write_one_name_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: save_image(path, np.full((50, 50, 3), k, np.uint8)), range(40)))
    assert len(np.unique(read_picture(path).rgb)) == 1 and list(tmp_path.iterdir()) == [path]


def test_load_image_puts_alpha_on_white_and_fits(tmp_path: Path) -> None:
    path = tmp_path / "in.png"
    save_image(path, np.zeros((40, 60, 3), np.uint8), alpha=np.zeros((40, 60), np.uint8))
    assert load_image(path).shape == (3, 40, 60) and (load_image(path) == 1).all()
    assert load_image(path, size=30).shape == (3, 20, 30)
    assert load_image(str(path), short_side=20).shape == (3, 20, 30)
    with pytest.raises(ImageReadError, match="over the limit of 100"):
        load_image(path, max_pixels=100)


@pytest.mark.parametrize("shape", [(3, 3000), (3000, 3)])
def test_of_a_long_strip_the_middle_is_resized_by_its_shorter_side_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shape: tuple[int, int]
) -> None:
    """Whole, this one would be 512,000 pixels long, and its features would fill the memory."""
    pixels = np.zeros((*shape, 3), np.uint8)
    along = slice(1494, 1506)
    pixels[(slice(None), along) if shape[0] == 3 else (along, slice(None))] = 200
    write_picture(tmp_path / "strip.png", Picture(pixels))
    found = load_image(tmp_path / "strip.png", short_side=512)
    assert sorted(found.shape) == [3, 512, 2048]
    assert float(found.min()) > 0.7  # the middle alone
    assert "more than 4 times as long as wide; the middle is used" in caplog.text
    assert max(load_image(tmp_path / "strip.png", size=300).shape) == 300


def test_pictures_are_found_sorted_and_only_where_they_should_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = ["B.JPG", "a.png", "sub/deep/x.webp", "sub/z.Tiff", "heic.heic", "file-link.png"]
    for name in [
        *wanted[:-1],
        "notes.txt",
        ".hidden.png",
        ".git/x.png",
        "noending",
        "clip.mp4",
        ".1.partial",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "file-link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "sub" / "round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    assert find_pictures(tmp_path) == sorted(tmp_path / name for name in wanted)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert f"{tmp_path / 'sub' / 'round'} is a link to a folder; name it itself" in said[0]


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file.png").touch()
    with pytest.raises(ImageReadError, match="is not a folder"):
        find_pictures(tmp_path / "file.png")
    with pytest.raises(ImageReadError, match="no such folder"):
        find_pictures(tmp_path / "none")


def test_pictures_are_read_without_torch(tmp_path: Path) -> None:
    save_image(tmp_path / "in.png", smooth())
    program = (
        "import sys\nfrom fast_nst.io.images import read_picture, write_picture\n"
        "write_picture(sys.argv[2], read_picture(sys.argv[1]))\nassert 'torch' not in sys.modules\n"
    )
    paths = [tmp_path / "in.png", tmp_path / "out.jpg"]
    subprocess.run([sys.executable, "-c", program, *paths], check=True, cwd=Path(__file__).parents[2])
    assert_close(read_picture(paths[1]).rgb, smooth())

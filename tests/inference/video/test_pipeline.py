"""From video to video: times, sound, sizes, colors, transparency; and what is no video."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.predictor import no_progress
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.video.opening import VideoReadError
from fast_nst.inference.video.partial import partial_path
from fast_nst.inference.video.pipeline import VideoRun
from fast_nst.inference.video.writing import VideoWriteError
from fast_nst.io.images import ImageReadError, Picture
from fast_nst.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tests.inference.conftest import Meddle

VARIABLE = [0, 3003, 6006, 12012, 13000, 20000, 21000, 30000, 31000, 50000]
CLOCKS = {
    "23.976": {"rate": Fraction(24000, 1001)},
    "25": {"rate": 25},
    "29.97": {"rate": Fraction(30000, 1001)},
    "60": {"rate": 60},
    "variable": {"times": VARIABLE, "time_base": Fraction(1, 90000)},
    "late": {"times": [45000 + t for t in VARIABLE], "time_base": Fraction(1, 90000)},
}


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("clock", CLOCKS)
def test_every_frame_keeps_its_time(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    clock: str,
    ending: str,
) -> None:
    source = clip("a.mp4", **CLOCKS[clock])
    paint(source, tmp_path / f"b{ending}")
    before, after = seen(source), seen(tmp_path / f"b{ending}")
    assert len(after.times) == len(before.times) == 10
    tick = 0 if ending != ".mkv" else after.base  # Matroska counts milliseconds
    for expected, time in zip(before.times, after.times, strict=True):
        assert abs(time - expected) <= tick


@pytest.mark.parametrize("late", [0, 250])
@pytest.mark.parametrize("sound", [(), ("aac",), ("aac", "libmp3lame")], ids=["silent", "one", "two"])
def test_sound_is_copied_byte_for_byte_to_the_same_times(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    sound: tuple[Any, ...],
    late: int,
) -> None:
    source = clip("a.mkv", sound=sound, late=late)
    paint(source, tmp_path / "b.mkv")
    before, after = seen(source), seen(tmp_path / "b.mkv")
    assert after.tracks == before.tracks
    assert len(after.tracks) == len(sound)
    assert after.languages == before.languages
    paint(source, tmp_path / "b.mp4")
    for track, copy in zip(before.tracks, seen(tmp_path / "b.mp4").tracks, strict=True):
        assert [data for _, data in copy] == [data for _, data in track]
        # Milliseconds there, samples here; the priming before zero stays.
        assert all(abs(a - b) <= Fraction(1, 1000) for (a, _), (b, _) in zip(track, copy, strict=True))


def test_subtitles_and_chapters_are_copied(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
) -> None:
    source = clip("a.mkv", sound=["aac"], subtitles=True, chapters=[(0, 200, "one"), (200, 400, "two")])
    assert paint(source, tmp_path / "b.mkv").notes == []
    before, after = seen(source), seen(tmp_path / "b.mkv")
    assert b"Hello there" in after.tracks[1][0][1]
    assert after.tracks == before.tracks
    assert after.chapters == before.chapters
    assert [title for _, _, title in after.chapters] == ["one", "two"]


def test_what_has_no_place_in_the_container_is_named_with_the_cure(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
) -> None:
    source = clip("a.mkv", sound=["aac"], subtitles=True)
    (words,) = paint(source, tmp_path / "b.mp4").notes
    assert words == "mp4 cannot hold subtitles (subrip); --format mkv takes all"
    assert len(seen(tmp_path / "b.mp4").tracks) == 1


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48), (1, 37), (37, 1), (80, 42)])
@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_odd_sizes_lose_nothing(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    size: tuple[int, int],
    ending: str,
) -> None:
    paint(clip("a.mkv", size=size, pixels="yuv444p", frames=3), tmp_path / f"b{ending}")
    after = seen(tmp_path / f"b{ending}")
    assert [picture.shape for picture in after.pictures] == [(size[1], size[0], 3)] * 3


def test_an_even_size_is_written_for_every_player(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
) -> None:
    paint(clip("a.mp4"), tmp_path / "b.mp4")
    after = seen(tmp_path / "b.mp4")
    assert (after.codec, after.pixels) == ("h264", "yuv420p")


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turned_video_comes_out_upright(
    clip: Callable[..., Path],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    identity: Callable[..., VideoRun],
    rotation: int,
) -> None:
    def arrow(_: int) -> NDArray[Any]:
        """Red above, green left of the middle, blue elsewhere, as the camera's chip saw it."""
        upright = np.zeros((48, 64, 3), np.uint8)
        upright[..., 2] = 200
        upright[:12] = (200, 0, 0)
        upright[12:, :20] = (0, 200, 0)
        return np.ascontiguousarray(np.rot90(upright, -rotation // 90))

    size = (64, 48) if rotation % 180 == 0 else (48, 64)
    identity(clip("a.mp4", size=size, frames=2, picture=arrow, rotation=rotation), tmp_path / "b.mp4")
    (first, _) = seen(tmp_path / "b.mp4").pictures
    assert first.shape == (48, 64, 3)
    for place, channel in (((4, 32), 0), ((32, 8), 1), ((32, 48), 2)):
        assert first[place].argmax() == channel
        assert first[place][channel] > 150


class Identity(Stylizer):
    """Everything but a network."""

    def pictures(
        self, pictures: Sequence[Picture], *, progress: Callable[[float], None] = no_progress
    ) -> list[Picture]:
        return list(pictures)


@pytest.fixture
def identity(checkpoint: Checkpoint, stylize_video: Callable[..., VideoRun]) -> Callable[..., VideoRun]:
    """A video through everything but a network."""
    return partial(stylize_video, Identity(checkpoint, device="cpu"))


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        (".mp4", "h264"),
        (".mp4", "h265"),
        (".webm", "vp9"),
        (".mkv", "ffv1"),
        (".mov", "prores"),
        (".mp4", "av1"),
    ],
)
def test_colors_survive_every_codec(
    clip: Callable[..., Path],
    identity: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    ending: str,
    codec: str,
) -> None:
    colors = np.array(
        [(0, 0, 0), (255, 255, 255), (200, 30, 60), (10, 220, 40), (20, 40, 230), (128, 128, 128)]
    )

    def bars(_: int) -> NDArray[Any]:
        return np.repeat(colors.repeat(16, axis=0)[None], 64, axis=0).astype(np.uint8)

    source = clip("a.mkv", size=(96, 64), codec="ffv1", pixels="bgr0", frames=2, picture=bars)
    identity(source, tmp_path / f"b{ending}", codec=codec)
    for picture in seen(tmp_path / f"b{ending}").pictures:
        found = picture[32, 8::16].astype(int)
        assert np.abs(found - colors).max() <= 6


def test_frames_come_in_order_and_are_those_of_the_video(
    clip: Callable[..., Path],
    identity: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    gray: Callable[[int], NDArray[Any]],
) -> None:
    identity(clip("a.mp4", picture=gray), tmp_path / "b.mp4")
    levels = [picture.mean() for picture in seen(tmp_path / "b.mp4").pictures]
    np.testing.assert_allclose(levels, [20 + 20 * i for i in range(10)], atol=2)


def test_ten_bit_videos_are_read(
    clip: Callable[..., Path],
    identity: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    gray: Callable[[int], NDArray[Any]],
) -> None:
    identity(clip("a.mp4", pixels="yuv420p10le", picture=gray), tmp_path / "b.mp4")
    levels = [picture.mean() for picture in seen(tmp_path / "b.mp4").pictures]
    np.testing.assert_allclose(levels, [20 + 20 * i for i in range(10)], atol=2)


def test_every_frame_is_what_the_picture_would_be(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    stylizer: Stylizer,
    tmp_path: Path,
) -> None:
    source = clip("a.mkv", codec="ffv1", pixels="bgr0", frames=4)
    paint(source, tmp_path / "b.mkv", codec="ffv1")
    painted = stylizer.pictures([Picture(p) for p in seen(source).pictures])
    for picture, expected in zip(seen(tmp_path / "b.mkv").pictures, painted, strict=True):
        assert np.abs(picture.astype(int) - expected.rgb).max() <= 1


def test_batches_make_the_same_video(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
) -> None:
    source = clip("a.mkv", codec="ffv1", pixels="bgr0", frames=7, sound=["aac"])
    paint(source, tmp_path / "one.mkv", codec="ffv1")
    paint(source, tmp_path / "three.mkv", codec="ffv1", batch_size=3)
    one, three = seen(tmp_path / "one.mkv"), seen(tmp_path / "three.mkv")
    assert one.times == three.times
    assert one.tracks == three.tracks
    for a, b in zip(one.pictures, three.pictures, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


def ghost(_: int) -> NDArray[Any]:
    picture = np.full((48, 64, 4), 150, np.uint8)
    picture[..., 3] = np.arange(64) * 4
    return picture


@pytest.mark.parametrize(
    ("source", "codec", "pixels", "ending", "kept"),
    [
        ("a.mov", "prores_ks", "yuva444p10le", ".mov", "prores"),
        ("a.webm", "libvpx-vp9", "yuva420p", ".webm", "vp9"),
        ("a.mov", "prores_ks", "yuva444p10le", ".mkv", "vp9"),
        ("a.mkv", "ffv1", "bgra", ".webp", None),
        ("a.webm", "libvpx-vp9", "yuva420p", ".mp4", None),
    ],
)
def test_transparency_is_kept_where_the_format_can(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    tmp_path: Path,
    source: str,
    codec: str,
    pixels: str,
    ending: str,
    kept: str | None,
) -> None:
    options = {"auto-alt-ref": "0"} if codec == "libvpx-vp9" else {}
    video = clip(source, codec=codec, pixels=pixels, picture=ghost, frames=3, options=options)
    run = paint(video, tmp_path / f"b{ending}")
    words = "transparency composited on white, which this format cannot hold"
    assert run.info.alpha
    assert (words in run.notes) == (ending == ".mp4")
    if kept:
        from fast_nst.inference.video.reading import VideoFile

        again = VideoFile(str(tmp_path / f"b{ending}"))
        assert again.info.alpha
        alpha = next(again.batches(1)).frames[0].picture.alpha
        assert np.abs(alpha.astype(int) - ghost(0)[..., 3]).max() <= 6
        again.close()


def animation(path: Path, durations: list[int], **options: Any) -> Path:
    """Flat colors, which GIF's palettes hold exactly."""
    pictures = [Image.new("RGB", (24, 18), (40 * i, 200 - 20 * i, 90)) for i in range(len(durations))]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options)
    return path


@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.parametrize("kind", [".gif", ".webp"])
def test_animations_keep_their_pictures_and_times(
    identity: Callable[..., VideoRun], tmp_path: Path, kind: str, ending: str
) -> None:
    durations = [100, 40, 200, 80]
    identity(animation(tmp_path / f"a{kind}", durations, lossless=True), tmp_path / f"b{ending}", quality=100)
    with Image.open(tmp_path / f"b{ending}") as result:
        assert result.n_frames == 4
        assert result.info.get("loop") == 0
        shown = []
        for i in range(4):
            result.seek(i)
            result.load()
            shown.append(result.info["duration"])
            found = np.asarray(result.convert("RGB"))[9, 12].astype(int)
            assert np.abs(found - (40 * i, 200 - 20 * i, 90)).max() <= 8
        # The last one's duration FFmpeg takes from the average.
        assert shown[:3] == durations[:3]


def test_an_animation_becomes_a_video_and_back(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
) -> None:
    paint(animation(tmp_path / "a.gif", [100, 40, 200, 80]), tmp_path / "b.mp4")
    assert seen(tmp_path / "b.mp4").times == [Fraction(t, 1000) for t in (0, 100, 140, 340)]
    paint(clip("a.mp4", sound=["aac"]), tmp_path / "b.gif")
    with Image.open(tmp_path / "b.gif") as result:
        assert result.n_frames == 10


def test_a_gif_is_not_asked_for_more_frames_than_it_can_show(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path
) -> None:
    run = paint(clip("a.mp4", rate=100), tmp_path / "b.gif")
    assert run.frames == 5
    assert "5 frames dropped: the rate is too high for this format" in run.notes


def test_a_part_begins_at_its_start_and_keeps_sound_in_step(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    gray: Callable[[int], NDArray[Any]],
    identity: Callable[..., VideoRun],
) -> None:
    source = clip("a.mkv", picture=gray, sound=["aac"], chapters=[(0, 200, "one"), (200, 400, "two")])
    whole = seen(source)
    identity(source, tmp_path / "b.mkv", start=0.12, duration=0.16)
    part = seen(tmp_path / "b.mkv")
    assert part.times == [Fraction(40 * i, 1000) for i in range(4)]
    np.testing.assert_allclose([p.mean() for p in part.pictures], [80, 100, 120, 140], atol=2)
    start, end = Fraction(120, 1000), Fraction(280, 1000)
    expected = [(t - start, data) for t, data in whole.tracks[0] if start <= t < end]
    assert [data for _, data in part.tracks[0]] == [data for _, data in expected]
    assert all(abs(a[0] - b[0]) <= part.base for a, b in zip(part.tracks[0], expected, strict=True))
    assert [title for _, _, title in part.chapters] == ["one", "two"]


def test_a_start_after_the_end_is_reported(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path
) -> None:
    with pytest.raises(VideoReadError, match="there is no frame after --start 9 seconds"):
        paint(clip("a.mp4"), tmp_path / "b.mp4", start=9)
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize(("asked", "size"), [(32, (32, 24)), (100, (100, 76)), (31, (31, 24))])
def test_size_is_that_of_the_longer_side_and_the_other_is_even(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    asked: int,
    size: tuple[int, int],
) -> None:
    paint(clip("a.mp4", frames=2), tmp_path / "b.mp4", size=asked)
    assert seen(tmp_path / "b.mp4").pictures[0].shape == (size[1], size[0], 3)


def test_higher_quality_is_nearer(
    clip: Callable[..., Path],
    identity: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
) -> None:
    source = clip("a.mkv", codec="ffv1", pixels="bgr0", frames=3)
    errors = []
    for quality in (20, 95, 100):
        identity(source, tmp_path / f"{quality}.mp4", quality=quality)
        pairs = zip(seen(source).pictures, seen(tmp_path / f"{quality}.mp4").pictures, strict=True)
        errors.append(np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs]))
    assert errors[0] > 2 * errors[1] > 0
    assert errors[1] > errors[2]


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_with_a_word(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path, transfer: int, name: str
) -> None:
    source = clip("a.mp4", pixels="yuv420p10le", transfer=transfer)
    with pytest.raises(VideoReadError, match=rf"is HDR \({name}\).*convert it to SDR"):
        paint(source, tmp_path / "b.mp4")


def test_a_codec_that_does_not_fit_the_container_is_refused_with_those_that_do(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"--codec prores does not go into mp4.*h264.*write it as \.mov"):
        paint(clip("a.mp4"), tmp_path / "b.mp4", codec="prores")
    with pytest.raises(InputError, match=r"cannot be written as '\.avi'; give one of \.mp4"):
        paint(clip("a.mp4"), tmp_path / "b.avi")


# What is no video, or not all of one. Each is a result or one line, and never a wait.


def broken(kind: str, path: Path, whole: bytes) -> None:
    text = {
        "text": b"Dear diary\n",
        "playlist": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(20_000),
        "head only": whole[:100],
        "no index": whole[: len(whole) // 2],
    }
    path.write_bytes(text[kind])


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("text", "not a video: the file holds text"),
        ("playlist", "is a playlist, which names other files"),
        ("concat", "is a playlist, which names other files"),
        ("empty", "the file is empty"),
        ("noise", "not a video, or one that is damaged or cut off"),
        ("head only", "not a video, or one that is damaged or cut off"),
        ("no index", "not a video, or one that is damaged or cut off"),
    ],
)
def test_what_is_no_video_is_one_line_and_leaves_nothing(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path, kind: str, told: str
) -> None:
    bad = tmp_path / "bad.mp4"
    broken(kind, bad, clip("a.mp4", frames=30).read_bytes())
    before = set(tmp_path.iterdir())
    with pytest.raises(VideoReadError, match=told) as error:
        paint(bad, tmp_path / "b.mp4")
    assert "\n" not in str(error.value)
    assert set(tmp_path.iterdir()) == before


def test_other_things_than_files_are_not_waited_for(paint: Callable[..., VideoRun], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, told in (("pipe.mp4", "is a pipe"), ("gone.mp4", "no such file"), (".", "is a folder")):
        with pytest.raises(VideoReadError, match=told):
            paint(tmp_path / name, tmp_path / "b.mp4")


def test_sound_alone_is_no_video(paint: Callable[..., VideoRun], tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as video:
        track = video.add_stream("aac", rate=44100)
        for heard in av.open("sine=duration=0.2", format="lavfi").decode(audio=0):
            video.mux(track.encode(heard))
        video.mux(track.encode(None))
    with pytest.raises(VideoReadError, match="has no video stream, only audio"):
        paint(tmp_path / "a.mp4", tmp_path / "b.mp4")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_of_a_truncated_video_what_is_there_is_done(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
    share: float,
) -> None:
    whole = clip("a.mkv", frames=60, options={"g": "10"}).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: int(len(whole) * share)])
    paint(tmp_path / "cut.mkv", tmp_path / "b.mkv")
    assert 10 < len(seen(tmp_path / "b.mkv").times) < 60


@pytest.mark.timeout(60)
def test_damage_in_the_middle_costs_no_more_than_what_is_damaged(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    tmp_path: Path,
) -> None:
    whole = bytearray(clip("a.mkv", frames=60, options={"g": "5"}).read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 300] = os.urandom(300)
    (tmp_path / "hurt.mkv").write_bytes(whole)
    paint(tmp_path / "hurt.mkv", tmp_path / "b.mkv")
    assert len(seen(tmp_path / "b.mkv").times) >= 20


@pytest.mark.timeout(60)
def test_a_header_that_claims_a_huge_frame_is_refused_before_decoding(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path
) -> None:
    data = clip("a.mkv", codec="ffv1", pixels="bgr0", size=(66_000, 2), frames=1).read_bytes()
    width = b"\xb0\x83%b"  # Matroska's PixelWidth, in three bytes
    assert width % (66_000).to_bytes(3, "big") in data
    huge = data.replace(width % (66_000).to_bytes(3, "big"), width % (1_000_000).to_bytes(3, "big"))
    (tmp_path / "b.mkv").write_bytes(huge)
    with pytest.raises(InputError, match=r"1000000 x 2 = 2,000,000 pixels are over the limit of 1,000,000"):
        paint(tmp_path / "b.mkv", tmp_path / "c.mkv", max_pixels=1_000_000)


def test_the_pixel_limit_holds_for_videos_too(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"64 x 48 = 3,072 pixels are over the limit of 1,000.*--max-pixels 3072"
    ):
        paint(clip("a.mp4"), tmp_path / "b.mp4", max_pixels=1000)
    with pytest.raises(InputError, match=r"--size 640 makes 307,200 pixels a frame"):
        paint(clip("a.mp4"), tmp_path / "b.mp4", max_pixels=10_000, size=640)


def test_a_damaged_animation_ends_where_it_is_damaged(paint: Callable[..., VideoRun], tmp_path: Path) -> None:
    data = animation(tmp_path / "a.webp", [50] * 8).read_bytes()
    (tmp_path / "cut.webp").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(ImageReadError, match=r"cut\.webp"):
        paint(tmp_path / "cut.webp", tmp_path / "b.webp")


def test_an_existing_file_stays_unless_reported_otherwise(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path
) -> None:
    (tmp_path / "b.mp4").write_text("precious")
    with pytest.raises(VideoWriteError, match="exists already; --overwrite"):
        paint(clip("a.mp4"), tmp_path / "b.mp4")
    assert (tmp_path / "b.mp4").read_text() == "precious"
    paint(clip("a.mp4"), tmp_path / "b.mp4", overwrite=True)
    assert (tmp_path / "b.mp4").stat().st_size > 1000


def test_an_interrupted_video_keeps_its_frames_under_another_name(
    clip: Callable[..., Path], seen: Callable[[Path], SimpleNamespace], stylizer: Stylizer, tmp_path: Path
) -> None:
    source = clip("a.mkv", frames=60, sound=["aac"])
    for ending in (".mp4", ".mkv", ".webm", ".gif", ".webp"):
        for moment in (0, 1, 7, 30):
            target, partial = tmp_path / f"{moment}{ending}", tmp_path / f"{moment}.partial{ending}"
            run, end = VideoRun(str(source), target, stylizer, StylizeConfig()), KeyboardInterrupt()
            reports = run.reports()
            for _ in range(moment):
                next(reports)
            assert not target.exists()
            run.__exit__(KeyboardInterrupt, end, None)
            assert not target.exists()
            assert (run.frames > 0) == partial.exists() == (run.written == partial)
            assert run.frames + run.dropped >= moment - 1
            if not run.frames:
                continue
            assert end.__notes__ == [f"{partial} holds the first {run.frames} frames"]
            if ending == ".webp":  # FFmpeg reads none, and its encoder merges equal frames
                with Image.open(partial) as result:
                    assert 1 <= result.n_frames <= run.frames
            else:
                assert len(seen(partial).times) == run.frames
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".partial"]


def interrupted(source: Path, target: Path, stylizer: Stylizer, frames: int) -> None:
    with VideoRun(str(source), target, stylizer, StylizeConfig()) as run:
        for report in run.reports():
            if report.frames == frames:
                raise KeyboardInterrupt


def test_the_next_run_replaces_a_partial_video(
    clip: Callable[..., Path],
    paint: Callable[..., VideoRun],
    seen: Callable[[Path], SimpleNamespace],
    stylizer: Stylizer,
    tmp_path: Path,
) -> None:
    source, partial = clip("a.mp4"), tmp_path / "b.partial.mp4"
    for frames in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            interrupted(source, tmp_path / "b.mp4", stylizer, frames)
        assert len(seen(partial).times) == frames
    paint(source, tmp_path / "b.mp4")
    assert len(seen(tmp_path / "b.mp4").times) == 10
    assert not partial.exists()


def test_an_error_on_the_way_keeps_the_finished_frames_under_another_name(
    clip: Callable[..., Path],
    seen: Callable[[Path], SimpleNamespace],
    meddled: Callable[[Meddle], Stylizer],
    stylize_video: Callable[..., VideoRun],
    tmp_path: Path,
) -> None:
    calls: list[int] = []

    def fail(_: Sequence[Picture]) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise InputError("the result is not a number")

    source = clip("a.mp4")
    with pytest.raises(InputError, match="not a number") as error:
        stylize_video(meddled(fail), source, tmp_path / "b.mp4")
    partial = tmp_path / "b.partial.mp4"
    assert error.value.__notes__ == [f"{partial} holds the first 4 frames"]
    assert len(seen(partial).times) == 4
    assert sorted(tmp_path.iterdir()) == [source, partial]


def test_a_file_that_appears_meanwhile_is_not_replaced(
    clip: Callable[..., Path], stylizer: Stylizer, tmp_path: Path
) -> None:
    source, target = clip("a.mp4"), tmp_path / "b.mp4"
    run = VideoRun(str(source), target, stylizer, StylizeConfig())
    for _ in run.reports():
        target.write_text("precious")
    with pytest.raises(VideoWriteError, match="exists already"):
        run.__exit__(None, None, None)
    assert target.read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == [source, target]


@pytest.mark.parametrize("length", [1, 243, 244, 251])
def test_a_partial_name_fits_wherever_the_name_does(length: int) -> None:
    target = Path("x" * length + ".mp4")
    assert len(partial_path(target).name) <= 255
    assert partial_path(target).suffixes[-2:] == [".partial", ".mp4"]


def test_memory_does_not_grow_with_the_video(
    clip: Callable[..., Path], stylizer: Stylizer, tmp_path: Path
) -> None:
    """Frames waiting between the threads are counted, which is what memory depends on."""
    from fast_nst.inference.video import pipeline

    alive: list[int] = []
    with VideoRun(str(clip("a.mp4", frames=40)), tmp_path / "b.mp4", stylizer, StylizeConfig()) as run:
        for _ in run.reports():
            alive.append(run.waiting)
    assert max(alive) <= pipeline.DEPTH


def test_gradients_are_not_recorded(
    clip: Callable[..., Path], paint: Callable[..., VideoRun], tmp_path: Path
) -> None:
    with torch.enable_grad():
        assert paint(clip("a.mp4", frames=2), tmp_path / "b.mp4").frames == 2

"""``stylize.py`` with videos: what it writes, what it says, and how it ends, also when it is killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from fast_nst.cli import stylize as command
from fast_nst.config import CameraConfig, StylizeConfig, VideoConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.jobs import Job, plan
from fast_nst.inference.batch.sources import camera_of
from fast_nst.inference.stylizer import Stylizer

if TYPE_CHECKING:
    from tests.cli.conftest import Said

SCRIPT = Path(__file__).parents[2] / "stylize.py"


@pytest.fixture
def stylize(said: Callable[..., Said], style: str) -> Callable[..., Said]:
    return lambda *arguments: said(command.main, [*arguments, "--style", style])


def frames(path: Path | str) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_a_video_is_stylized_into_the_current_folder(
    stylize: Callable[..., Said], clip: Callable[..., Path], here: Path, style: str
) -> None:
    headline = f"dots, {Stylizer.load(style)}"
    clip("in/clip.mp4")
    answer = stylize("in/clip.mp4")
    assert (answer.code, answer.out, answer.err) == (0, ["clip_dots.mp4"], [headline])
    assert frames("clip_dots.mp4") == 10


@pytest.mark.parametrize(
    ("name", "options", "target"),
    [
        ("a.mov", {}, "a_dots.mov"),
        ("a.MKV", {}, "a_dots.MKV"),
        ("a.avi", {}, "a_dots.mp4"),
        ("a.wmv", {}, "a_dots.mkv"),
        ("a.mp4", {"format": "webm"}, "a_dots.webm"),
        ("a.mp4", {"out": "b.gif"}, "b.gif"),
        ("a.mp4", {"out": "x/"}, "x/a.mp4"),
    ],
)
def test_a_video_s_result_is_named_like_a_picture_s(
    here: Path, name: str, options: dict[str, Any], target: str
) -> None:
    assert plan([name], "dots", StylizeConfig(**options)).jobs == [Job(name, target, video=True)]


def test_an_animation_stays_one_unless_a_picture_is_asked_for(here: Path) -> None:
    still = Image.new("RGB", (8, 6))
    still.save("a.gif", save_all=True, append_images=[Image.new("RGB", (8, 6), "red")])
    still.save("b.gif")
    assert plan(["a.gif"], "dots", StylizeConfig()).jobs == [Job("a.gif", "a_dots.gif", video=True)]
    assert plan(["a.gif"], "dots", StylizeConfig(out="c.mp4")).jobs == [Job("a.gif", "c.mp4", video=True)]
    assert plan(["a.gif"], "dots", StylizeConfig(out="c.png")).jobs == [Job("a.gif", "c.png")]
    assert plan(["b.gif"], "dots", StylizeConfig()).jobs == [Job("b.gif", "b_dots.png")]
    assert plan(["b.gif"], "dots", StylizeConfig(format="webp")).jobs == [Job("b.gif", "b_dots.webp")]


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        ("a.mp4", {"out": "b.jpg"}, r"cannot write '\.jpg' of a video; give a name such as out\.mp4"),
        ("a.mp4", {"format": "png"}, r"cannot write --format png; give \.mp4 .* for a video"),
        ("a.mp4", {"out": "-"}, r"a\.mp4 is a video, which cannot be sent to stdout"),
        ("a.jpg", {"out": "b.mp4"}, r"cannot write '\.mp4'"),
        ("a.jpg", {"format": "mp4"}, r"cannot write --format mp4; give png, jpg"),
    ],
)
def test_what_a_kind_cannot_be_written_as_is_refused(
    here: Path, source: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        plan([source], "dots", StylizeConfig(**options))


def test_a_folder_may_hold_both(
    stylize: Callable[..., Said], clip: Callable[..., Path], picture: Callable[..., Path], here: Path
) -> None:
    clip("holiday/sun/clip.mp4", frames=3)
    picture("holiday/a.png", 9, 12)
    answer = stylize("holiday", "--json", "--format", "mp4")
    still, video = map(json.loads, answer.out)
    assert answer.code == 0
    assert (still["output"], still["frames"], still["width"]) == ("holiday_dots/a.png", 1, 12)
    assert (video["output"], video["frames"], video["width"]) == ("holiday_dots/sun/clip.mp4", 3, 64)
    assert video["ok"] and video["error"] is None
    again = stylize("holiday", "--json", "--skip-existing")
    assert [json.loads(line)["skipped"] for line in again.out] == [True, True]
    refused = stylize("holiday")
    assert refused.code == 1
    assert "error: holiday_dots/sun/clip.mp4 exists; give --overwrite or --skip-existing" in refused.errors


def test_one_broken_video_does_not_stop_the_others(
    stylize: Callable[..., Said], clip: Callable[..., Path], here: Path
) -> None:
    clip("in/a.mp4", frames=2)
    (here / "in/b.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    (here / "in/c.mp4").write_text("#EXTM3U\n/etc/passwd\n")
    clip("in/d.mp4", frames=2)
    answer = stylize("in")
    assert answer.code == 1
    assert answer.out == ["in_dots/a.mp4", "in_dots/d.mp4"]
    assert len(answer.errors) == 2
    assert "is a playlist" in answer.errors[1]
    assert answer.err[-1] == "2 of 4 videos failed"
    assert sorted(path.name for path in Path("in_dots").iterdir()) == ["a.mp4", "d.mp4"]


def test_what_a_person_should_know_of_a_video_is_said(
    stylize: Callable[..., Said], clip: Callable[..., Path], here: Path
) -> None:
    clip("a.mkv", subtitles=True, frames=2)
    answer = stylize("a.mkv", "--out", "b.mp4")
    assert answer.code == 0
    assert answer.err[1:] == ["a.mkv: mp4 cannot hold subtitles (subrip); --format mkv takes all"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--start", "-1"], "--start must be a time of at least 0 seconds, got -1"),
        (["--duration", "-2"], "--duration must be a time of at least 0"),
        (["--steady", "--steadiness", "1"], "--smoothing-strength goes from 0 to below 1, got 1"),
        (["--codec", "prores"], "--codec prores does not go into mp4"),
        (["--start", "60"], "there is no frame after --start 60 seconds"),
    ],
)
def test_wrong_settings_are_one_line(
    stylize: Callable[..., Said], clip: Callable[..., Path], here: Path, flags: list[str], told: str
) -> None:
    clip("a.mp4", frames=2)
    answer = stylize("a.mp4", *flags)
    assert answer.code in (1, 2)
    assert len(answer.errors) == 1
    assert told in answer.errors[0]
    assert not Path("a_dots.mp4").exists()


def shown(path: str) -> list[bytes]:
    with av.open(path) as video:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in video.decode(video=0)]


def test_smoothing_makes_another_video_by_its_new_and_its_old_name(
    stylize: Callable[..., Said], clip: Callable[..., Path], here: Path
) -> None:
    clip("a.mp4", frames=4)
    assert stylize("a.mp4", "--out", "b.mkv", "--codec", "ffv1").code == 0
    assert stylize("a.mp4", "--out", "c.mkv", "--codec", "ffv1", "--temporal-smoothing").code == 0
    smooth = shown("c.mkv")
    assert shown("b.mkv") != smooth
    assert stylize("a.mp4", "--out", "d.mkv", "--codec", "ffv1", "--steady", "--steadiness", "0.5").code == 0
    assert shown("d.mkv") == smooth
    for key in ("steady", "temporal_smoothing"):
        Path("run.toml").write_text(f"[video]\n{key} = true\n")
        assert stylize("a.mp4", "--out", f"{key}.mkv", "--codec", "ffv1", "--config", "run.toml").code == 0
        assert shown(f"{key}.mkv") == smooth


def test_a_number_or_an_address_is_a_camera(here: Path) -> None:
    assert camera_of(["0"], StylizeConfig()) == "0"
    assert camera_of(["rtsp://host/live"], StylizeConfig()) == "rtsp://host/live"
    assert camera_of(["a.mp4"], StylizeConfig()) is None
    assert camera_of(["a.mp4"], StylizeConfig(camera=CameraConfig(live=True))) == "a.mp4"
    with pytest.raises(InputError, match="0 is a camera, which must be the only source; give it alone"):
        camera_of(["a.mp4", "0"], StylizeConfig())
    Path("0").touch()
    assert camera_of(["0"], StylizeConfig()) is None


def test_settings_of_videos_are_checked_by_the_library_too() -> None:
    with pytest.raises(InputError, match="--smoothing-strength"):
        StylizeConfig(video=VideoConfig(smoothing_strength=1.0))


def started(here: Path, style: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "long.mkv", "--style", style, "--out", "out/b.mp4", *arguments],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    )


def wait_for_frames(folder: Path, process: subprocess.Popen[str], seconds: float) -> None:
    """Until the video has been under way, under its hidden name, for some time."""
    while process.poll() is None and not list(folder.glob(".*.partial")):
        time.sleep(0.01)
    time.sleep(seconds)


@pytest.fixture
def long(clip: Callable[..., Path]) -> Path:
    return clip("long.mkv", frames=1500, sound=["aac"], options={"preset": "ultrafast"})


def check_what_is_there(folder: Path, error: str, word: str) -> None:
    """A partial video that plays to the frame it says, or none; nothing else."""
    if not (folder / "b.partial.mp4").exists():
        assert error == f"error: {word}"
    else:
        done = frames(folder / "b.partial.mp4")
        assert 0 < done < 1500
        assert error == f"error: {word}; out/b.partial.mp4 holds the first {done} frames"
    assert {path.name for path in folder.iterdir()} <= {"b.partial.mp4"}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_what_is_done_plays_after_a_signal(
    long: Path, here: Path, style: str, number: int, code: int
) -> None:
    process = started(here, style)
    wait_for_frames(here / "out", process, 1.0)
    process.send_signal(number)
    out, err = process.communicate(timeout=280)
    assert process.returncode == code
    assert out == ""
    word = "interrupted" if number == signal.SIGINT else "terminated"
    check_what_is_there(here / "out", err.splitlines()[-1], word)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_folder_is_completed_by_the_next_run(
    clip: Callable[..., Path], long: Path, here: Path, style: str, number: int
) -> None:
    """With --skip-existing and a manifest, no part of a video counts as a video, nor as an input."""
    clip("in/a.mp4", frames=3)
    (here / "in/b.mkv").write_bytes(long.read_bytes())
    words = [sys.executable, str(SCRIPT), "in", "--style", style, "--out", "out", "--format", "mp4"]
    words += ["--skip-existing", "--manifest", "m.jsonl"]
    process = subprocess.Popen(
        words,
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "out/a.mp4\n"
    wait_for_frames(here / "out", process, 0.5)
    process.send_signal(number)
    process.communicate(timeout=280)
    assert process.returncode in (130, 143)
    assert not (here / "out/b.mp4").exists()
    records = [json.loads(line) for line in (here / "m.jsonl").read_text().splitlines()]
    assert [(record["input"], record["ok"]) for record in records] == [("in/a.mp4", True)]
    (here / "in/b.mkv").write_bytes(clip("short.mkv", frames=4).read_bytes())
    done = subprocess.run(words, cwd=here, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "out/b.mp4\n")
    assert sorted(path.name for path in (here / "out").iterdir()) == ["a.mp4", "b.mp4"]
    assert frames(here / "out/b.mp4") == 4
    records = [json.loads(line) for line in (here / "m.jsonl").read_text().splitlines()]
    assert [(record["input"], record["frames"], record["ok"]) for record in records] == [
        ("in/a.mp4", 3, True),
        ("in/b.mkv", 4, True),
    ]


def test_a_partial_video_is_no_input_of_the_next_run(clip: Callable[..., Path], here: Path) -> None:
    clip("a.mp4")
    clip("a_dots.partial.mp4")
    clip("b.partial.mp4")
    config = StylizeConfig()
    assert [job.source for job in plan(["*.mp4"], "dots", config).jobs] == ["a.mp4", "b.partial.mp4"]
    assert len(plan(["a_dots.partial.mp4"], "dots", config).jobs) == 1


def test_a_full_disk_leaves_no_video(clip: Callable[..., Path], here: Path, style: str) -> None:
    clip("a.mkv", frames=60)

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    words = [sys.executable, str(SCRIPT), "a.mkv", "--style", style, "--quality", "100", "--out", "out/b.mp4"]
    done = subprocess.run(words, cwd=here, capture_output=True, text=True, preexec_fn=small_files)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "error: out/b.mp4: the disk is full; free some space or write elsewhere"
    ]
    assert list((here / "out").iterdir()) == []


def test_a_killed_run_leaves_no_file_of_that_name(long: Path, here: Path, style: str) -> None:
    (here / "out").mkdir()
    process = started(here, style)
    wait_for_frames(here / "out", process, 0.2)
    process.kill()
    process.communicate()
    assert not (here / "out/b.mp4").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_and_ten_interruptions_at_any_moment(long: Path, here: Path, style: str) -> None:
    target = here / "out/b.mp4"
    for i in range(10):
        process = started(here, style)
        wait_for_frames(here / "out", process, 0.3 * i)
        process.kill()
        process.communicate()
        assert not target.exists() or frames(target) == 1500
        for path in (here / "out").iterdir():
            path.unlink()
    for i in range(10):
        process = started(here, style)
        wait_for_frames(here / "out", process, 0.3 * i)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=280)
        if process.returncode == 130:
            check_what_is_there(here / "out", err.splitlines()[-1], "interrupted")
        else:
            assert frames(target) == 1500
        target.unlink(missing_ok=True)

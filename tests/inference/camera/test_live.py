"""The camera: the newest picture only, word when none comes, and every key."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fast_nst.config import CameraConfig, GalleryNetConfig, NetworkConfig, StylizeConfig, VideoConfig
from fast_nst.errors import InputError
from fast_nst.inference.camera.capture import Camera, CameraError, CameraFrame, CameraStalled
from fast_nst.inference.camera.live import Live
from fast_nst.inference.camera.view import KEYS, Window, write_lines
from fast_nst.inference.styles import StyleChoice, choose_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import read_picture
from fast_nst.models.checkpoint import Checkpoint, save_checkpoint
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.transform_net import TransformNet

if TYPE_CHECKING:
    from tests.inference.conftest import Meddle

SCRIPT = Path(__file__).parents[3] / "stylize.py"
QUICK = CameraConfig(patience=0.3, tries=2)


class Plug:
    """A camera of OpenCV's kind that can be unplugged in each of the ways seen in practice."""

    def __init__(self, rate: float = 200.0) -> None:
        self.rate, self.fault, self.count, self.opened = rate, "", 0, 0
        self.noise = np.random.default_rng(0)
        self.last = self.picture()

    def open(self, _: str) -> Plug:
        self.opened += 1
        return self

    def isOpened(self) -> bool:
        return self.fault != "cannot be opened"

    def get(self, _: int) -> float:
        return self.rate

    def release(self) -> None:
        pass

    def picture(self) -> NDArray[Any]:
        return self.noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        time.sleep(1 / self.rate)
        if self.fault == "blocks":
            threading.Event().wait(20)
        if self.fault in ("fails", "cannot be opened"):
            return False, None
        if self.fault == "gives nothing":
            return True, None
        if self.fault != "repeats":
            self.last = self.picture()
            self.count += 1
        return True, self.last


def test_the_picture_is_always_the_newest_and_seen_once() -> None:
    plug = Plug()
    camera = Camera("0", CameraConfig(), open=plug.open)
    frames = camera.frames()
    numbers = []
    for _ in range(5):
        frame = next(frames)
        assert isinstance(frame, CameraFrame)
        numbers.append(frame.number)
        assert plug.count - frame.number <= 3
        assert time.monotonic() - frame.taken < 1
        time.sleep(0.1)  # a slow network
    camera.close()
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] > 2 * len(numbers)


def test_colors_are_red_green_blue() -> None:
    plug = Plug()
    plug.picture = lambda: np.dstack([plug.noise.integers(a, a + 9, (8, 8), np.uint8) for a in (10, 90, 200)])
    camera = Camera("0", CameraConfig(), open=plug.open)
    frame = next(s for s in camera.frames() if s.number > 2)
    camera.close()
    assert [round(x, -1) for x in frame.pixels.mean(axis=(0, 1))] == [200, 90, 10]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("fails", "it gives no more frames"),
        ("gives nothing", "it gives no more frames"),
        ("blocks", "no picture for 0.3 seconds"),
        ("repeats", "always the same frame for 0.3 seconds"),
    ],
)
def test_a_camera_that_has_gone_is_noticed_tried_again_and_given_up(fault: str, told: str) -> None:
    plug = Plug()
    frames = Camera("0", QUICK, open=plug.open, pause=0.01).frames()
    next(frames)
    plug.fault = fault
    gone: list[CameraStalled] = []
    with pytest.raises(CameraError, match=r"camera 0 is disconnected: .*is it plugged in"):
        gone.extend(frame for frame in frames if isinstance(frame, CameraStalled))
    assert plug.opened == 3


def test_a_camera_that_comes_back_goes_on() -> None:
    plug = Plug()
    frames = Camera("0", QUICK, open=plug.open, pause=0.01).frames()
    first = next(frames)
    plug.fault = "repeats"
    gone = next(frame for frame in frames if isinstance(frame, CameraStalled))
    assert (gone.reason, gone.tries_left) == ("camera 0: always the same frame for 0.3 seconds", 1)
    plug.fault = ""
    again = next(frame for frame in frames if isinstance(frame, CameraFrame))
    assert again.number > first.number


def test_a_camera_that_is_not_there_is_reported_at_once() -> None:
    plug = Plug()
    plug.fault = "cannot be opened"
    with pytest.raises(CameraError, match=r"camera 3 cannot be opened; is it plugged in"):
        next(Camera("3", CameraConfig(), open=plug.open).frames())
    assert plug.opened == 1
    with pytest.raises(CameraError, match=r"gone\.mp4 cannot be opened; check the address"):
        next(Camera("gone.mp4", CameraConfig()).frames())


def test_a_file_stands_for_a_camera_at_its_own_speed_and_ends(clip: Callable[..., Path]) -> None:
    path = clip("a.mp4", frames=10)
    started = time.monotonic()
    frames = list(Camera(str(path), CameraConfig()).frames())
    assert time.monotonic() - started > 9 / 25
    assert all(isinstance(frame, CameraFrame) for frame in frames)
    assert frames[-1].number == 10


# The show.


class Script:
    """A screen that presses keys, one at a picture, and keeps what it was shown."""

    def __init__(self, keys: str) -> None:
        self.keys, self.shown = iter(keys), list[np.ndarray]()

    def show(self, pixels: NDArray[Any]) -> str:
        self.shown.append(pixels)
        key = next(self.keys, "q")
        return "" if key == " " else key

    def close(self) -> None:
        pass


def network(seed: int) -> TransformNet:
    torch.manual_seed(seed)
    made = TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1)).eval().requires_grad_(False)
    made.body.conv4.conv.bias.fill_(0.5)
    return made


def stylizer(seed: int) -> Stylizer:
    return Stylizer(Checkpoint(network(seed), {}), device="cpu")


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Live, Script, list[str]]]:
    """Runs a show of keys; the words that were said come last."""
    monkeypatch.chdir(tmp_path)

    def run(keys: str, *, plug: Plug | None = None, **options: Any) -> tuple[Live, Script, list[str]]:
        screen = Script(keys)
        styles = [(name, Path(name)) for name in ("dots", "lines", "waves")]
        config = StylizeConfig(**options)
        camera = Camera("0", CameraConfig(), open=(plug or Plug()).open)
        show = Live(camera, styles, config, screen=screen, load=lambda path: stylizer(len(str(path))))
        words = [word for report in show.reports() for word in report.notes]
        return show, screen, words + show.close()

    return run


@pytest.fixture
def style_file(tmp_path: Path) -> str:
    path = tmp_path / "dots.safetensors"
    save_checkpoint(path, network(0), {"style": "dots", "steps": 1})
    return str(path)


def test_every_key_of_the_help_is_known() -> None:
    assert set(KEYS) == set("np+-[]cosrfhq")


@pytest.mark.slow
def test_styles_are_changed_to_and_fro(live: Callable[..., tuple[Live, Script, list[str]]]) -> None:
    assert live("n")[0].style == "lines"
    assert live("nn")[0].style == "waves"
    assert live("nnn")[0].style == "dots"
    assert live("p")[0].style == "waves"


def test_strength_goes_from_the_content_image_to_the_stylized_one(
    live: Callable[..., tuple[Live, Script, list[str]]],
) -> None:
    show, screen, _ = live("-" * 12 + "+++ ")
    assert show.controls.strength == 0.3
    assert len(screen.shown) == 17
    assert live("+")[0].controls.strength == 1.0


def test_keys_change_stroke_size_and_colors_within_their_range(
    live: Callable[..., tuple[Live, Script, list[str]]],
) -> None:
    assert live("]")[0].controls.stroke == 1.25
    assert live("[" * 20)[0].controls.stroke == 0.25
    assert live("c")[0].controls.colors == "photo"
    assert live("ccc")[0].controls.colors == "style"


def test_the_original_stands_beside_the_result(live: Callable[..., tuple[Live, Script, list[str]]]) -> None:
    _, screen, _ = live("fo o ")
    widths = [view.shape[1] for view in screen.shown]
    assert widths == [32, 32, 64, 64, 32, 32]


def test_figures_and_help_are_written_on_the_view_alone(
    live: Callable[..., tuple[Live, Script, list[str]]],
) -> None:
    with_figures, without = (live(keys, out=None, size=240)[1].shown[-1] for keys in (" ", "f "))
    assert with_figures.shape == without.shape == (180, 240, 3)
    page = np.full((240, 320, 3), 128, np.uint8)
    written = write_lines(page, list(KEYS.values()))
    assert (page == 128).all()
    assert (written != 128).mean() > 0.02


def test_a_snapshot_is_a_whole_picture_without_figures(
    live: Callable[..., tuple[Live, Script, list[str]]], tmp_path: Path
) -> None:
    _, _, words = live("s")
    (path,) = tmp_path.glob("snapshot_dots_*.png")
    assert read_picture(path).rgb.shape == (24, 32, 3)
    assert words == [f"{path.name} written"]


def test_a_recording_begins_and_ends_with_a_key(
    live: Callable[..., tuple[Live, Script, list[str]]], tmp_path: Path
) -> None:
    _, _, words = live("r" + " " * 12 + "r ")
    (path,) = tmp_path.glob("live_dots_*.mp4")
    with av.open(str(path)) as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert 5 <= len(times) <= 13
    assert all(b > a for a, b in itertools.pairwise(times))
    assert words == [f"recording {path.name}", f"{path.name} written, {len(times)} frames"]


def test_out_records_from_the_beginning_to_the_end(
    live: Callable[..., tuple[Live, Script, list[str]]], tmp_path: Path
) -> None:
    _, _, words = live(" " * 10, out="live.mp4", size=48)
    with av.open("live.mp4") as video:
        shapes = {(frame.height, frame.width) for frame in video.decode(video=0)}
    assert shapes == {(36, 48)}
    assert words[0] == "recording live.mp4"
    assert words[-1].startswith("live.mp4 written, ")


class BrightLeft(Plug):
    """The left half is brighter than the right one."""

    def picture(self) -> NDArray[Any]:
        half = np.repeat(np.array([200, 0], np.uint8), 16)[:, None]
        return half + self.noise.integers(0, 40, (24, 32, 3), dtype=np.uint8)


def test_mirror_swaps_left_and_right(live: Callable[..., tuple[Live, Script, list[str]]]) -> None:
    brighter_right = []
    for mirror in (False, True):
        shown = live("-" * 10 + "f  ", plug=BrightLeft(), camera=CameraConfig(mirror=mirror))[1].shown[-1]
        brighter_right.append(shown[:, 16:].mean() > shown[:, :16].mean())
    assert brighter_right == [False, True]


def test_the_show_ends_by_time(live: Callable[..., tuple[Live, Script, list[str]]]) -> None:
    _, screen, _ = live(" " * 10_000, video=VideoConfig(duration=0.4))
    assert 0 < len(screen.shown) < 10_000


def test_a_slow_network_sees_the_newest_and_says_what_was_left_out(
    meddled: Callable[[Meddle], Stylizer],
) -> None:
    slow = meddled(lambda _: time.sleep(0.2))
    camera = Camera("0", CameraConfig(), open=Plug(rate=60).open)
    show = Live(
        camera, [("dots", Path("dots"))], StylizeConfig(), screen=Script(" " * 6), load=lambda _: slow
    )
    reports = list(show.reports())
    show.close()
    assert reports[-1].dropped > 2 * reports[-1].frames
    assert reports[-1].latency < 2 / reports[-1].rate


# The window itself.


def test_without_a_display_there_is_one_line_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"there is no display here; give --no-window --out live\.mp4"):
        Window("test")


@pytest.mark.slow
def test_the_camera_brings_opencv_before_pyav_for_else_its_windows_never_open(
    clip: Callable[..., Path], style_file: str
) -> None:
    run = f"main(['a.mp4', '--live', '--no-window', '--out', 'b.mp4', '--style', {str(style_file)!r}])"
    order = "found = [name for name in sys.modules if name in ('av', 'cv2')]; print(found, file=sys.stderr)"
    words = [sys.executable, "-c", f"import sys; from fast_nst.cli.stylize import main; {run}; {order}"]
    here = clip("a.mp4", frames=2).parent
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=here, env=os.environ | {"PYTHONPATH": str(SCRIPT.parent)}
    )
    assert done.stderr.splitlines()[-1] == "['cv2', 'av']", done.stderr


@pytest.mark.skipif(not os.environ.get("DISPLAY"), reason="no X display; xvfb-run gives one")
@pytest.mark.timeout(60)
def test_a_window_shows_the_camera(clip: Callable[..., Path], style_file: str) -> None:
    """In a process of its own, where OpenCV comes before PyAV."""
    words = [sys.executable, str(SCRIPT), "a.mp4", "--live", "--style", style_file]
    done = subprocess.run(words, capture_output=True, text=True, timeout=50, cwd=clip("a.mp4").parent)
    assert done.returncode == 0, done.stderr
    assert "frames shown" in done.stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_recording_is_complete_whenever_the_camera_is_stopped(
    clip: Callable[..., Path], style_file: str, number: int, code: int
) -> None:
    here = clip("a.mp4", frames=500).parent
    words = [sys.executable, str(SCRIPT), "a.mp4", "--live", "--no-window", "--out", "b.mp4"]
    process = subprocess.Popen(
        [*words, "--style", str(style_file)],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not list(here.glob(".*.partial")):
        time.sleep(0.01)
    time.sleep(1)
    process.send_signal(number)
    _, err = process.communicate(timeout=40)
    assert process.returncode == code
    with av.open(str(here / "b.mp4")) as video:
        frames = sum(1 for _ in video.decode(video=0))
    assert f"b.mp4 written, {frames} frames" in err
    assert not list(here.glob(".*.partial"))


class Still(Plug):
    """A camera before which next to nothing moves."""

    def picture(self) -> NDArray[Any]:
        picture = np.tile(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], (24, 1, 3))
        picture[0, 0] = self.count % 2
        return picture


def test_styles_of_a_gallery_slide_into_one_another(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    rows = [{"style": style, "scale": scale} for style, scale in ((None, 0.0), ("one", 1.0), ("two", 1.0))]
    torch.manual_seed(0)
    net = GalleryNet(GalleryNetConfig(widths=(4, 6, 8), blocks=1, rows=3)).eval()
    with torch.no_grad():
        net.offset[1:] = torch.tensor([[0.2] * 3, [0.8] * 3])
        net.color[1:] *= 0.1
    file = tmp_path / "my.safetensors"
    save_checkpoint(file, net, {"style": "my", "rows": rows})
    choices = [choose_style(f"{file}#{name}") for name in ("one", "two")]
    opened: list[StyleChoice] = []

    def load(choice: Path | StyleChoice) -> Stylizer:
        assert isinstance(choice, StyleChoice)
        opened.append(choice)
        return Stylizer.load(choice, backend="onnx", device="cpu")

    screen = Script(" n" + " " * 300)  # at 200 frames a second at most, longer than the slide
    config = StylizeConfig()
    camera = Camera("0", CameraConfig(), open=Still().open)
    show = Live(camera, [(c.name, c) for c in choices], config, screen=screen, load=load)
    show.press("f", np.zeros((1, 1, 3), np.uint8))  # no figures in the picture
    for _ in show.reports():
        pass
    show.close()
    levels = [float(frame.mean()) for frame in screen.shown]
    assert levels[0] < 80
    assert levels[-1] > 175
    assert any(80 < level < 175 for level in levels)
    assert all(after > before - 2 for before, after in itertools.pairwise(levels))
    assert len(opened) == 1

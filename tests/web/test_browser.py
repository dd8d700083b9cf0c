"""The page in Chromium: every control, by what a person sees and what a file holds.

The gallery is a network of four numbers a style, so that what is right is known exactly; the bundled styles
are compared with the command line.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fast_nst.cli.main import main
from fast_nst.system.folders import user_cache_folder
from fast_nst.web.engine_files import VERSION
from fast_nst.web.export_page import write_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
selenium = pytest.importorskip("selenium")
onnx = pytest.importorskip("onnx")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

Row = tuple[str | None, float, float, tuple[float, float, float]]
# style, scale, gain and the color that is added: what each row of the gallery does.
ROWS: list[Row] = [
    (None, 1.0, 1.0, (0, 0, 0)),
    ("negative", 1.0, -1.0, (1, 1, 1)),
    ("red", 1.0, 0.5, (0.5, 0, 0)),
    ("red", 2.0, 0.25, (0.75, 0, 0)),
    ("green", 1.0, 0.5, (0, 0.5, 0)),
    ("blue", 1.0, 0.5, (0, 0, 0.5)),
    ("gray", 1.0, 0.0, (0.5, 0.5, 0.5)),
]
STYLES = ["negative", "red", "green", "blue", "gray"]
SECONDS = 90


def gallery(rows: Sequence[Row] = ROWS) -> bytes:
    """As a gallery that is exported: rows by their weights, and the picture by what these lack to 1."""
    from onnx import TensorProto, helper, numpy_helper

    gains = np.array([[gain - 1] for _, _, gain, _ in rows], np.float32)
    colors = np.array([color for *_, color in rows], np.float32)
    constants = [
        numpy_helper.from_array(gains, "gains"),
        numpy_helper.from_array(colors, "colors"),
        numpy_helper.from_array(np.array([1, -1, 1, 1]), "shape"),
    ]
    nodes = [
        helper.make_node("MatMul", ["style_weights", "gains"], ["gain"]),
        helper.make_node("MatMul", ["style_weights", "colors"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["color"]),
        helper.make_node("Mul", ["image", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "color"], ["changed"]),
        helper.make_node("Add", ["image", "changed"], ["stylized"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])
    weights = helper.make_tensor_value_info("style_weights", TensorProto.FLOAT, [len(rows)])
    out = helper.make_tensor_value_info("stylized", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "gallery", [image, weights], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def expected(rgb: NDArray[np.uint8], weights: dict[int, float]) -> NDArray[np.float64]:
    """What the gallery makes of a picture, by row numbers and their weights; the rest to 1 is the picture."""
    gain = 1 + sum(weight * (ROWS[row][2] - 1) for row, weight in weights.items())
    color = sum(weight * np.array(ROWS[row][3]) for row, weight in weights.items())
    return np.clip(rgb * gain + 255 * color, 0, 255)


@pytest.fixture(scope="session")
def engine() -> Path:
    """The real engine, from the cache of whoever runs the tests."""
    folder = user_cache_folder() / f"onnxruntime-web-{VERSION}"
    if not folder.is_dir():
        pytest.skip(f"no engine in {folder}: run fast-nst export-page once")
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, engine: Path) -> Path:
    """The page with the bundled styles."""
    folder = tmp_path_factory.mktemp("site")
    write_page(folder, engine=engine)
    return folder


@pytest.fixture(scope="session")
def gallery_site(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Path:
    """The page with the gallery of this file."""
    folder = tmp_path_factory.mktemp("gallery") / "site"
    shutil.copytree(site, folder)
    about = json.loads((site / "model" / "gallery.json").read_text())
    about["rows"] = [{"style": style, "scale": scale} for style, scale, *_ in ROWS]
    about["styles"] = [
        {"id": name, "title": name.title(), "artist": "A. Painter", "year": "1900", "thumbnail": "icon.svg"}
        for name in STYLES
    ]
    about["model"] = "model/tiny.onnx"
    about["megapixels"] = 0.01
    (folder / "model" / "gallery.json").write_text(json.dumps(about))
    (folder / "model" / "tiny.onnx").write_bytes(gallery())
    return folder


@pytest.fixture
def own_site(gallery_site: Path, tmp_path: Path) -> Path:
    """A copy of that page, for a test to change."""
    return Path(shutil.copytree(gallery_site, tmp_path / "site"))


class Browser:
    """Chromium on a page, with the few things that tests do to it."""

    def __init__(self, downloads: Path, width: int = 1280, height: int = 860) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (
            "headless=new",
            "no-sandbox",
            "disable-gpu",
            "disable-dev-shm-usage",
            "use-fake-device-for-media-stream",
            "use-fake-ui-for-media-stream",
        ):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.downloads = downloads
        behavior = {"behavior": "allow", "downloadPath": str(downloads)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behavior)
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def js(self, expression: str) -> Any:
        return self.driver.execute_script(f"return {expression}")

    def wait(self, expression: str, seconds: float = SECONDS) -> Any:
        end = time.monotonic() + seconds
        while not (found := self.js(expression)):
            assert time.monotonic() < end, f"{expression}: {self.js('document.body.innerText')}"
            time.sleep(0.05)
        return found

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.wait("document.body.dataset.ready === 'yes'")

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.find(selector))
        self.find(selector).click()

    def give(self, path: Path) -> None:
        """Choose a picture."""
        self.find("#file").send_keys(str(path))

    def text(self, selector: str) -> str:
        return str(self.js(f"document.querySelector('{selector}').textContent"))

    def complaint(self) -> str:
        """What the page says of an error, as soon as it does."""
        self.wait("!document.getElementById('notice').hidden")
        return self.text("#notice-text")

    def set(self, selector: str, value: float) -> None:
        """Move a slider."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.driver.execute_script(script, self.find(selector), value)

    def finished(self, width: int, height: int) -> None:
        """Wait for the newest result, at this size, with nothing left to be done."""
        self.wait(f"document.getElementById('result').dataset.of?.endsWith(':{width}x{height}')")
        self.settled()

    def settled(self) -> None:
        """Wait until nothing changes any more."""
        before = None
        for _ in range(100):
            time.sleep(0.5)
            now = self.js(
                "document.getElementById('result').toDataURL() + document.getElementById('result').dataset.of"
            )
            if now == before:
                return
            before = now
        raise AssertionError("the page never comes to rest")

    def pixels(self, canvas: str = "result") -> NDArray[np.uint8]:
        data = self.js(f"document.getElementById('{canvas}').toDataURL().split(',')[1]")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def downloaded(self, ending: str) -> Path:
        """The newest file that was saved, which is removed before the next one."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            found = [
                path for path in self.downloads.iterdir() if path.suffix == ending and path.stat().st_size
            ]
            if found:
                time.sleep(0.3)
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"no {ending} was saved: {self.js('document.body.innerText')}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    found = Browser(tmp_path_factory.mktemp("downloads"))
    yield found
    found.driver.quit()


@pytest.fixture
def picture(tmp_path: Path) -> tuple[Path, NDArray[np.uint8]]:
    """A picture of 96 x 64 and its pixels."""
    return saved(tmp_path / "photo.png", 64, 96)


def saved(path: Path, height: int, width: int) -> tuple[Path, NDArray[np.uint8]]:
    coarse = np.random.default_rng(height).integers(
        0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8
    )
    rgb = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()
    Image.fromarray(rgb).save(path)
    return path, rgb


@pytest.fixture
def opened(
    browser: Browser, gallery_site: Path, served_page: Callable[[Path], str], picture: Any
) -> tuple[Browser, NDArray[np.uint8]]:
    """The page with the gallery and a picture in it."""
    browser.open(served_page(gallery_site))
    browser.give(picture[0])
    browser.finished(96, 64)
    return browser, picture[1]


def open_rgb(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def near(found: NDArray[np.uint8], wanted: NDArray[Any], levels: float = 2) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found.astype(float) - wanted).max() <= levels


@pytest.mark.parametrize(("height", "width"), [(64, 48), (97, 131), (150, 200)])
def test_pixels_are_those_of_the_command_line(
    browser: Browser, site: Path, served_page: Callable[[Path], str], tmp_path: Path, height: int, width: int
) -> None:
    path, _ = saved(tmp_path / "photo.png", height, width)
    browser.open(served_page(site) + "?style=the-scream")
    browser.give(path)
    browser.finished(width, height)
    out = tmp_path / "out.png"
    assert (
        main(["stylize", str(path), "--style", "the-scream", "--out", str(out), "--precision", "fp32"]) == 0
    )
    near(browser.pixels(), open_rgb(out))


def test_the_engine_has_threads_and_nothing_is_reported(opened: tuple[Browser, NDArray[np.uint8]]) -> None:
    browser, _ = opened
    assert browser.js("self.crossOriginIsolated")
    told = [entry["message"] for entry in browser.driver.get_log("browser")]
    # That there is no server is asked with a request, and that there is no GPU by asking for one.
    known = ("api/info", "favicon", "No available adapters")
    assert not [message for message in told if not any(word in message for word in known)]


def test_a_tile_chooses_its_style_and_shows_this_picture(opened: tuple[Browser, NDArray[np.uint8]]) -> None:
    browser, rgb = opened
    near(browser.pixels(), expected(rgb, {1: 1}))
    browser.wait("document.querySelectorAll('.tile.own').length === 5")
    browser.click("[data-style=gray]")
    browser.settled()
    near(browser.pixels(), expected(rgb, {6: 1}))
    assert browser.find("[data-style=gray]").get_attribute("aria-pressed") == "true"
    assert browser.text("#label") == "Gray  A. Painter, 1900"


def test_a_blend_takes_up_to_four_styles_and_a_pad_weighs_them(
    opened: tuple[Browser, NDArray[np.uint8]],
) -> None:
    browser, rgb = opened
    browser.click("#blend")
    browser.click("[data-style=red]")
    browser.settled()
    near(browser.pixels(), expected(rgb, {1: 0.5, 2: 0.5}))
    knob = browser.find(".knob")
    for _ in range(5):
        knob.send_keys(Keys.ARROW_RIGHT)
    browser.settled()
    near(browser.pixels(), expected(rgb, {1: 0.25, 2: 0.75}))
    assert knob.get_attribute("aria-valuetext") == "25 % Negative, 75 % Red"
    for style in ("green", "blue", "gray"):
        browser.click(f"[data-style={style}]")
    browser.settled()
    assert len(browser.driver.find_elements("css selector", ".tile[aria-pressed=true]")) == 4
    assert "up to 4" in browser.text("#status")
    near(browser.pixels(), expected(rgb, {1: 0.25, 2: 0.25, 4: 0.25, 5: 0.25}))
    corner = browser.driver.find_elements("css selector", ".corner")[3]
    ActionChains(browser.driver).drag_and_drop(knob, corner).perform()
    browser.settled()
    assert "Blue" in knob.get_attribute("aria-valuetext")


@pytest.mark.parametrize(
    ("asked", "weights"),
    [
        ("style=negative:1,red:3", {1: 0.25, 2: 0.75}),
        ("style=negative,red,blue:2", {1: 0.25, 2: 0.25, 5: 0.5}),
        ("style=negative:4,red:1,green:2,gray:1", {1: 0.5, 2: 0.125, 4: 0.25, 6: 0.125}),
        ("style=negative:1e308,red:1e308", {1: 0.5, 2: 0.5}),
        ("style=red&stroke=2", {3: 1}),
    ],
)
def test_the_address_takes_what_the_command_line_takes(
    browser: Browser,
    gallery_site: Path,
    served_page: Callable[[Path], str],
    picture: tuple[Path, NDArray[np.uint8]],
    asked: str,
    weights: dict[int, float],
) -> None:
    browser.open(f"{served_page(gallery_site)}?{asked}")
    browser.give(picture[0])
    browser.finished(96, 64)
    near(browser.pixels(), expected(picture[1], weights))
    assert not browser.find("#notice").is_displayed()
    if len(weights) == 4:  # weights that no point of the pad has, until the knob is moved
        browser.find(".knob").send_keys(Keys.ARROW_LEFT)
        browser.settled()
        x, y = 0.25 - 0.05, 0.375  # the weighted mean of the corners, a step to the left
        corners = {1: (1 - x) * (1 - y), 2: x * (1 - y), 4: (1 - x) * y, 6: x * y}
        near(browser.pixels(), expected(picture[1], corners))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("style=rde", "style=rde: there is no style rde here; there are negative, red, green, blue, gray."),
        ("style=red:0", "weights above 0"),
        ("style=red,red", "red is given twice"),
        ("style=negative,red,green,blue,gray", "up to 4 styles"),
        ("strength=2", "strength=2: it is a number from 0 to 1."),
        (
            "stroke=wide&colors=match",
            "stroke=wide: it is a number from 0.5 to 3. colors=match: it is photo or",
        ),
        ("camera=yes", "camera=yes: it is 1 or 0."),
    ],
)
def test_what_an_address_cannot_have_is_said(
    browser: Browser, gallery_site: Path, served_page: Callable[[Path], str], asked: str, words: str
) -> None:
    browser.open(f"{served_page(gallery_site)}?{asked}")
    assert browser.find("#notice").is_displayed()
    assert words in browser.complaint()


def test_a_network_that_gives_no_numbers_is_an_error_and_no_black_picture(
    browser: Browser,
    own_site: Path,
    served_page: Callable[[Path], str],
    picture: tuple[Path, NDArray[np.uint8]],
) -> None:
    rows = [*ROWS[:-1], ("gray", 1.0, 0.0, (float("nan"), 0.5, 0.5))]
    (own_site / "model" / "tiny.onnx").write_bytes(gallery(rows))
    browser.open(served_page(own_site))
    browser.give(picture[0])
    assert "no valid picture" in browser.complaint()
    assert not browser.js("document.body.classList.contains('painted')")


def test_strength_strokes_and_colors(opened: tuple[Browser, NDArray[np.uint8]]) -> None:
    browser, rgb = opened
    browser.click("[data-style=red]")
    browser.set("#strength", 50)
    browser.settled()
    near(browser.pixels(), expected(rgb, {2: 0.4375}))  # seven eighths of the row in half of the result
    browser.set("#strength", 0)
    browser.settled()
    near(browser.pixels(), rgb, 0)
    browser.click("#reset")
    browser.set("#stroke", 100 * np.log(2) / np.log(3))  # the row of twice the scale alone
    browser.settled()
    assert browser.text("#stroke-value").startswith("2")
    # What is left of the size, 2 %, is made by resizing, which blurs edges.
    assert np.median(np.abs(browser.pixels() - expected(rgb, {3: 1}))) <= 2
    browser.click("#reset")
    browser.click("#colors")
    browser.settled()
    luma = expected(rgb, {2: 1}) @ [0.299, 0.587, 0.114]
    near((browser.pixels() @ [0.299, 0.587, 0.114])[..., None], luma[..., None])


def test_before_and_after_by_keyboard(opened: tuple[Browser, NDArray[np.uint8]]) -> None:
    browser, _ = opened
    browser.click("#before")
    assert browser.js("document.getElementById('frame').style.getPropertyValue('--cut')") == "50%"
    browser.find("#compare").send_keys(Keys.END)
    assert browser.js("document.getElementById('frame').style.getPropertyValue('--cut')") == "100%"
    assert browser.find("#compare").get_attribute("aria-valuetext") == "100 % original, 0 % stylized"
    browser.click("#before")
    assert not browser.find("#compare").is_displayed()


def test_the_brush_brings_the_original_back_by_mouse_and_keyboard(
    opened: tuple[Browser, NDArray[np.uint8]],
) -> None:
    browser, rgb = opened
    browser.click("#brush")
    veil = browser.find("#veil")
    ActionChains(browser.driver).move_to_element(veil).click().perform()
    near(browser.pixels()[30:34, 46:50], rgb[30:34, 46:50], 1)
    near(browser.pixels()[:8, :8], expected(rgb, {1: 1})[:8, :8])
    browser.click("#restore")
    browser.set("#brush-size", 40)  # its edge is soft, so that a smaller one would leave a trace
    ActionChains(browser.driver).move_to_element(veil).click().perform()
    near(browser.pixels(), expected(rgb, {1: 1}), 3)
    browser.set("#brush-size", 12)
    browser.click("#wipe")
    veil.send_keys(Keys.ARROW_LEFT * 10 + " ")
    assert np.abs(browser.pixels() - expected(rgb, {1: 1})).max() > 20
    browser.click("#clear-mask")
    near(browser.pixels(), expected(rgb, {1: 1}))
    browser.click("#brush")
    assert not veil.is_displayed()


def test_a_saved_picture_has_its_full_size_its_name_and_the_mask(
    opened: tuple[Browser, NDArray[np.uint8]],
) -> None:
    browser, rgb = opened
    browser.click("#brush")
    ActionChains(browser.driver).move_to_element(browser.find("#veil")).click().perform()
    browser.click("#brush")
    browser.click("#save")
    path = browser.downloaded(".png")
    found = open_rgb(path)
    assert path.name == "photo_negative.png"
    near(found[30:34, 46:50], rgb[30:34, 46:50], 1)
    near(found[:8, :8], expected(rgb, {1: 1})[:8, :8])
    path.unlink()


def test_the_limit_is_told_before_a_picture_is_saved(
    opened: tuple[Browser, NDArray[np.uint8]], tmp_path: Path
) -> None:
    browser, _ = opened
    assert browser.text("#limit") == "Saved at 96 × 64, its own size."
    path, _ = saved(tmp_path / "large.png", 200, 300)
    browser.give(path)
    browser.click("[name=size][value=full] + span")
    browser.wait("document.getElementById('limit').textContent.includes('300')")
    told = browser.text("#limit")
    assert told.startswith(
        "Saved at 122 × 82; the picture has 300 × 200, more than 0.01 megapixels, the limit in"
    )
    browser.click("#save")
    saved_file = browser.downloaded(".png")
    assert open_rgb(saved_file).shape == (82, 122, 3)
    saved_file.unlink()
    browser.click("[name=size][value=screen] + span")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("notes.png", "is not a picture that this browser can read. JPEG, PNG, WebP and AVIF are"),
        (
            "clip.mp4",
            "is a video. This page alone takes pictures and the webcam; for videos run: fast-nst web",
        ),
    ],
)
def test_other_files_are_refused_in_words(
    opened: tuple[Browser, NDArray[np.uint8]], tmp_path: Path, name: str, words: str
) -> None:
    browser, _ = opened
    (tmp_path / name).write_bytes(b"not a picture")
    browser.give(tmp_path / name)
    assert words in browser.complaint()
    browser.click("#notice-close")


def test_a_missing_network_is_told_in_words(
    browser: Browser,
    own_site: Path,
    served_page: Callable[[Path], str],
    picture: tuple[Path, NDArray[np.uint8]],
) -> None:
    (own_site / "model" / "tiny.onnx").unlink()
    browser.open(served_page(own_site))
    browser.give(picture[0])
    assert "model/tiny.onnx cannot be loaded (404); reload the page" in browser.complaint()


def test_the_webcam_is_stylized_recorded_and_stopped(
    browser: Browser, gallery_site: Path, served_page: Callable[[Path], str]
) -> None:
    browser.open(served_page(gallery_site))
    browser.click("#use-camera")
    browser.wait("Number(document.getElementById('result').dataset.frames) > 5")
    first = browser.pixels()
    browser.click("[data-style=gray]")
    browser.wait(f"Number(document.getElementById('result').dataset.frames) > {5 + 10}")
    near(browser.pixels(), np.full(browser.pixels().shape, 127.5), 1)
    assert first.std() > 10
    browser.click("#record")
    time.sleep(2)
    browser.click("#record")
    path = next(p for p in [browser.downloaded(suffix) for suffix in recordings(browser)] if p)
    assert path.stat().st_size > 1000
    path.unlink()
    browser.click("#camera")
    assert browser.js("document.getElementById('video').srcObject === null")
    assert not browser.find("#record").is_displayed()


def test_the_original_under_a_live_picture_is_the_frame_it_was_made_of(
    browser: Browser, gallery_site: Path, served_page: Callable[[Path], str]
) -> None:
    browser.open(served_page(gallery_site) + "?style=red&strength=0")
    browser.click("#use-camera")
    browser.wait("Number(document.getElementById('result').dataset.frames) > 5")
    browser.click("#before")  # from here on the original shows
    frames = int(browser.js("document.getElementById('result').dataset.frames"))
    browser.wait(f"Number(document.getElementById('result').dataset.frames) > {frames + 3}")
    both = "['content', 'result'].map((name) => document.getElementById(name).toDataURL())"
    original, stylized = browser.js(both)
    assert original == stylized
    browser.click("#before")
    browser.click("#camera")
    browser.click("#before")  # and this time only once the camera has stopped
    original, stylized = browser.js(both)
    assert original == stylized


STREAMS = """
const media = navigator.mediaDevices, real = media.getUserMedia.bind(media);
window.streams = [];
media.getUserMedia = async (wanted) => {
  await new Promise((resolve) => setTimeout(resolve, 500));  // a person reads what the browser asks
  streams.push(await real(wanted));
  return streams.at(-1);
};
"""


def test_asking_twice_for_the_camera_starts_it_once_and_stopping_ends_it(
    browser: Browser, gallery_site: Path, served_page: Callable[[Path], str]
) -> None:
    browser.open(served_page(gallery_site) + "?style=red")
    browser.driver.execute_script(STREAMS)
    for name in ("use-camera", "camera", "use-camera"):
        browser.driver.execute_script(f"document.getElementById('{name}').click()")
    browser.wait("Number(document.getElementById('result').dataset.frames) > 3")
    assert browser.js("streams.length") == 1
    browser.click("#camera")
    assert browser.js("streams[0].getTracks().every((track) => track.readyState === 'ended')")
    browser.click("#camera")
    browser.wait("streams.length === 2")
    browser.wait("document.getElementById('camera').textContent === 'Stop'")
    browser.click("#camera")


def test_a_camera_that_does_not_play_is_let_go(
    browser: Browser, gallery_site: Path, served_page: Callable[[Path], str]
) -> None:
    browser.open(served_page(gallery_site))
    browser.driver.execute_script(
        STREAMS + "HTMLMediaElement.prototype.play = () => Promise.reject(new Error('no decoder'))"
    )
    browser.click("#use-camera")
    assert "The camera does not play: no decoder" in browser.complaint()
    assert browser.js("streams[0].getTracks().every((track) => track.readyState === 'ended')")


def recordings(browser: Browser) -> list[str]:
    is_mp4 = browser.js("MediaRecorder.isTypeSupported('video/mp4;codecs=avc1.42E01E')")
    return [".mp4" if is_mp4 else ".webm"]


def test_the_picture_alone_for_other_programs(
    browser: Browser, gallery_site: Path, served_page: Callable[[Path], str]
) -> None:
    browser.open(served_page(gallery_site) + "?clean=1&camera=1&style=red&strength=0.5")
    browser.wait("Number(document.getElementById('result').dataset.frames) > 3")
    for selector in (".bar", ".panel", "#tools", "#label", "#badge"):
        assert not browser.find(selector).is_displayed(), selector
    assert browser.js("document.getElementById('strength').value") == "50"


def test_light_and_dark(browser: Browser, gallery_site: Path, served_page: Callable[[Path], str]) -> None:
    browser.open(served_page(gallery_site))
    for scheme in ("dark", "light"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.wait(f"document.documentElement.dataset.theme === '{scheme}'")
    browser.click("#theme")
    assert browser.js("document.documentElement.dataset.theme") == "dark"
    browser.driver.refresh()
    browser.wait("document.documentElement.dataset.theme === 'dark'")
    browser.driver.execute_script("localStorage.clear()")


def test_a_phone_shows_everything_within_its_width(opened: tuple[Browser, NDArray[np.uint8]]) -> None:
    browser, _ = opened
    browser.resize(390, 844)
    try:
        assert browser.js("document.documentElement.scrollWidth") <= 390
        for button in browser.driver.find_elements("css selector", "#tools button"):
            box = button.rect
            assert not button.is_displayed() or (box["x"] >= 0 and box["x"] + box["width"] <= 390), (
                button.text
            )
            assert not button.is_displayed() or min(box["width"], box["height"]) >= 24
    finally:
        browser.resize(1280, 860)


def test_the_focus_goes_through_the_page_in_order(opened: tuple[Browser, NDArray[np.uint8]]) -> None:
    browser, _ = opened
    browser.driver.execute_script("document.activeElement.blur()")
    seen = []
    for _ in range(22):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(browser.js("document.activeElement.id || document.activeElement.classList[0]"))
    wanted = ["skip", "theme", "open", "camera", "before", "brush", "save", "blend", "tile", "strength"]
    assert [name for name in seen if name in wanted][: len(wanted) - 1] == [*wanted[:8], "tile"]
    assert "strength" in seen
    assert "colors" in seen


def test_it_works_with_the_network_cut(
    browser: Browser, gallery_site: Path, tmp_path: Path, picture: tuple[Path, NDArray[np.uint8]]
) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(gallery_site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # and without any header of ours
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    browser.open(f"http://127.0.0.1:{server.server_address[1]}/")
    browser.wait("self.crossOriginIsolated && document.body.dataset.ready === 'yes'")
    browser.give(picture[0])
    browser.finished(96, 64)
    server.shutdown()
    server.server_close()
    thread.join()
    # Not by the driver's refresh, which goes past service workers.
    browser.open(f"http://127.0.0.1:{server.server_address[1]}/")
    assert browser.js("self.crossOriginIsolated")
    browser.give(picture[0])
    browser.finished(96, 64)
    near(browser.pixels(), expected(picture[1], {1: 1}))

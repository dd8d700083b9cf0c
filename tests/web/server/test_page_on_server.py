"""The page in Chromium with its server behind it: pictures, videos, the webcam, the token."""

from __future__ import annotations

import importlib.util
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from fast_nst.cli.main import main
from fast_nst.models.model_files import read_metadata
from fast_nst.web.export_page import page_files

if TYPE_CHECKING:
    from tests.web.server.conftest import Running


def loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("page_in_chromium", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
chromium = loaded(Path(__file__).parents[1] / "test_browser.py")
ENGINE = ["--backend", "torch", "--device", "cpu", "--precision", "fp32"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    found = chromium.Browser(tmp_path_factory.mktemp("downloads"))
    yield found
    found.driver.quit()


@pytest.fixture(scope="module")
def open_server(launch: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that only those with the token can use; its page has no engine of its own."""
    page = tmp_path_factory.mktemp("page")
    for file in page_files():
        shutil.copy(file, page)
    return launch(["--host", "0.0.0.0"], page=page)


@pytest.fixture
def page(browser: Any, open_server: Any) -> Any:
    """The page at the address that the server printed, as this machine sees it."""
    browser.open(str(httpx.URL(open_server.url).copy_with(host="127.0.0.1")))
    return browser


def test_a_picture_is_shown_and_saved_as_the_command_writes_it(
    page: Any, picture: Callable[..., bytes], styles: list[Path], tmp_path: Path
) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out.png"
    photo.write_bytes(picture(1, 64, 96))
    assert main(["stylize", str(photo), "--style", str(styles[0]), "--out", str(out), *ENGINE]) == 0
    page.give(photo)
    page.finished(96, 64)
    assert "server" in page.text("#where")
    np.testing.assert_array_equal(page.pixels(), np.asarray(Image.open(out).convert("RGB")))
    page.click("#save")
    saved = page.downloaded(".png")
    assert saved.read_bytes() == out.read_bytes()
    saved.unlink()


def test_a_blend_of_the_gallery_is_one_pass(
    page: Any, picture: Callable[..., bytes], gallery: Path, tmp_path: Path
) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out.png"
    photo.write_bytes(picture(2, 64, 96))
    page.click("[data-style=one]")
    page.set("#strength", 60)
    page.give(photo)
    page.finished(96, 64)
    style = [f"{gallery}#one", "--strength", "0.6", "--out", str(out)]
    assert main(["stylize", str(photo), "--style", *style, *ENGINE]) == 0
    np.testing.assert_array_equal(page.pixels(), np.asarray(Image.open(out).convert("RGB")))


@pytest.fixture
def add_painting(page: Any, picture: Callable[..., bytes], tmp_path: Path) -> Callable[[], None]:
    """The page with a stylized photograph, to which one's own painting can be added as a style."""
    photo, painting = tmp_path / "photo.png", tmp_path / "my_dream.png"
    photo.write_bytes(picture(2, 64, 96))
    painting.write_bytes(picture(8, 64, 96))
    page.give(photo)
    page.finished(96, 64)

    def add() -> None:
        page.find("#painting-file").send_keys(str(painting))
        page.wait("document.querySelector('[data-style^=painting-][aria-pressed=true]')")

    return add


def test_ones_own_painting_becomes_the_chosen_style(page: Any, add_painting: Callable[[], None]) -> None:
    before = page.pixels()
    add_painting()
    assert page.text("[data-style^=painting-] .name") == "my dream"
    page.finished(96, 64)
    assert np.abs(page.pixels().astype(int) - before).mean() > 1


def test_ones_own_painting_is_refined_until_it_is_stopped_and_kept_as_a_file(
    page: Any, add_painting: Callable[[], None]
) -> None:
    assert not page.find("#refine").is_displayed()
    add_painting()
    page.wait("!document.querySelector('#refine').hidden")
    page.click("#refine")
    page.wait("/Refining, [1-9]/.test(document.querySelector('#refine').textContent)")
    assert page.find("#refine").get_attribute("aria-pressed") == "true"
    page.click("#refine")
    page.wait("document.querySelector('#refine').textContent === 'Refine, 3 minutes'")
    page.finished(96, 64)
    assert not page.find("#notice").is_displayed()
    page.click("#keep")
    saved = page.downloaded(".safetensors")
    assert load_gallery_rows(saved) == ["painting", "painting"]
    page.click("[data-style=one]")
    assert not page.find("#refine").is_displayed()


def load_gallery_rows(file: Path) -> list[str]:
    """The styles of a file's own rows, by the first word of their names."""
    return [str(row["style"]).partition("-")[0] for row in read_metadata(file)["rows"]]


def test_the_webcam_is_stylized_by_the_server(page: Any) -> None:
    page.click("#use-camera")
    page.wait("Number(document.getElementById('result').dataset.frames) > 3")
    assert page.pixels().shape == (480, 640, 3)
    assert page.pixels().std() > 5
    page.click("#camera")
    assert not page.find("#notice").is_displayed()


def test_a_video_is_saved_with_its_sound(page: Any, clip: Callable[..., Path]) -> None:
    page.give(clip("clip.mp4", frames=10, sound=["aac"]))
    saved = page.downloaded(".mp4")
    with av.open(io.BytesIO(saved.read_bytes())) as video:
        assert len(video.streams.audio) == 1
        assert len(list(video.decode(video=0))) == 10
    saved.unlink()


def test_without_the_token_the_page_says_what_to_do(browser: Any, open_server: Any) -> None:
    browser.driver.get(f"{open_server.base}/")
    browser.wait("document.body.innerText.length > 0")
    assert not browser.js("document.body.innerText.includes('undefined')")


def test_on_a_phone_the_head_of_the_page_stays_small_and_nothing_is_wider_than_the_screen(page: Any) -> None:
    page.js(
        "document.getElementById('engine-choice').hidden = false"
    )  # as where the browser has an engine too
    page.js("document.getElementById('engine').add(new Option('on the server (cpu fp32 openvino)'))")
    page.resize(390, 844)
    try:
        assert page.js("document.documentElement.scrollWidth") <= 390
        assert page.js("document.querySelector('header').offsetHeight") < 120
    finally:
        page.resize(1280, 900)

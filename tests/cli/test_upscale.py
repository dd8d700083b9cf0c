"""``fast-nst upscale``: stylize's files and words, another kind of network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from fast_nst.cli import main, models, stylize, upscale
from fast_nst.config import UPSCALE_PRESETS
from fast_nst.inference.upscaler import Upscaler
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.model_files import bundled_networks, bundled_upscalers
from fast_nst.models.upscale_net import UpscaleNet

if TYPE_CHECKING:
    from tests.cli.conftest import Said


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a network called ``large`` that upscales by 4."""
    torch.manual_seed(0)
    network = UpscaleNet(replace(UPSCALE_PRESETS["modern"], width=4, blocks=1))
    path = tmp_path_factory.mktemp("models") / "large.safetensors"
    save_checkpoint(path, network, {"style": "large", "steps": 7, "recipe": {"loss": "feature"}})
    return str(path)


@pytest.fixture
def enlarge(said: Callable[..., Said], model: str) -> Callable[..., Said]:
    """``upscale ARGUMENTS`` with the test's model."""
    return lambda *arguments: said(upscale.main, [*arguments, "--model", model, "--device", "cpu"])


def size(path: Path | str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_a_picture_becomes_four_times_as_large_and_is_named_after_the_model(
    enlarge: Callable[..., Said], picture: Callable[..., Path], model: str
) -> None:
    picture("a.png", 11, 14)
    answer = enlarge("a.png")
    assert (answer.code, answer.out) == (0, ["a_large.png"])
    assert answer.err == [f"large, {Upscaler(model, device='cpu')}"]
    assert size("a_large.png") == (56, 44)


def test_folders_are_kept_and_videos_in_them_reported(
    enlarge: Callable[..., Said], picture: Callable[..., Path], clip: Callable[..., Path]
) -> None:
    picture("in/a.png")
    picture("in/deep/b.jpg")
    clip("in/c.mp4", frames=2)
    answer = enlarge("in", "--out", "out")
    assert answer.code == 1
    assert sorted(answer.out) == ["out/a.png", "out/deep/b.jpg"]
    assert "error: in/c.mp4 is a video; fast-nst upscale takes pictures" in answer.errors


def test_alpha_is_kept(enlarge: Callable[..., Said], picture: Callable[..., Path]) -> None:
    picture("a.png", mode="RGBA")
    enlarge("a.png", "--out", "b.png")
    with Image.open("b.png") as image:
        assert (image.mode, image.size) == ("RGBA", (56, 44))


def test_histograms_are_matched_unless_reported_otherwise(
    enlarge: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    picture("a.png")
    for choice in ("auto", "on", "off"):
        enlarge("a.png", "--out", f"{choice}.png", "--match-histogram", choice)
    found = {name: np.asarray(Image.open(f"{name}.png")) for name in ("auto", "on", "off")}
    np.testing.assert_array_equal(found["auto"], found["on"])
    assert (found["on"] != found["off"]).any()


def test_records_say_the_size_of_the_result(
    enlarge: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    picture("a.png", 11, 14)
    (line,) = enlarge("a.png", "--json").out
    record = json.loads(line)
    assert (record["width"], record["height"], record["style"], record["ok"]) == (56, 44, "large", True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--factor", "8"], "upscales by 4, got --factor 8; give another --model"),
        (["--style", "x"], "unknown option --style"),
        (["--out", "b.xyz"], "cannot write '.xyz'"),
        (["--memory", "1MB"], "more are needed; give more --memory"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    enlarge: Callable[..., Said], picture: Callable[..., Path], arguments: list[str], reason: str
) -> None:
    picture("a.png")
    answer = enlarge("a.png", *arguments)
    assert answer.code in (1, 2)
    (line,) = answer.errors
    assert reason in line


def test_a_style_and_a_model_are_not_taken_for_each_other(
    said: Callable[..., Said], picture: Callable[..., Path], model: str, style: str
) -> None:
    picture("a.png")
    (line,) = said(upscale.main, ["a.png", "--model", style]).errors
    assert line.endswith("is a style, not a super-resolution model: stylize.py takes it")
    (line,) = said(stylize.main, ["a.png", "--style", model]).errors
    assert line.endswith("is a super-resolution model, not a style: fast-nst upscale takes it")


def test_bundled_models_are_listed_and_found_by_the_factor(
    said: Callable[..., Said],
    picture: Callable[..., Path],
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "bundle").mkdir()
    shutil.copy(model, tmp_path / "bundle/x4.safetensors")
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(tmp_path / "bundle"))
    (line,) = said(models.main, []).out
    assert line.split()[:5] == ["x4", "x4", "feature", "7", "steps"]
    (line,) = said(main.main, ["models", "--json"]).out
    assert json.loads(line)["upscaler"]["factor"] == 4
    picture("a.png")
    assert said(upscale.main, ["a.png", "--factor", "4", "--device", "cpu"]).code == 0
    (line,) = said(upscale.main, ["a.png", "--factor", "8"]).errors
    assert "unknown model 'x8'; bundled: x4; or give a .safetensors file" in line


def test_a_bundled_model_is_no_bundled_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, style: str
) -> None:
    for name, file in (("x4", model), ("dots", style)):
        shutil.copy(file, tmp_path / f"{name}.safetensors")
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(tmp_path))
    assert list(bundled_networks()) == ["dots"]
    assert list(bundled_upscalers()) == ["x4"]


def test_without_arguments_it_explains_itself(said: Callable[..., Said]) -> None:
    answer = said(upscale.main, [])
    assert answer.code == 2
    assert any("fast-nst upscale photo.jpg" in line for line in answer.err)


def test_the_help_does_not_speak_of_videos(capsys: pytest.CaptureFixture[str]) -> None:
    assert upscale.main(["--help"]) == 0
    assert not {"video", "videos", "film", "mp4"} & set(re.findall(r"\w+", capsys.readouterr().out))

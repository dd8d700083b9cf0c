"""``--style painting.jpg``: a style predicted at once, kept, and trained on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from fast_nst.config import GalleryNetConfig, StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.styles import choose_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.models.checkpoint import load_gallery, save_checkpoint
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import CheckpointError

if TYPE_CHECKING:
    from tests.cli.conftest import Said


def painting(path: Path, seed: int = 0) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((60, 45), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only bundled model: a gallery of two styles, the first of two stroke scales."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    rows = [{"style": style, "scale": scale} for style, scale in ((None, 0.0), ("one", 1.0), ("two", 1.0))]
    torch.manual_seed(0)
    network = GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1, rows=3)).eval()
    save_checkpoint(folder / "gallery.safetensors", network, {"style": "gallery", "rows": rows})
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(folder))
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return folder / "gallery.safetensors"


def test_a_painting_is_a_style_of_the_gallery(gallery: Path, tmp_path: Path) -> None:
    choice = choose_style(str(painting(tmp_path / "my_work, 2.png")))
    assert choice.name == "my-work-2"
    assert choice.weights == {"my-work-2": 1.0}
    made = load_gallery(choice.file)
    assert made.network.config.rows == 4
    assert made.metadata["rows"][-1] == {"style": "my-work-2", "scale": 1.0}
    image = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    assert Stylizer.load(choice, backend="torch", device="cpu")(image).shape == image.shape


def test_it_is_predicted_once_and_again_when_the_painting_changes(gallery: Path, tmp_path: Path) -> None:
    path = painting(tmp_path / "a.png")
    first = choose_style(str(path)).file
    written = first.stat().st_mtime_ns
    assert choose_style(str(path)).file == first
    assert first.stat().st_mtime_ns == written
    first.write_bytes(first.read_bytes()[:-40])  # damaged: made again
    assert load_gallery(choose_style(str(path)).file).network.config.rows == 4
    painting(path, seed=1)
    assert choose_style(str(path)).file != first


def test_a_name_that_the_gallery_has_stays_its_own(gallery: Path, tmp_path: Path) -> None:
    assert choose_style(str(painting(tmp_path / "two.png"))).name == "two-2"


def test_without_a_gallery_a_picture_is_no_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gallery: Path
) -> None:
    gallery.unlink()
    with pytest.raises(CheckpointError, match="is a picture, not a model"):
        choose_style(str(painting(tmp_path / "a.png")))


@pytest.mark.slow
def test_refining_trains_on_the_pictures_and_keeps_the_style(
    gallery: Path, tmp_path: Path, said: Callable[..., Said]
) -> None:
    from fast_nst.cli.stylize import main

    style, photo = painting(tmp_path / "a.png"), painting(tmp_path / "photo.png", seed=3)
    flags = [photo, "--style", style, "--device", "cpu", "--backend", "torch"]
    plain = said(main, [*flags, "--out", "plain.png"])
    assert plain.code == 0
    assert any("--refine 3m" in line for line in plain.err)
    refined = said(main, [*flags, "--out", "refined.png", "--refine", "1s"])
    assert refined.code == 0
    assert Path(refined.out[0]).name == "refined.png"

    def pixels(name: str) -> Any:
        with Image.open(name) as image:
            return np.asarray(image).astype(int)

    assert np.abs(pixels("refined.png") - pixels("plain.png")).max() > 0
    again = said(main, [*flags, "--out", "again.png", "--refine", "1s"])
    assert not any("training the style" in line for line in again.err)
    np.testing.assert_array_equal(pixels("again.png"), pixels("refined.png"))


@pytest.mark.parametrize("time", ["soon", "0", "-1m", "601m"])
def test_a_time_that_is_none_is_refused(time: str) -> None:
    with pytest.raises(InputError, match="--refine is a time such as 3m or 90s"):
        StylizeConfig(refine=time)


def test_times_have_units() -> None:
    assert StylizeConfig(refine="3m").refine_minutes == 3
    assert StylizeConfig(refine="90s").refine_minutes == 1.5
    assert StylizeConfig(refine="2").refine_minutes == 2


def test_refining_is_for_paintings(gallery: Path, tmp_path: Path, said: Callable[..., Said]) -> None:
    from fast_nst.cli.stylize import main

    photo = painting(tmp_path / "photo.png", seed=3)
    answer = said(main, [photo, "--style", "one", "--refine", "1s"])
    assert answer.code == 2
    assert any("--refine is for --style PAINTING.jpg" in line for line in answer.err)

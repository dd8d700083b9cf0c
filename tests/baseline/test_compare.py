"""The comparison: both sides on one objective, kept piece by piece, and its report."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fast_nst.baseline.compare import Comparison, first_below
from fast_nst.baseline.comparison_report import write_comparison
from fast_nst.config import LossConfig, NetworkConfig
from fast_nst.config.baseline import CompareConfig
from fast_nst.errors import InputError
from fast_nst.io.images import save_image
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.transform_net import TransformNet
from fast_nst.serialization import to_dict

LOSS = LossConfig(content_layers=("relu2_1",), style_layers=("relu1_1", "relu2_1"))


@pytest.fixture
def material(tmp_path, picture) -> Path:
    """Two photographs and, in the folder beside theirs, the painting of a style."""
    for name, seed in (("content/a", 0), ("content/b", 1), ("styles/dots", 2), ("styles/other", 3)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_image(tmp_path / f"{name}.png", picture(seed, 40, 48))
    torch.manual_seed(0)
    about = {
        "style": "dots",
        "steps": 3,
        "style_sha256": sha256((tmp_path / "styles/dots.png").read_bytes()).hexdigest(),
        "recipe": {"style": "dots.png", "style_size": 32, "loss": to_dict(LOSS)},
    }
    save_checkpoint(tmp_path / "dots.safetensors", TransformNet(NetworkConfig((4, 4, 8), 1)), about)
    return tmp_path


@pytest.fixture
def config(material, weights) -> CompareConfig:
    return CompareConfig(
        style=str(material / "dots.safetensors"),
        content=material / "content",
        sizes=(32,),
        photos=(2,),
        iterations=6,
        timed=3,
        vgg_weights=weights,
        device="cpu",
        out=material / "out",
    )


def test_both_methods_are_judged_by_the_objective_the_style_was_trained_with(config, picture):
    comparison = Comparison(config)
    assert comparison.objective.config == LOSS
    assert len(list(comparison)) == len(comparison.pieces) == 5
    (noise, photo) = comparison.losses
    assert (noise.start, photo.start, noise.photos) == ("noise", "photo", 2)
    assert noise.network == photo.network
    # A descent from the photograph begins at the photograph's own value.
    assert photo.curve[0] == pytest.approx(photo.photo, rel=1e-5)
    assert all(later <= earlier for earlier, later in zip(photo.curve, photo.curve[1:], strict=False))


def test_the_report_has_both_tables_and_everything_that_the_page_shows(config):
    comparison = Comparison(config)
    list(comparison)
    index = write_comparison(comparison)
    out = config.out
    assert {"table.md", "results.json", "speed.png", "loss.png", "index.html"} <= {
        p.name for p in out.iterdir()
    }
    page = index.read_text()
    for name in ("speed.png", "loss.png", "pictures/32.png"):
        assert f'src="{name}"' in page
        assert (out / name).stat().st_size > 1000
    results = json.loads((out / "results.json").read_text())
    (row,) = results["speed"]
    assert row["network"] > 0
    assert results["about"]["precision"] == "fp32"
    ratio = f"{500 * row['iteration'] / row['network']:.0f}×"
    assert ratio in (out / "table.md").read_text()


def test_an_interrupted_comparison_goes_on_with_what_is_missing(config, material):
    for done in Comparison(config):
        if done.done == 2:
            break
    first = config.out / "runs/32_noise_a.json"
    stamp = first.stat().st_mtime_ns
    comparison = Comparison(config)
    list(comparison)
    assert first.stat().st_mtime_ns == stamp
    assert comparison.losses[0].photos == 2


def test_one_half_can_be_left_out(config):
    speed = Comparison(replace(config, only="speed"))
    assert speed.pieces == ["speed_32"]
    list(speed)
    write_comparison(speed)
    assert not (config.out / "loss.png").exists()
    assert not any(name.startswith("speed") for name in Comparison(replace(config, only="loss")).pieces)


def test_the_iteration_that_passes_the_network_counts_from_one():
    assert first_below([5, 4, 3, 2], 3.5) == 3
    assert first_below([5, 4], 5) == 1
    assert first_below([5, 4], 1) is None


def change(config: CompareConfig, material: Path, what: str) -> CompareConfig:
    if what == "gone":
        (material / "styles/dots.png").unlink()
        return config
    if what == "other":
        return replace(config, painting=material / "styles/other.png")
    if what == "empty":
        (material / "empty").mkdir()
        return replace(config, content=material / "empty")
    return replace(config, content=None)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("gone", "the painting of dots, dots.png, is neither in the current folder nor near"),
        ("other", "is not the file that dots was trained from"),
        ("empty", "holds no photographs"),
        ("none", "no photographs were given: --content PHOTO or FOLDER"),
    ],
)
def test_what_cannot_be_compared_is_refused(config, material, what, told):
    with pytest.raises(InputError, match=told):
        Comparison(change(config, material, what))


def test_a_painting_that_was_renamed_and_is_another_is_not_taken(config, material):
    (material / "styles/other.png").replace(material / "styles/dots.png")
    with pytest.raises(InputError, match="give it with --painting FILE"):
        Comparison(config)


def test_values_are_those_of_the_objective(config, picture):
    comparison = Comparison(config)
    photo, image = picture(0), picture(5)
    target = comparison.objective.content_target(photo[None])
    wanted: Tensor = comparison.objective(image[None], target).total
    assert comparison._value(image, photo) == pytest.approx(wanted.item(), rel=1e-6)

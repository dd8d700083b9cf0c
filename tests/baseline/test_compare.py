"""The comparison: both sides on one objective, kept piece by piece, and its report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fast_nst.baseline.compare import Comparison, _loss_of, first_below, square
from fast_nst.baseline.comparison_report import write_comparison
from fast_nst.config import LossConfig, NetworkConfig
from fast_nst.config.baseline import CompareConfig
from fast_nst.errors import InputError
from fast_nst.inference.styles import bundled_styles, choose_style
from fast_nst.io.images import load_image, save_image
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.vgg import WeightsError
from fast_nst.serialization import to_dict

LOSS = LossConfig(content_layers=("relu2_1",), style_layers=("relu1_1", "relu2_1"))


@pytest.fixture
def material(tmp_path: Path, picture: Callable[..., Tensor]) -> Path:
    """Two photographs and, in the folder beside theirs, the painting of a style."""
    for name, seed in (("content/a", 0), ("content/b", 1), ("styles/dots", 2), ("styles/other", 3)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_image(tmp_path / f"{name}.png", picture(seed, 40, 48))
    torch.manual_seed(0)
    metadata = {
        "style": "dots",
        "steps": 3,
        "style_sha256": sha256((tmp_path / "styles/dots.png").read_bytes()).hexdigest(),
        "recipe": {"style": "dots.png", "style_size": 32, "loss": to_dict(LOSS)},
    }
    save_checkpoint(tmp_path / "dots.safetensors", TransformNet(NetworkConfig((4, 4, 8), 1)), metadata)
    return tmp_path


@pytest.fixture
def config(material: Path, weights: Path) -> CompareConfig:
    return CompareConfig(
        style=str(material / "dots.safetensors"),
        content=material / "content",
        sizes=(32,),
        images=(2,),
        iterations=6,
        timed=3,
        vgg_weights=weights,
        device="cpu",
        out=material / "out",
    )


def test_a_checkpoint_without_an_objective_has_the_one_of_its_time() -> None:
    loss = _loss_of({"loss": {"style_weight": 5.0, "content_layers": ["relu2_2"]}, "grid_weight": 3.0})
    assert loss == LossConfig("dimensionless", style_weight=5.0, grid_weight=3.0)
    assert _loss_of({"loss": to_dict(LossConfig())}) == LossConfig()


def test_both_methods_are_judged_by_the_objective_the_style_was_trained_with(
    config: CompareConfig, picture: Callable[..., Tensor]
) -> None:
    comparison = Comparison(config)
    assert comparison.objective.config == LOSS
    assert len(list(comparison)) == len(comparison.pieces) == 5
    (noise, photo) = comparison.losses
    assert (noise.start, photo.start, noise.images) == ("noise", "content", 2)
    assert noise.network == photo.network
    # A descent from the photograph begins at the photograph's own value.
    assert photo.curve[0] == pytest.approx(photo.content_image, rel=1e-5)
    assert all(later <= earlier for earlier, later in zip(photo.curve, photo.curve[1:], strict=False))


def test_the_report_has_both_tables_and_everything_that_the_page_shows(config: CompareConfig) -> None:
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
    table = (out / "table.md").read_text()
    for ratio in (n * row["iteration"] / row["network"] for n in (100, 300, 500)):
        shown = [float(cell.replace(",", "")) for cell in re.findall(r"([\d,.]+)×", table)]
        assert any(number == pytest.approx(ratio, rel=0.05) for number in shown)


@pytest.mark.slow
def test_the_report_is_written_for_a_person(config: CompareConfig) -> None:
    """The style image is shown, facts are in words, and there is no spread of a single image."""
    for name, images in (("one", 1), ("two", 2)):
        comparison = Comparison(replace(config, images=(images,), out=config.out / name))
        list(comparison)
        page = write_comparison(comparison).read_text()
        table = (config.out / name / "table.md").read_text()
        for text in (page, table):
            assert "pictures/style_image.jpg" in text
            assert not re.search(r"[{}]|\b1 (threads|iterations|images|steps)\b", without_css(text))
            assert ("±" in text) == (images > 1)
            assert "style at relu1_1, relu2_1 (weight" in text
            assert f"{torch.get_num_threads()} thread" in text
        shown = load_image(config.out / name / "pictures/style_image.jpg")
        assert shown.shape == comparison.style_image.shape


def without_css(text: str) -> str:
    return re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL)


def test_an_interrupted_comparison_goes_on_with_what_is_missing(
    config: CompareConfig, material: Path
) -> None:
    for done in Comparison(config):
        if done.done == 2:
            break
    first = config.out / "runs/32_noise_a.json"
    stamp = first.stat().st_mtime_ns
    comparison = Comparison(config)
    list(comparison)
    assert first.stat().st_mtime_ns == stamp
    assert comparison.losses[0].images == 2


def test_one_half_can_be_left_out(config: CompareConfig) -> None:
    speed = Comparison(replace(config, only="speed"))
    assert speed.pieces == ["speed_32"]
    list(speed)
    write_comparison(speed)
    assert not (config.out / "loss.png").exists()
    assert not any(name.startswith("speed") for name in Comparison(replace(config, only="loss")).pieces)


def test_the_iteration_that_passes_the_network_counts_from_one() -> None:
    assert first_below([5, 4, 3, 2], 3.5) == 3
    assert first_below([5, 4], 5) == 1
    assert first_below([5, 4], 1) is None


def change(config: CompareConfig, material: Path, what: str) -> CompareConfig:
    if what == "gone":
        (material / "styles/dots.png").unlink()
        return config
    if what == "other":
        return replace(config, style_image=material / "styles/other.png")
    if what == "empty":
        (material / "empty").mkdir()
        return replace(config, content=material / "empty")
    return replace(config, content=None)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("gone", r"the style image of dots \(dots.png\) is not in the current folder"),
        ("other", "is not the image that dots was trained from"),
        ("empty", "contains no images"),
        ("none", "no content image was given: --content IMAGE or FOLDER"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    config: CompareConfig, material: Path, what: str, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        Comparison(change(config, material, what))


def test_a_style_image_that_was_renamed_and_is_another_is_not_taken(
    config: CompareConfig, material: Path
) -> None:
    (material / "styles/other.png").replace(material / "styles/dots.png")
    with pytest.raises(InputError, match="give it with --style-image FILE"):
        Comparison(config)


def test_values_are_those_of_the_objective(config: CompareConfig) -> None:
    comparison = Comparison(replace(config, only="loss", images=(1,)))
    list(comparison)
    content = square(comparison.files[0], 32)
    target = comparison.objective.content_target(content[None])
    for image, value in (
        (content, comparison.losses[0].content_image),
        (comparison.stylizer(content), comparison.losses[0].network),
    ):
        wanted: Tensor = comparison.objective(image[None], target).total
        assert value == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if "starry" in name else pytest.mark.slow)
        for name in sorted(bundled_styles())
    ],
)
def test_a_bundled_style_is_compared_with_nothing_at_hand(config: CompareConfig, name: str) -> None:
    """Its style image comes with the package: small, short side 512 pixels."""
    file = choose_style(name).painting
    assert file is not None
    assert file.stat().st_size < 100_000
    image = load_image(file)
    assert min(image.shape[-2:]) == 512
    with pytest.raises(WeightsError, match="lacks"):  # the test's network is too shallow: all else was found
        Comparison(replace(config, style=name))

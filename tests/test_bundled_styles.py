"""The styles that come with the package: small, documented, and as good as the README says."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fast_nst.config import PRESETS
from fast_nst.inference.styles import choose_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import find_pictures, load_image
from fast_nst.models.checkpoint import load_checkpoint, read_tensors
from fast_nst.models.model_files import bundled_networks
from fast_nst.models.vgg import load_vgg

NAMES = sorted(bundled_networks())


def test_six_full_width_networks_are_bundled_at_least() -> None:
    kandinsky = ("composition-vii", "composition-viii")
    styles = (*kandinsky, "starry-night", "the-great-wave", "the-scream", "blue-horses")
    assert {f"{name}-full" for name in styles} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_style_is_small_and_of_full_width(name: str) -> None:
    path = bundled_networks()[name]
    assert path.stat().st_size < 4e6
    assert load_checkpoint(path).network.config == PRESETS["default"]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_style_says_how_it_was_made(name: str) -> None:
    metadata = read_tensors(bundled_networks()[name])[1]
    assert f"{metadata['style']}-full" == name
    assert metadata["licence"] == "MIT"
    recipe = metadata["recipe"]
    assert 0 < metadata["steps"] <= recipe["steps"]
    assert metadata["steps"] == recipe["steps"] or metadata["seconds"] >= 60 * recipe["minutes"]
    assert metadata["steps"] >= 2500 or recipe["warm_start"]
    assert len(metadata["style_sha256"]) == len(metadata["vgg_sha256"]) == 64
    assert "/" not in recipe["style"] + recipe["dataset"] + str(recipe["warm_start"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_style_leaves_no_grid_in_smooth_gradients(
    name: str, benchmark: Callable[[str], ModuleType]
) -> None:
    checkerboard = benchmark("checkerboard")
    stylize = Stylizer.load(name, device="cpu", precision="fp32")
    painted = [stylize(picture) for picture in checkerboard.gradients(6)]
    for period in (2, 4):
        assert statistics.median(checkerboard.grid(picture, period) for picture in painted) < 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_style_stylizes_every_content_image_differently(name: str) -> None:
    """Neither the content image unchanged nor one result for all, and nothing near black or white."""
    stylize = Stylizer.load(name, device="cpu")
    photos = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    photos = torch.nn.functional.interpolate(photos, size=(96, 128), mode="bicubic").clamp(0, 1)
    painted = stylize(photos)
    assert (painted - photos).abs().mean() > 0.05
    assert (painted[0] - painted[1]).abs().mean() > 0.05
    assert 0.1 < painted.mean() < 0.9
    assert painted.std() > 0.05


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_style_comes_near_its_style_image_and_keeps_the_content(
    name: str, shared: Path, benchmark: Callable[[str], ModuleType]
) -> None:
    distance = benchmark("style_distance")
    vgg = load_vgg("vgg19", distance.LAYERS, file=shared / "weights" / "vgg19-imagenet-fp16.safetensors")
    style_image = distance.style_image_of(choose_style(name), None)
    files = [p for p in find_pictures(shared / "data" / "content") if p.name.startswith("coco")][::8]
    row = distance.measure(name, [load_image(p, size=512) for p in files], style_image, vgg, None)
    # Wide limits, for any style worth shipping; on 32 images the aim is 0.15 and 1.0.
    assert row["ratio"] < 0.5
    assert row["content"] < 1.3
    assert abs(row["frame"]) < 6

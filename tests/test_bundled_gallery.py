"""The gallery that comes with the package: small, complete, and its styles unlike each other."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from fast_nst.inference.styles import choose_style, gallery_styles
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import find_pictures, from_uint8, load_image
from fast_nst.models.gallery_files import gallery_rows
from fast_nst.models.model_files import bundled_galleries, read_metadata
from fast_nst.models.reference_picture import reference_picture
from fast_nst.models.vgg import load_vgg

FILE = bundled_galleries()["gallery"]
NAMES = gallery_styles(FILE)


@pytest.fixture(scope="module")
def gallery() -> Stylizer:
    return Stylizer.load("gallery", device="cpu", precision="fp32", backend="torch")


@pytest.fixture(scope="module")
def results(gallery: Stylizer) -> dict[str, NDArray[np.float64]]:
    return {name: gallery.mix({name: 1.0})(reference_picture(160, 160)).astype(float) for name in NAMES}


def test_it_has_sixteen_styles_of_two_stroke_scales_in_two_megabytes() -> None:
    rows = gallery_rows(FILE, read_metadata(FILE))
    assert len(NAMES) >= 16
    assert len(rows) == 2 * len(NAMES) + 1
    assert FILE.stat().st_size <= 2e6


def test_every_style_says_whose_painting_it_is_and_brings_it() -> None:
    styles = read_metadata(FILE)["styles"]
    assert [style["id"] for style in styles] == NAMES
    for style in styles:
        assert style["title"]
        assert style["artist"]
        assert style["year"]
        assert (FILE.parent / "paintings" / f"{style['id']}.jpg").is_file()


def test_styles_differ_from_each_other_and_from_the_content(results: dict[str, NDArray[np.float64]]) -> None:
    content = reference_picture(160, 160).astype(float)
    for name, made in results.items():
        assert np.abs(made - content).mean() > 10, name
        assert made.std() > 10, name
    for one, other in itertools.combinations(results, 2):
        assert np.abs(results[one] - results[other]).mean() > 5, (one, other)


def test_colors_are_those_of_the_painting(results: dict[str, NDArray[np.float64]]) -> None:
    for name, made in results.items():
        painting = load_image(FILE.parent / "paintings" / f"{name}.jpg", short_side=160).numpy() * 255
        assert np.abs(made.mean(axis=(0, 1)) - painting.mean(axis=(1, 2))).max() < 60, name


def test_eleven_steps_from_the_content_to_a_style_and_from_style_to_style_go_one_way(
    gallery: Stylizer,
) -> None:
    content, style = reference_picture(96, 96), {"starry-night": 1.0}
    stronger = [
        np.abs(gallery.mix(style, strength=step / 10)(content).astype(float) - content).mean()
        for step in range(11)
    ]
    assert stronger[0] == 0
    assert all(after > before for before, after in itertools.pairwise(stronger))
    end = gallery.mix({"the-scream": 1.0})(content).astype(float)
    away = [
        np.abs(gallery.mix({"starry-night": 10 - step, "the-scream": step})(content) - end).mean()
        for step in range(1, 10)
    ]
    assert all(after < before for before, after in itertools.pairwise(away))


def test_at_every_step_of_strength_style_and_content_change_one_way(
    gallery: Stylizer, benchmark: Callable[[str], ModuleType]
) -> None:
    distance = benchmark("style_distance")
    loss_network = load_vgg("distilled", distance.LAYERS)
    painting = load_image(FILE.parent / "paintings" / "starry-night.jpg", short_side=distance.STYLE_SIDE)
    wanted, _ = distance.features_of(loss_network, painting)
    content = reference_picture(160, 160)
    _, kept = distance.features_of(loss_network, from_uint8(content))
    style, change = [], []
    for step in range(11):
        made = gallery.mix({"starry-night": 1.0}, strength=step / 10)(content)
        grams, features = distance.features_of(loss_network, from_uint8(made))
        style.append(statistics.fmean(distance.style_distances(grams, wanted)))
        change.append(distance.content_distance(features, kept))
    assert all(after < before for before, after in itertools.pairwise(style))
    assert all(after > before for before, after in itertools.pairwise(change))


def test_it_leaves_no_grid_in_smooth_gradients(benchmark: Callable[[str], ModuleType]) -> None:
    checkerboard = benchmark("checkerboard")
    stylize = Stylizer.load("gallery", device="cpu", precision="fp32")
    for name in ("starry-night", "senecio", "irises"):
        made = [stylize.mix({name: 1.0})(picture) for picture in checkerboard.gradients(6)]
        for period in (2, 4):
            assert statistics.median(checkerboard.grid(picture, period) for picture in made) < 4, name


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES[::4])
def test_a_style_comes_nearer_to_its_painting_than_the_content_images(
    name: str, shared: Path, benchmark: Callable[[str], ModuleType]
) -> None:
    distance = benchmark("style_distance")
    vgg = load_vgg("vgg19", distance.LAYERS, file=shared / "weights" / "vgg19-imagenet-fp16.safetensors")
    painting = load_image(FILE.parent / "paintings" / f"{name}.jpg", short_side=distance.STYLE_SIDE)
    files = [p for p in find_pictures(shared / "data" / "content") if p.name.startswith("coco")][::12]
    contents = [load_image(p, size=512) for p in files]
    row = distance.measure(f"{FILE}#{name}", contents, painting, vgg, None)
    # Wide limits, for any style worth shipping.
    assert row["ratio"] < 0.7
    assert row["content"] < 1.85  # that of the mosaic style of pytorch/examples
    assert choose_style(f"gallery#{name}").file == FILE

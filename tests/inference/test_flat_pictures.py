"""Pictures of one color: results have the painting's colors in every engine; others stay as they are."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from fast_nst.cli.stylize import main
from fast_nst.inference.flat_pictures import CLEAR, FLAT, beside_reference, flatness
from fast_nst.inference.styles import choose_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture, from_uint8, load_image

STYLES = ("starry-night", "senecio", "composition-viii", "the-scream-full", "composition-vii-full")
COLORS = {"white": (255, 255, 255), "gray": (128, 128, 128), "black": (0, 0, 0), "red": (220, 30, 30)}
ENGINES = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"no {package}")
    )
    for name, package in (("torch", "torch"), ("onnx", "onnxruntime"), ("openvino", "openvino"))
]


def flat(color: Any, height: int = 48, width: int = 40) -> NDArray[Any]:
    return np.full((height, width, 3), color, np.uint8)


def noise(deviation: float, height: int = 48, width: int = 40) -> NDArray[Any]:
    values = np.random.default_rng(0).normal(128, deviation, (height, width, 3))
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def inside_palette(stylized: NDArray[Any], style: str) -> bool:
    """Whether the mean color lies between the painting's darkest and lightest colors, channel by channel."""
    painting = choose_style(style).painting
    assert painting is not None
    pixels = load_image(painting, short_side=64).flatten(1).numpy() * 255
    low, high = np.quantile(pixels, (0.02, 0.98), axis=1)
    mean = stylized.reshape(-1, 3).mean(axis=0)
    return bool((mean >= low).all() and (mean <= high).all() and mean.sum() > 75)


@pytest.mark.parametrize("style", STYLES)
def test_a_flat_picture_has_a_color_of_the_painting_and_light_ones_are_lighter(style: str) -> None:
    stylizer = Stylizer.load(style, backend="torch", device="cpu", precision="fp32")
    made = {name: stylizer(flat(color)) for name, color in COLORS.items()}
    assert all(inside_palette(result, style) for result in made.values())
    assert made["white"].mean() > made["black"].mean() + 4
    halves = flat(255)
    halves[:, 20:] = 0
    assert inside_palette(stylizer(halves), style)


@pytest.mark.parametrize("style", ["starry-night", "starry-night-full"])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_a_flat_picture_the_same_color(engine: Any, style: str) -> None:
    stylizer = Stylizer.load(style, backend=engine, device="cpu", precision="fp32")
    plain = Stylizer.load(style, backend="torch", device="cpu", precision="fp32")
    for color in COLORS.values():
        result = stylizer(flat(color))
        assert inside_palette(result, style)
        assert np.abs(result.astype(int) - plain(flat(color))).max() <= 2


def test_a_picture_with_contrast_is_what_the_engine_makes_of_it(stylizer: Stylizer) -> None:
    for image in (noise(CLEAR + 1), noise(60), flat(0, 4, 4), noise(0.1, 7, 9)):
        assert_array_equal(stylizer.run_uint8(image[None]), stylizer.backend.run_uint8(image[None]))


def test_flatness_falls_from_one_to_zero_without_a_jump() -> None:
    assert (flatness(flat(9)), flatness(noise(FLAT / 2)), flatness(noise(CLEAR * 1.1))) == (1, 1, 0)
    shares = [flatness(noise(deviation)) for deviation in np.linspace(0, 6, 40)]
    assert all(0 <= before - after < 0.15 for before, after in itertools.pairwise(shares))


def test_only_the_flat_pictures_of_a_batch_are_extended(stylizer: Stylizer) -> None:
    batch = np.stack([noise(50), flat(200), noise(3)])
    made = stylizer.run_uint8(batch)
    assert_array_equal(made[0], stylizer.run_uint8(batch[:1])[0])
    assert_array_equal(made[1], stylizer.backend.run_uint8(beside_reference(batch[1])[None])[0, :48])
    ends = [stylizer.backend.run_uint8(batch[2:])[0], made[2]]
    assert (ends[0] != ends[1]).any()  # nearly flat: a mixture


@pytest.mark.parametrize("deviation", [0, 3])
def test_row_bands_and_tensors_give_what_the_whole_picture_gives(stylizer: Stylizer, deviation: int) -> None:
    image = noise(deviation, 90, 40)
    whole = stylizer(image).astype(int)
    bands = stylizer.in_bands(Picture(image), rows=16).rgb
    floats = stylizer(from_uint8(image)).permute(1, 2, 0).numpy() * 255
    assert np.abs(whole - bands).max() <= 1
    assert np.abs(whole - floats).max() <= 1.5


def test_a_white_frame_in_a_video_does_not_flash_black(clip: Callable[..., Path], tmp_path: Path) -> None:
    ramp = np.linspace(40, 200, 64)[None, :, None] * np.ones((48, 64, 3))
    frames = [np.rint(ramp).astype(np.uint8)] * 5
    frames[2] = flat(255, 48, 64)
    source = clip("white.mkv", frames=5, codec="ffv1", picture=lambda i: frames[i])
    out = tmp_path / "out.mkv"
    flags = ["--style", "starry-night", "--backend", "torch", "--device", "cpu", "--precision", "fp32"]
    assert main([str(source), "--out", str(out), *flags]) == 0
    with av.open(str(out)) as made:
        brightness = [frame.to_ndarray(format="rgb24").mean() for frame in made.decode(video=0)]
    assert len(brightness) == 5
    assert brightness[2] >= min(brightness[1], brightness[3]) - 10
    # The content itself became brighter by so much.
    assert brightness[2] - brightness[1] <= 255 - ramp.mean()

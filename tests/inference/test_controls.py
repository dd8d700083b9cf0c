"""Controls over a stylized image: the ends of each are exact, and between them they do what they say."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fast_nst.errors import InputError
from fast_nst.inference.controls import (
    Controls,
    apply_controls,
    match_colors,
    upsample_with_detail,
    with_chroma_of,
)
from fast_nst.io.images import Picture, resized

LUMA = np.array([0.299, 0.587, 0.114])


def noise(height: int, width: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scene(height: int, width: int) -> NDArray[Any]:
    """Two flat halves with an edge, and a gradient down."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2] = 40
    image[:, width // 2 :] = 200
    image[..., 2] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    return image


def invert(picture: Picture) -> Picture:
    return Picture(255 - picture.rgb, picture.alpha)


def test_default_controls_give_what_the_network_gives() -> None:
    content = Picture(noise(13, 17))
    made = apply_controls(invert, content, Controls())
    np.testing.assert_array_equal(made.rgb, 255 - content.rgb)
    assert Controls().are_default


def test_strength_0_is_the_content_image_and_the_network_is_not_asked() -> None:
    def never(picture: Picture) -> Picture:
        raise AssertionError("asked")

    content = Picture(noise(9, 11), np.full((9, 11), 7, np.uint8))
    assert apply_controls(never, content, Controls(strength=0)) is content


def test_strength_moves_every_pixel_steadily_from_the_content_to_the_style() -> None:
    content = Picture(noise(12, 10))
    shares = [0.1, 0.25, 0.5, 0.75, 0.9, 1.0]
    away = [
        np.abs(apply_controls(invert, content, Controls(strength=s)).rgb.astype(int) - content.rgb)
        for s in shares
    ]
    for nearer, farther in itertools.pairwise(away):
        assert (farther >= nearer).all()
    full = np.abs(255 - 2 * content.rgb.astype(int))
    for share, moved in zip(shares, away, strict=True):
        assert np.abs(moved - share * full).max() <= 1


@pytest.mark.parametrize("size", [(12, 10), (48, 40), (3, 2)])
def test_a_mask_of_any_size_keeps_the_content_image_where_it_is_0(size: tuple[int, int]) -> None:
    content = Picture(noise(12, 10))
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 3] = 255
    made = apply_controls(invert, content, Controls(mask=mask)).rgb
    np.testing.assert_array_equal(made[-4:], content.rgb[-4:])
    np.testing.assert_array_equal(made[:2], 255 - content.rgb[:2])


def test_alpha_is_carried_over() -> None:
    alpha = noise(8, 8)[..., 0]
    made = apply_controls(invert, Picture(noise(8, 8), alpha), Controls(stroke=2, colors="photo"))
    np.testing.assert_array_equal(made.alpha, alpha)


@pytest.mark.parametrize("stroke", [0.5, 1.5, 3])
@pytest.mark.parametrize("size", [(31, 20), (1, 1), (1, 40)])
def test_stroke_changes_the_size_the_network_sees_and_not_the_size_of_the_result(
    stroke: float, size: tuple[int, int]
) -> None:
    seen: list[tuple[int, int]] = []

    def network(picture: Picture) -> Picture:
        seen.append((picture.height, picture.width))
        return picture

    made = apply_controls(network, Picture(noise(*size)), Controls(stroke=stroke))
    assert made.rgb.shape == (*size, 3)
    assert seen == [tuple(max(1, round(side / stroke)) for side in size)]


def test_larger_strokes_keep_the_edges_of_the_content_image() -> None:
    full = scene(128, 128)
    small = resized(Picture(full), 32, 32).rgb
    sharp = upsample_with_detail(small, small, full).astype(int)
    plain = resized(Picture(small), 128, 128).rgb.astype(int)
    edge = np.s_[:, 56:72, :2]
    assert np.abs(sharp - full)[edge].mean() < 0.7 * np.abs(plain - full)[edge].mean()


def test_upsampling_adds_nothing_where_the_style_ignores_the_content() -> None:
    small = np.full((32, 32, 3), 90, np.uint8)
    made = upsample_with_detail(small, resized(Picture(scene(128, 128)), 32, 32).rgb, scene(128, 128))
    assert np.abs(made.astype(int) - 90).max() <= 1


def test_colors_of_the_photo_keep_the_luminance_of_the_style() -> None:
    style, content = noise(40, 30, 1), noise(40, 30, 2)
    made = with_chroma_of(style, content)
    np.testing.assert_allclose(made @ LUMA, style @ LUMA, atol=1.5)


def test_a_gray_photo_gives_a_gray_result() -> None:
    gray = np.repeat(noise(20, 20)[..., :1], 3, axis=2)
    made = with_chroma_of(noise(20, 20, 3), gray).astype(int)
    assert np.abs(made - made.mean(axis=2, keepdims=True)).max() <= 1


def test_matched_colors_have_the_mean_and_covariance_of_the_content() -> None:
    rng = np.random.default_rng(0)
    content = np.clip(rng.normal([90, 120, 150], [10, 20, 15], (60, 60, 3)), 0, 255).astype(np.uint8)
    style = np.clip(rng.normal([160, 110, 100], [20, 10, 25], (60, 60, 3)), 0, 255).astype(np.uint8)
    made = match_colors(style, content).reshape(-1, 3).astype(float)
    wanted = content.reshape(-1, 3).astype(float)
    np.testing.assert_allclose(made.mean(0), wanted.mean(0), atol=1)
    np.testing.assert_allclose(np.cov(made.T), np.cov(wanted.T), atol=20)


@pytest.mark.parametrize("color", [0, 128, 255])
def test_a_flat_image_can_have_its_colors_matched(color: int) -> None:
    flat = np.full((5, 5, 3), color, np.uint8)
    assert np.abs(match_colors(flat, scene(5, 5)).astype(int) - scene(5, 5).mean((0, 1))).max() < 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"strength": 1.1}, "strength goes from 0 to 1, got 1.1"),
        ({"strength": float("nan")}, "strength goes from 0 to 1, got nan"),
        ({"stroke": 0.1}, "stroke goes from 0.25 to 4, got 0.1"),
        ({"colors": "none"}, "colors must be style, photo or match, got 'none'"),
        ({"mask": np.zeros((2, 2, 3), np.uint8)}, r"expected a mask of shape \(H, W\) and uint8"),
    ],
)
def test_values_out_of_range_are_refused_with_the_range(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Controls(**wrong)

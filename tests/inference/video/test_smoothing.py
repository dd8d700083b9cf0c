"""Blending along the motion: calm where it is certain, nothing elsewhere."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fast_nst.inference.video.smoothing import TemporalSmoother
from fast_nst.io.images import Picture


@pytest.fixture(scope="module")
def scene() -> NDArray[Any]:
    """Smooth texture, larger than the view that moves over it."""
    noise = np.random.default_rng(0).uniform(0, 255, (40, 52, 3)).astype(np.float32)
    return cv2.resize(noise, (260, 200), interpolation=cv2.INTER_CUBIC).clip(0, 255)


def view(scene: NDArray[Any], dx: float, dy: float = 0.0) -> NDArray[Any]:
    where = np.float32([[1, 0, -20 - dx], [0, 1, -20 - dy]])
    return cv2.warpAffine(scene, where, (128, 96), flags=cv2.INTER_LINEAR).round().astype(np.uint8)


def flicker(rng: np.random.Generator, pixels: NDArray[Any]) -> Picture:
    noisy = pixels + rng.normal(0, 12, pixels.shape)
    return Picture(noisy.clip(0, 255).round().astype(np.uint8))


def differences(scene: NDArray[Any], steadiness: float, speed: float) -> float:
    """Mean squared difference of each result to the one before, moved exactly."""
    rng, smoother = np.random.default_rng(1), TemporalSmoother(steadiness)
    results = []
    for i in range(12):
        seen = view(scene, speed * i, speed * i / 2)
        results.append(smoother(Picture(seen), flicker(rng, seen)).rgb.astype(np.float32))
    errors = []
    for before, after in itertools.pairwise(results[4:]):
        moved = cv2.warpAffine(before, np.float32([[1, 0, -speed], [0, 1, -speed / 2]]), (128, 96))
        errors.append(np.square(moved - after)[12:-12, 12:-12].mean())
    return float(np.mean(errors))


@pytest.mark.parametrize("speed", [0.0, 2.0])
def test_flicker_falls_at_least_fourfold(scene: NDArray[Any], speed: float) -> None:
    assert differences(scene, 0.7, speed) < differences(scene, 0.0, speed) / 4


def test_without_steadiness_nothing_is_changed(scene: NDArray[Any]) -> None:
    rng, smoother = np.random.default_rng(0), TemporalSmoother(0.0)
    for i in range(3):
        seen = view(scene, i)
        painted = flicker(rng, seen)
        np.testing.assert_array_equal(smoother(Picture(seen), painted).rgb, painted.rgb)


def test_a_still_video_settles_on_its_mean(scene: NDArray[Any]) -> None:
    seen = view(scene, 0)
    smoother, rng = TemporalSmoother(0.9), np.random.default_rng(0)
    for _ in range(40):
        result = smoother(Picture(seen), flicker(rng, seen)).rgb
    assert (
        np.abs(result.astype(int) - seen).mean()
        < 4
        < np.abs(flicker(rng, seen).rgb.astype(int) - seen).mean()
    )


def test_after_a_cut_nothing_of_the_old_scene_is_left(scene: NDArray[Any]) -> None:
    smoother = TemporalSmoother(0.7)
    first = view(scene, 0)
    smoother(Picture(first), Picture(first))
    second = np.random.default_rng(5).integers(0, 256, first.shape, dtype=np.uint8)
    painted = flicker(np.random.default_rng(0), first)
    np.testing.assert_array_equal(smoother(Picture(second), painted).rgb, painted.rgb)
    assert smoother.cuts == 1


def test_what_was_uncovered_is_not_blended(scene: NDArray[Any]) -> None:
    """A dark square jumps away: nothing of its old result stays in its old place."""
    smoother = TemporalSmoother(0.8)
    before = view(scene, 0)
    before[30:60, 30:60] = 0
    after = view(scene, 0)
    after[30:60, 90:120] = 0
    smoother(Picture(before), Picture(before))
    result = smoother(Picture(after), Picture(after)).rgb
    assert np.abs(result[36:54, 36:54].astype(int) - after[36:54, 36:54]).mean() < 12


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (16, 16), (15, 64)])
def test_small_pictures_are_no_trouble(size: tuple[int, int]) -> None:
    smoother = TemporalSmoother(0.7)
    for i in range(3):
        pixels = np.full((*size, 3), 10 * i, np.uint8)
        alpha = np.full(size, 7, np.uint8)
        result = smoother(Picture(pixels), Picture(pixels, alpha))
        assert result.rgb.shape == pixels.shape
        np.testing.assert_array_equal(result.alpha, alpha)


def test_a_change_of_size_starts_afresh() -> None:
    smoother = TemporalSmoother(0.7)
    for size in ((40, 50), (50, 40)):
        pixels = np.full((*size, 3), 90, np.uint8)
        np.testing.assert_array_equal(smoother(Picture(pixels), Picture(pixels)).rgb, pixels)

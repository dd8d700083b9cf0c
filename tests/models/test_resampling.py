"""Blur, downsampling and upsampling agree with implementations that have nothing to do with ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.transform import AffineTransform, warp

from fast_nst.models.resampling import downsample, downsampling_matrix, upsample, upsampling_matrix

FACTORS = [2, 4, 8]


def noise(height: int, width: int) -> NDArray[Any]:
    """``(3, H, W)`` uint8."""
    return np.random.default_rng(width).integers(0, 256, (3, height, width), dtype=np.uint8)


@pytest.mark.parametrize("factor", FACTORS)
def test_low_resolution_is_a_gaussian_of_one_pixel_and_a_catmull_rom_spline(factor: int) -> None:
    crop = noise(8 * factor, 11 * factor)
    # scikit-image's cubic is Keys' with -1/2, and looks at the pixels around a position, however far apart.
    places = AffineTransform(scale=factor, translation=((factor - 1) / 2,) * 2)
    for plane, found in zip(crop, downsample(crop, factor), strict=True):
        blurred = gaussian_filter(plane.astype(float), 1.0, mode="reflect", truncate=4.0)
        expected = warp(blurred, places, output_shape=(8, 11), order=3, mode="symmetric", preserve_range=True)
        np.testing.assert_allclose(found, expected.clip(0, 255), atol=0.51)


@pytest.mark.parametrize("factor", FACTORS)
def test_enlarging_is_pillows_bicubic_away_from_the_border(factor: int) -> None:
    low, edge = 64 + noise(9, 12) // 2, 2 * factor  # Pillow clips half-way, where this is far from the ends
    shown = Image.fromarray(low.transpose(1, 2, 0)).resize(
        (12 * factor, 9 * factor), Image.Resampling.BICUBIC
    )
    difference = upsample(low, factor).transpose(1, 2, 0).astype(int) - np.asarray(shown)
    assert np.abs(difference[edge:-edge, edge:-edge]).max() <= 1


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("matrix", [downsampling_matrix, upsampling_matrix])
def test_flat_colors_stay_what_they_are_up_to_the_border(matrix: Any, factor: int) -> None:
    np.testing.assert_allclose(matrix(5 * factor, factor).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_sides_are_those_of_the_factor(factor: int) -> None:
    assert downsample(noise(3 * factor, 5 * factor), factor).shape == (3, 3, 5)
    assert upsample(noise(3, 1), factor).shape == (3, 3 * factor, factor)


def test_a_ramp_keeps_its_place() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8) * 3, (3, 8, 64))
    middle = downsample(ramp, 4)[0, 0, 2:-2].astype(float)
    np.testing.assert_allclose(middle, 3 * (4 * np.arange(2, 14) + 1.5), atol=0.5)

"""PSNR and SSIM are those of scikit-image, on the luma that the literature takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fast_nst.evaluation.metrics import luma, psnr, ssim

SHAPES = [(11, 11), (12, 40), (57, 33)]


def pictures(height: int, width: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """A picture and a disturbed copy of it, ``(H, W, 3)`` uint8."""
    random = np.random.default_rng(height)
    first = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise = random.normal(0, 20, first.shape)
    return first, np.clip(first + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_luma_is_that_of_scikit_image(shape: tuple[int, int]) -> None:
    first, _ = pictures(*shape)
    np.testing.assert_allclose(luma(first), rgb2ycbcr(first)[..., 0], atol=1e-9)


def test_luma_goes_from_16_to_235_and_a_border_is_left_out() -> None:
    extremes = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    np.testing.assert_allclose(luma(extremes), [[16, 235]])
    first, _ = pictures(57, 33)
    np.testing.assert_array_equal(luma(first, 4), luma(first)[4:-4, 4:-4])


@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_is_that_of_scikit_image(shape: tuple[int, int]) -> None:
    first, second = map(luma, pictures(*shape))
    assert psnr(first, second) == pytest.approx(
        peak_signal_noise_ratio(first, second, data_range=255), abs=1e-6
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_is_that_of_scikit_image(shape: tuple[int, int]) -> None:
    first, second = map(luma, pictures(*shape))
    expected = structural_similarity(
        first, second, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(first, second) == pytest.approx(expected, abs=1e-6)


def test_equal_pictures_are_infinitely_near_and_wholly_similar() -> None:
    first = luma(pictures(20, 20)[0])
    assert psnr(first, first) == float("inf")
    assert ssim(first, first) == pytest.approx(1)


def test_a_picture_too_small_for_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window of 11"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)))

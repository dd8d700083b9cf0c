"""Resizing, starting pictures, the median filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter as reference

from fast_nst.baseline.initialization import fit_longer, median_filter, resize, starting_image


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 7), (3, 9, 8)])
def test_the_median_filter_is_that_of_every_3_by_3(shape: tuple[int, int, int]) -> None:
    image = torch.rand(shape)
    wanted = np.stack([reference(channel, size=3, mode="nearest") for channel in image.numpy()])
    np.testing.assert_array_equal(median_filter(image).numpy(), wanted)


def test_resizing_keeps_flat_colors_and_the_range() -> None:
    flat = torch.full((3, 20, 10), 0.25)
    torch.testing.assert_close(resize(flat, 7, 33), torch.full((3, 7, 33), 0.25))
    steps = (torch.arange(20) // 10 % 2).float().expand(3, 20, 20)
    found = resize(steps, 31, 47)
    assert 0 <= found.min() <= found.max() <= 1
    assert resize(flat, 20, 10) is flat


def test_the_longer_side_is_fitted_and_the_shape_kept() -> None:
    assert fit_longer(torch.rand(3, 40, 20), 10).shape == (3, 10, 5)
    assert fit_longer(torch.rand(3, 1, 100), 10).shape == (3, 1, 10)


@pytest.mark.parametrize("start", ["noise", "content", "style"])
def test_every_start_has_the_photograph_s_size_and_is_a_new_tensor(start: str) -> None:
    photo, painting = torch.rand(3, 12, 20), torch.rand(3, 30, 9)
    found = starting_image(start, photo, painting, seed=1)
    assert found.shape == photo.shape
    found.zero_()
    assert photo.max() > 0.5
    assert painting.max() > 0.5


def test_noise_is_the_same_for_a_seed_and_fills_the_range() -> None:
    photo = torch.rand(3, 40, 40)
    a, b, c = (starting_image("noise", photo, photo, seed) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.min() < 0.01
    assert a.max() > 0.99


def test_the_style_image_covers_the_content_image_without_being_stretched() -> None:
    painting = torch.zeros(3, 40, 40)
    painting[:, 10:30, 10:30] = 1  # a square in the middle
    found = starting_image("style", torch.rand(3, 20, 40), painting, seed=0)
    inside = found[0] > 0.5
    assert inside.sum(dim=0).max() == inside.sum(dim=1).max() == 20

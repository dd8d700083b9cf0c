"""The objectives of super-resolution are nothing for the original and the errors they say for all else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fast_nst.config import ReconstructionConfig
from fast_nst.errors import InputError
from fast_nst.models.reconstruction import ReconstructionLoss, local_grid_energy, staggered
from fast_nst.models.vgg import VGGFeatures

PLAIN = ReconstructionConfig(feature_layers=("relu1_2",), pixel_weight=0.0, grid_weight=0.0)


@pytest.fixture(scope="module")
def features() -> VGGFeatures:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VGGFeatures("vgg16", ["relu1_2"])


@pytest.fixture
def photos() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def judged(loss: ReconstructionLoss, images: torch.Tensor, photos: torch.Tensor) -> Any:
    return loss(images, loss.content_target(photos))


@pytest.mark.parametrize("weights", [{}, {"pixel_weight": 3.0}])
def test_the_original_costs_nothing(
    features: VGGFeatures, photos: torch.Tensor, weights: dict[str, Any]
) -> None:
    config = ReconstructionConfig(feature_layers=("relu1_2",), **weights)
    assert judged(ReconstructionLoss(features, config, factor=4), photos, photos).total == 0


def test_the_pixel_loss_is_the_mean_square_error_and_needs_no_loss_network(photos: torch.Tensor) -> None:
    terms = judged(ReconstructionLoss(None, PLAIN, factor=4), photos + 0.25, photos)
    assert terms.pixel == terms.total == pytest.approx(0.0625)


def test_the_feature_loss_is_relative_to_the_originals_features(
    features: VGGFeatures, photos: torch.Tensor
) -> None:
    terms = judged(ReconstructionLoss(features, PLAIN, factor=4), 0 * photos, photos)
    found, wanted = (features(staggered(images))["relu1_2"] for images in (0 * photos, photos))
    expected = (found - wanted).square().sum() / wanted.square().sum()
    torch.testing.assert_close(terms.feature, expected)
    assert terms.total == terms.feature


def test_a_batch_meets_the_loss_network_in_every_alignment_of_two_pixels() -> None:
    rows = torch.arange(12.0)[:, None].expand(12, 10)
    places = torch.stack([rows, rows.new_tensor(range(10)).expand(12, 10), rows])
    cut = staggered(places.expand(5, 3, 12, 10))
    assert cut.shape == (5, 3, 10, 8)
    starts = [(int(one[0, 0, 0]), int(one[1, 0, 0])) for one in cut]
    assert starts == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 0)]


def test_a_grid_costs_what_the_same_noise_without_a_pattern_does_not(
    features: VGGFeatures, photos: torch.Tensor
) -> None:
    config = ReconstructionConfig(feature_layers=("relu1_2",), grid_weight=1.0)
    loss = ReconstructionLoss(features, config, factor=4)
    cell = 0.1 * torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1))
    noise = 0.1 * torch.randn(photos.shape, generator=torch.Generator().manual_seed(2))
    grid = judged(loss, photos + cell.repeat(1, 4, 4), photos).grid
    assert grid > 10 * judged(loss, photos + noise, photos).grid > 0


def test_weights_that_make_no_sense_are_refused() -> None:
    for name in ("pixel", "grid"):
        with pytest.raises(InputError, match=f"--{name}-weight must be a finite number"):
            ReconstructionConfig(**{f"{name}_weight": -1.0})
    with pytest.raises(InputError, match="--feature-layers needs at least one layer"):
        ReconstructionConfig(feature_layers=())


def test_a_grid_that_turns_round_from_one_part_to_another_costs_as_much_as_one_that_does_not() -> None:
    cell = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(32, 32)
    turned = cell.clone()
    turned[:, 32:] *= -1
    whole, parts = (local_grid_energy(x.repeat(1, 3, 1, 1), 2).item() for x in (cell, turned))
    assert whole == pytest.approx(4)
    assert whole * 0.7 < parts < whole
    noise = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert local_grid_energy(noise, 2).item() < 0.1 * whole


def test_a_picture_smaller_than_the_cells_looked_at_has_a_grid_too() -> None:
    assert local_grid_energy(torch.tensor([[1.0, 0.0]]).repeat(4, 2)[None, None], 2).item() == pytest.approx(
        1
    )

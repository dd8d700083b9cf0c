"""Which bundled style a training begins with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fast_nst.config import PRESETS, LossConfig
from fast_nst.io.images import load_image
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.model_files import bundled_networks, bundled_style_image, find_style
from fast_nst.models.vgg import load_vgg
from fast_nst.training.warm_start import nearest_style

SIZE = 64


def objective_of(painting: Path) -> PerceptualLoss:
    config = LossConfig(style_layers=("relu1_1", "relu2_1", "relu3_1"), content_layers=("relu3_1",))
    features = load_vgg("distilled", config.style_layers)
    return PerceptualLoss(features, load_image(painting, short_side=SIZE), config)


@pytest.mark.parametrize("name", sorted(bundled_networks()))
def test_the_style_nearest_to_a_bundled_painting_is_its_own(name: str) -> None:
    painting = bundled_style_image(find_style(name))
    assert painting is not None
    assert nearest_style(objective_of(painting), PRESETS["default"], SIZE) == name


def test_no_bundled_style_has_a_network_of_another_shape() -> None:
    painting = bundled_style_image(find_style("the-scream-full"))
    assert painting is not None
    other = replace(PRESETS["default"], blocks=2)
    assert nearest_style(objective_of(painting), other, SIZE) is None


def test_the_choice_leaves_the_generator_alone() -> None:
    painting = bundled_style_image(find_style("the-scream-full"))
    assert painting is not None
    objective, before = objective_of(painting), torch.get_rng_state()
    nearest_style(objective, PRESETS["default"], SIZE)
    assert torch.equal(before, torch.get_rng_state())

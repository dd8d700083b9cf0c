"""The distilled loss network: factors in closed form, the loss that trains them, and the bundled file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.errors import InputError
from fast_nst.io.images import load_image
from fast_nst.models.low_rank import LowRankConv
from fast_nst.models.vgg import VGGFeatures, load_vgg
from fast_nst.training.distillation import (
    TERMS,
    DistillationLoss,
    agreement,
    factorize,
    low_rank_factors,
    unfrozen,
)


def smooth_images(count: int, size: int, seed: int = 0) -> Tensor:
    """Random images whose neighboring pixels resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, size // 4, size // 4, generator=generator)
    return F.interpolate(coarse, size=size, mode="bilinear")


def random_network(arch: str, layers: list[str], seed: int = 0) -> VGGFeatures:
    torch.manual_seed(seed)
    return VGGFeatures(arch, layers)


def test_factors_of_full_rank_give_the_convolution_back() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(6, 9, 3, padding=1)
    inputs = F.relu(torch.randn(8, 6, 12, 12))
    with torch.no_grad():
        wanted = conv(inputs)
        factored = LowRankConv(6, 9, (6, 9))
        factors = low_rank_factors(conv.weight, inputs, wanted, (6, 9))
        for part, values in zip(factored.parameters(), factors, strict=True):
            part.copy_(values.view_as(part))
        error = (factored(inputs) - wanted).square().mean() / wanted.var()
    assert float(error) < 1e-3


def test_more_rank_never_costs_accuracy() -> None:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(8, 8, 3, padding=1)
    inputs = F.relu(torch.randn(8, 8, 12, 12))
    errors = []
    with torch.no_grad():
        wanted = conv(inputs)
        for rank in (2, 4, 8):
            factored = LowRankConv(8, 8, (8, rank))
            factors = low_rank_factors(conv.weight, inputs, wanted, (8, rank))
            for part, values in zip(factored.parameters(), factors, strict=True):
                part.copy_(values.view_as(part))
            errors.append(float((factored(inputs) - wanted).square().mean()))
    assert errors[0] > errors[1] > errors[2]


def test_the_closed_form_brings_the_features_near_to_vgg() -> None:
    vgg, distilled = random_network("vgg19", ["relu2_1"]), random_network("distilled", ["relu2_1"], seed=1)
    images = smooth_images(8, 32)
    errors = dict(factorize(vgg, distilled, images))
    assert errors["relu1_1"] == 0
    held_out = smooth_images(4, 32, seed=9)
    with torch.no_grad():
        ours, theirs = distilled(held_out)["relu2_1"], vgg(held_out)["relu2_1"]
    assert float((ours - theirs).square().sum() / theirs.square().sum()) < 0.1


def test_a_network_agrees_with_itself() -> None:
    network = load_vgg("distilled", TERMS)
    images = smooth_images(2, 32)
    for found in agreement(network, network, images, images.flip(0)).values():
        assert found.value == pytest.approx(1, abs=1e-4)
        assert found.cosine == pytest.approx(1, abs=1e-4)


def test_the_loss_is_nothing_between_equal_networks_and_training_lowers_it() -> None:
    layers = list(DistillationLoss.layers)
    teacher, student = random_network("distilled", layers), random_network("distilled", layers)
    loss, images = DistillationLoss(teacher), smooth_images(2, 32)
    parameters = unfrozen(student)
    assert float(loss(student, images).detach()) < 1e-4
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(1.1)
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    values = []
    for _ in range(8):
        value = loss(student, images)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]


def test_only_the_factors_are_trained() -> None:
    network = random_network("distilled", ["relu2_1"])
    unfrozen(network)
    assert {name.split(".")[1] for name, p in network.named_parameters() if p.requires_grad} == {
        "conv1_2",
        "conv2_1",
    }


def test_the_bundled_network_needs_no_download_and_gives_finite_features() -> None:
    network = load_vgg("distilled", TERMS)
    images = smooth_images(1, 64)
    for features in network(images).values():
        assert torch.isfinite(features).all()
        assert float(features.max()) > 0
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("other", [{"pooling": "average"}, {"weights": "IMAGENET1K_FEATURES"}])
def test_what_the_distilled_network_is_not_made_for_is_refused(other: dict[str, str]) -> None:
    with pytest.raises(InputError, match="--loss-network vgg19"):
        load_vgg("distilled", ["relu1_1"], **other)


@pytest.mark.weights
def test_the_bundled_network_agrees_with_vgg19_on_photographs(shared: Path) -> None:
    weights = shared / "weights" / "vgg19-imagenet-fp16.safetensors"
    photographs = sorted((shared / "data" / "content").glob("*.jpg"))[:4]
    images = torch.cat([load_image(p, short_side=128)[None, :, :128, :128] for p in photographs])
    found = agreement(
        load_vgg("vgg19", TERMS, file=weights), load_vgg("distilled", TERMS), images, images.flip(0)
    )
    assert all(0.7 < term.value < 1.4 for term in found.values())
    assert all(term.cosine > 0.4 for term in found.values())
    assert found["relu2_1"].cosine > 0.9

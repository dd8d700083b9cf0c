"""Gatys' objective and its gradient, against the paper's formulas written out again in float64 with numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.baseline.objective import (
    GatysLoss,
    load_features,
    make_objective,
    normalize_activations,
    wanted_layers,
)
from fast_nst.config.optimize import GatysConfig
from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL, load_image, save_image
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.vgg import VGGFeatures, load_vgg

CONFIG = GatysConfig(
    objective="gatys",
    content_weight=0.7,
    style_weight=3.0,
    tv_weight=0.0,
    content_layers=("a", "b"),
    content_layer_weights=(0.5, 2.0),
    style_layers=("a", "b"),
    style_layer_weights=(1.5, 0.25),
)


class Given(nn.Module):
    """In place of a network: the picture's own values, as two layers of features."""

    def forward(self, images: Tensor, layers: object = None) -> dict[str, Tensor]:
        return {"a": images, "b": images.flatten(1)[:, : images.numel() // 4 * 4].reshape(1, 4, -1, 1)}


def by_definition(
    image: Tensor, photo: Tensor, painting: Tensor, config: GatysConfig
) -> tuple[float, NDArray[Any]]:
    """Equations 1 to 7 and their derivatives (equations 2 and 6), layer by layer, for `Given`."""
    total, slope = 0.0, np.zeros(image.numel())
    given = Given()
    layers = [given(x[None].double()) for x in (image, photo, painting)]
    for name, weight in zip(config.content_layers, config.content_layer_weights, strict=True):
        f, p = (found[name].numpy().reshape(found[name].shape[1], -1) for found in layers[:2])
        total += config.content_weight * weight * config.content_factor * ((f - p) ** 2).sum()
        slope[: f.size] += (config.content_weight * weight * config.content_factor * 2 * (f - p)).ravel()
    for name, weight in zip(config.style_layers, config.style_layer_weights, strict=True):
        f, a = (layers[i][name].numpy().reshape(layers[i][name].shape[1], -1) for i in (0, 2))
        n, m = f.shape
        difference = f @ f.T - (a @ a.T) * m / a.shape[1]
        total += config.style_weight * weight * (difference**2).sum() / (4 * n**2 * m**2)
        slope[: f.size] += (config.style_weight * weight * (difference @ f) / (n**2 * m**2)).ravel()
    return total, slope.reshape(image.shape)


@pytest.mark.parametrize("painting_shape", [(3, 8, 8), (3, 12, 4), (3, 16, 8)])
@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_the_objective_and_its_gradient_are_those_of_the_paper(
    painting_shape: tuple[int, int, int], factor: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    image, photo = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    painting = torch.randn(painting_shape, generator=generator, dtype=torch.float64)
    config = replace(CONFIG, content_factor=factor)
    loss = GatysLoss(Given(), painting, config)
    x = image.clone().requires_grad_()
    total = loss(x[None], loss.content_target(photo[None])).total
    total.backward()
    value, slope = by_definition(image, photo, painting, config)
    np.testing.assert_allclose(total.item(), value, rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.weights
def test_on_a_real_layer_the_objective_and_its_gradient_are_those_of_the_paper(shared: Path) -> None:
    """The gradient in features is the paper's; the network takes it to pixels."""
    vgg = load_vgg("vgg19", ["conv2_1"], file=shared / "weights/vgg19-imagenet-fp16.safetensors").double()
    photo = load_image(shared / "data/content/chicago.jpg", size=48).double()
    painting = load_image(shared / "data/styles/starry_night.jpg", size=40).double()
    image = (photo + 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).double()
    layer = ("conv2_1",)
    config = GatysConfig(
        objective="gatys",
        content_weight=2,
        style_weight=5,
        tv_weight=0,
        content_layers=layer,
        style_layers=layer,
    )
    loss = GatysLoss(vgg, painting, config)
    x = image.clone().requires_grad_()
    total = loss(x[None], loss.content_target(photo[None])).total
    (ours,) = torch.autograd.grad(total, x)

    y = image.clone().requires_grad_()
    features = vgg(y[None])["conv2_1"]
    with torch.no_grad():
        f, p, a = (
            t[0].flatten(1).numpy() for t in (features, *(vgg(i[None])["conv2_1"] for i in (photo, painting)))
        )
    n, m = f.shape
    difference = f @ f.T - (a @ a.T) * m / a.shape[1]
    value = 2 * 0.5 * ((f - p) ** 2).sum() + 5 * (difference**2).sum() / (4 * n**2 * m**2)
    slope = 2 * (f - p) + 5 * (difference @ f) / (n**2 * m**2)
    (theirs,) = torch.autograd.grad(features, y, torch.from_numpy(slope).view_as(features))
    np.testing.assert_allclose(total.item(), value, rtol=1e-10)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9 * float(theirs.abs().max()))


def test_with_means_both_terms_are_means_over_activations_and_gram_entries() -> None:
    image, photo, painting = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    config = replace(
        CONFIG,
        scaling="means",
        content_layers=("a",),
        content_layer_weights=(),
        style_layers=("a",),
        style_layer_weights=(),
    )
    loss = GatysLoss(Given(), painting, config)
    terms = loss(image[None], loss.content_target(photo[None]))
    torch.testing.assert_close(terms.content, 0.7 * (image - photo).square().mean())
    f, a = image.flatten(1), painting.flatten(1)
    torch.testing.assert_close(terms.style, 3.0 * (f @ f.T / 64 - a @ a.T / 64).square().mean())


def test_layers_without_weights_share_one_equally() -> None:
    loss = GatysLoss(Given(), torch.rand(3, 8, 8), replace(CONFIG, style_layer_weights=()))
    assert loss.style_weights == {"a": 0.5, "b": 0.5}


def test_a_term_without_weight_needs_no_layer() -> None:
    loss = GatysLoss(Given(), torch.rand(3, 8, 8), replace(CONFIG, content_weight=0))
    assert loss.content_weights == {}
    assert loss(torch.rand(1, 3, 8, 8), {}).content == 0


def test_total_variation_is_in_the_unit_of_the_pixels() -> None:
    image = torch.rand(1, 3, 8, 8)
    unit, levels = (
        GatysLoss(Given(), image[0], replace(CONFIG, content_weight=0, tv_weight=2, pixels=pixels))(
            image, {}
        ).tv
        for pixels in ("unit", "levels")
    )
    torch.testing.assert_close(levels, unit * MAX_LEVEL**2)


def test_the_training_objectives_are_the_trainer_s_own_class(
    weights: Path, picture: Callable[..., Tensor]
) -> None:
    config = GatysConfig(content_layers=("relu1_1",), style_layers=("relu2_1",), vgg_weights=weights)
    objective = make_objective(load_features(config, ()), picture(1), config)
    assert isinstance(objective, PerceptualLoss)
    assert objective.config == config.loss


def test_a_network_is_asked_for_no_deeper_than_the_layers_of_a_config() -> None:
    assert wanted_layers(CONFIG) == ("a", "b", "a", "b")
    assert wanted_layers(GatysConfig(style_layers=(), loss_network="vgg16"))[-1] == "relu5_1"
    former = GatysConfig(objective="dimensionless", style_layers=(), loss_network="vgg16")
    assert wanted_layers(former)[-1] == "relu4_3"


def normalized(pooling: str, pictures: list[Tensor]) -> tuple[VGGFeatures, VGGFeatures]:
    def make() -> VGGFeatures:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return VGGFeatures("vgg16", ["conv1_2", "relu2_2"], pooling=pooling).double()

    one, other = make(), make()
    normalize_activations(other, pictures)
    return one, other


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_normalised_channels_have_a_mean_activation_of_one(pooling: str) -> None:
    pictures = [torch.rand(3, 24, 20, dtype=torch.float64), torch.rand(3, 16, 16, dtype=torch.float64)]
    one, other = normalized(pooling, pictures)
    means = torch.stack([other(p[None])["relu2_2"].mean(dim=(0, 2, 3)) for p in pictures]).mean(dim=0)
    fires = torch.stack([one(p[None])["relu2_2"].amax(dim=(0, 2, 3)) for p in pictures]).amax(dim=0) > 0
    assert fires.sum() > 50
    torch.testing.assert_close(means[fires], torch.ones_like(means[fires]))


def test_normalising_changes_nothing_but_each_channel_s_scale() -> None:
    pictures = [torch.rand(3, 24, 20, dtype=torch.float64)]
    one, other = normalized("max", pictures)
    image = torch.rand(1, 3, 12, 12, dtype=torch.float64)
    for layer in ("conv1_2", "relu2_2"):
        before, after = one(image)[layer], other(image)[layer]
        scale = (after * before).sum(dim=(2, 3)) / before.square().sum(dim=(2, 3)).clamp_min(1e-300)
        torch.testing.assert_close(after, before * scale[..., None, None])


def test_a_folder_of_photographs_can_be_measured_over(
    weights: Path, picture: Callable[..., Tensor], tmp_path: Path
) -> None:
    config = GatysConfig(
        content_layers=("relu1_1",),
        style_layers=("relu2_1",),
        vgg_weights=weights,
        activations="normalized",
        activation_images=tmp_path,
    )
    with pytest.raises(InputError, match="contains no images"):
        load_features(config, ())
    save_image(tmp_path / "a.png", picture(3))
    vgg = load_features(config, ())
    photo = load_image(tmp_path / "a.png", size=256)
    mean = vgg(photo[None])["relu2_1"].mean(dim=(0, 2, 3))
    torch.testing.assert_close(mean[mean > 0.5], torch.ones_like(mean[mean > 0.5]), rtol=1e-3, atol=1e-3)

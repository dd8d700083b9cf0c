"""The losses, each against the paper's formula written out again in float64 with plain loops."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import gradcheck

from fast_nst.config import LossConfig
from fast_nst.errors import InputError
from fast_nst.models.gram import gram_matrix
from fast_nst.models.losses import (
    PerceptualLoss,
    feature_loss,
    grid_energy,
    grid_phases,
    style_loss,
    total_variation,
)
from fast_nst.models.vgg import VGGFeatures

SHAPES = [(1, 1, 1, 1), (1, 3, 5, 7), (2, 4, 1, 6), (3, 5, 4, 3)]
LAYERS = ("relu1_2", "relu2_2")
CONFIG = LossConfig(style_layers=LAYERS, content_layers=("relu2_1",), tv_weight=0.5)
PAPER = replace(CONFIG, objective="paper", content_weight=2.0, style_weight=3.0, tv_weight=1e-3)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def picture(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def loss_network(*layers: str) -> VGGFeatures:
    """A VGG-16 with random weights, in float64, as deep as these tests need."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VGGFeatures("vgg16", layers or ("relu1_2", "relu2_1", "relu2_2")).double()


def objective(config: LossConfig = CONFIG, painting: Tensor | None = None) -> PerceptualLoss:
    painting = picture(3, 12, 10, seed=9) if painting is None else painting
    return PerceptualLoss(loss_network(), painting.double(), config)


# The definitions, element by element.


def feature_loss_by_definition(features: NDArray[Any], target: NDArray[Any]) -> float:
    """Equation 2, averaged over the batch."""
    b, c, h, w = features.shape
    return sum(((features[n] - target[n]) ** 2).sum() / (c * h * w) for n in range(b)) / b


def style_loss_by_definition(gram: NDArray[Any], target: NDArray[Any]) -> float:
    """Equation 4: a squared Frobenius norm, averaged over the batch."""
    b, c, _ = gram.shape
    cells = itertools.product(range(b), range(c), range(c))
    return sum((gram[n, i, j] - target[i, j]) ** 2 for n, i, j in cells) / b


def total_variation_by_definition(images: NDArray[Any]) -> float:
    """Mahendran and Vedaldi 2015, beta 2; a neighbor outside the picture adds nothing."""
    b, c, h, w = images.shape
    total = 0.0
    for n, k, y, x in itertools.product(range(b), range(c), range(h), range(w)):
        if x + 1 < w:
            total += (images[n, k, y, x + 1] - images[n, k, y, x]) ** 2
        if y + 1 < h:
            total += (images[n, k, y + 1, x] - images[n, k, y, x]) ** 2
    return total / b


@pytest.mark.parametrize("shape", SHAPES)
def test_feature_loss_is_equation_2(shape: tuple[int, int, int, int]) -> None:
    f, g = normal(*shape), normal(*shape, seed=1)
    np.testing.assert_allclose(
        feature_loss(f, g).item(), feature_loss_by_definition(f.numpy(), g.numpy()), rtol=1e-12
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_style_loss_is_equation_4_for_one_layer(shape: tuple[int, int, int, int]) -> None:
    gram, target = gram_matrix(normal(*shape)), gram_matrix(normal(1, *shape[1:], seed=1))[0]
    np.testing.assert_allclose(
        style_loss(gram, target).item(), style_loss_by_definition(gram.numpy(), target.numpy()), rtol=1e-12
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_total_variation_is_the_sum_of_squared_differences(shape: tuple[int, int, int, int]) -> None:
    x = normal(*shape)
    np.testing.assert_allclose(
        total_variation(x).item(), total_variation_by_definition(x.numpy()), rtol=1e-12
    )


def test_every_loss_has_the_gradient_of_its_value() -> None:
    f, g = normal(2, 3, 4, 5).requires_grad_(), normal(2, 3, 4, 5, seed=1).requires_grad_()
    target = gram_matrix(normal(1, 3, 4, 5, seed=2))[0]
    assert gradcheck(feature_loss, (f, g))
    assert gradcheck(total_variation, (f,))
    assert gradcheck(lambda x: style_loss(gram_matrix(x), target), (f,))


@pytest.mark.parametrize("config", [CONFIG, PAPER], ids=lambda c: c.objective)
def test_every_term_of_the_objective_has_the_gradient_of_its_value(config: Any) -> None:
    loss = objective(config)
    target = loss.content_target(picture(1, 3, 5, 4, seed=1, dtype=torch.float64))
    image = picture(1, 3, 5, 4, dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x: tuple(loss(x, target)), (image,), atol=1e-6)


def test_total_variation_of_a_flat_picture_is_zero_and_of_one_step_is_its_height_squared() -> None:
    flat = torch.full((1, 3, 5, 5), 0.3)
    assert total_variation(flat).item() == 0
    step = torch.zeros(1, 1, 4, 6)
    step[..., 3:] = 0.5  # four rows, one edge each
    assert total_variation(step).item() == pytest.approx(4 * 0.25)


def test_losses_do_not_depend_on_the_order_of_the_batch() -> None:
    f, g, order = normal(3, 4, 5, 6), normal(3, 4, 5, 6, seed=1), [2, 0, 1]
    torch.testing.assert_close(feature_loss(f[order], g[order]), feature_loss(f, g))
    torch.testing.assert_close(total_variation(f[order]), total_variation(f))
    torch.testing.assert_close(gram_matrix(f[order]), gram_matrix(f)[order])


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (1, 1, 4, 3), (2, 5, 1, 1), (3, 2, 1, 7)])
def test_the_memory_layout_changes_no_loss(shape: tuple[int, int, int, int]) -> None:
    f, g = normal(*shape, dtype=torch.float32), normal(*shape, seed=1, dtype=torch.float32)
    last, g_last = (t.contiguous(memory_format=torch.channels_last) for t in (f, g))
    torch.testing.assert_close(gram_matrix(last), gram_matrix(f))
    torch.testing.assert_close(feature_loss(last, g_last), feature_loss(f, g))
    torch.testing.assert_close(total_variation(last), total_variation(f))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_losses_of_large_16_bit_features_neither_overflow_nor_lose_digits(
    dtype: torch.dtype, layout: Any
) -> None:
    f, g = ((100 * normal(2, 8, 17, 13, seed=s)).to(dtype).contiguous(memory_format=layout) for s in (0, 1))
    assert (f.float() ** 2).sum() > torch.finfo(torch.float16).max
    with torch.autocast("cpu", dtype):
        found = (
            gram_matrix(f),
            feature_loss(f, g),
            total_variation(f),
            style_loss(gram_matrix(f), g.new_zeros(8, 8)),
        )
    wide, target = f.double(), g.double()
    gram = gram_matrix(wide)
    expected = gram, feature_loss(wide, target), total_variation(wide), gram.square().sum((1, 2)).mean()
    for value, reference in zip(found, expected, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-2)


def test_the_objective_under_autocast_is_fp32_and_near_its_exact_value() -> None:
    loss = objective().float()
    image, photo = picture(1, 3, 16, 16), picture(1, 3, 16, 16, seed=1)
    exact = loss(image, loss.content_target(photo))
    with torch.autocast("cpu", torch.bfloat16):
        terms = loss(image, loss.content_target(photo))
    assert {t.dtype for t in terms} == {torch.float32}
    torch.testing.assert_close(torch.stack([*terms]), torch.stack([*exact]), rtol=0.05, atol=0)


def grid_of(images: torch.Tensor) -> torch.Tensor:
    return grid_energy(grid_phases(images))


def grid_energy_by_definition(images: NDArray[Any]) -> float:
    """Squares of what the mean of each of the 16 phases has over the mean of all, per channel."""
    _, c, h, w = images.shape
    energy = 0.0
    for channel in images[:, :, : h - h % 4, : w - w % 4].swapaxes(0, 1):
        means = [channel[:, u::4, v::4].mean() for u in range(4) for v in range(4)]
        energy += sum((mean - np.mean(means)) ** 2 for mean in means) / c
    return energy


def definitions(config: LossConfig, painting: Tensor, image: Tensor, photo: Tensor) -> list[float]:
    """The weighted terms by the formulas, from the features of the same network."""
    network, relative = loss_network(), config.objective != "paper"
    found, wanted, style = (
        {k: v.numpy() for k, v in network(x.double()).items()} for x in (image, photo, painting[None])
    )
    contents, styles = [], []
    for layer in config.content_layers:
        value = feature_loss_by_definition(found[layer], wanted[layer])
        contents.append(value / np.mean(wanted[layer] ** 2) if relative else value)
    for layer in config.style_layers:
        # The loops are slow for 64 channels; they agree with this contraction in the tests above.
        gram, target = (np.einsum("bihw,bjhw->bij", f, f) / f[0].size for f in (found[layer], style[layer]))
        value = ((gram - target) ** 2).sum() / len(gram)
        styles.append(value / (target**2).sum() if relative else value)
    tv = total_variation_by_definition(image.double().numpy())
    combine = np.mean if relative else np.sum
    return [
        config.content_weight * combine(contents),
        config.style_weight * combine(styles),
        config.tv_weight * (tv / image[0].numel() if relative else tv),
        config.grid_weight * grid_energy_by_definition(image.double().numpy()),
    ]


@pytest.mark.parametrize("config", [CONFIG, PAPER], ids=lambda c: c.objective)
@pytest.mark.parametrize("content_layers", [("relu2_1",), ("relu1_2", "relu2_2")])
def test_the_objective_is_the_weighted_sum_of_the_equations(
    config: Any, content_layers: tuple[str, ...]
) -> None:
    config = replace(config, content_layers=content_layers)
    painting, image, photo = picture(3, 12, 10, seed=9), picture(2, 3, 9, 8), picture(2, 3, 9, 8, seed=1)
    loss = objective(config, painting)
    terms = loss(image.double(), loss.content_target(photo.double()))
    expected = definitions(config, painting, image, photo)
    np.testing.assert_allclose([t.item() for t in terms], [*expected, 0, 0], rtol=1e-6)
    assert terms.total.item() == pytest.approx(sum(expected), rel=1e-6)


def test_the_style_image_has_no_style_error_and_the_content_image_no_content_error() -> None:
    painting = picture(3, 12, 10, seed=9)
    loss = objective(painting=painting)
    terms = loss(painting[None].double(), loss.content_target(painting[None].double()))
    assert terms.style.item() == pytest.approx(0, abs=1e-20)
    assert terms.content.item() == 0


def test_a_picture_without_features_is_wrong_by_exactly_one_in_style_and_content() -> None:
    config = replace(CONFIG, content_weight=1.0, style_weight=1.0)
    loss = objective(config)
    for name, bias in loss.features.named_parameters():
        if name.endswith("bias"):
            bias.zero_()
    loss = PerceptualLoss(loss.features, picture(3, 12, 10, seed=9).double(), config)
    blank = loss.features.mean.expand(1, 3, 8, 8)  # zero once it is normalized
    terms = loss(blank, loss.content_target(picture(1, 3, 8, 8).double()))
    assert terms.style.item() == pytest.approx(1)
    assert terms.content.item() == pytest.approx(1)


@pytest.mark.parametrize("factor", [0.01, 30.0])
def test_the_dimensionless_objective_does_not_depend_on_the_scale_of_the_features(factor: float) -> None:
    config = replace(CONFIG, style_layers=("relu2_2",), content_layers=("relu2_2",))
    image, photo = picture(1, 3, 8, 8).double(), picture(1, 3, 8, 8, seed=1).double()

    def terms(scale: float) -> list[float]:
        network = loss_network("relu2_2")
        for parameter in network.body.conv2_2.parameters():  # ReLU keeps a positive factor
            parameter.mul_(scale)
        loss = PerceptualLoss(network, picture(3, 12, 10, seed=9).double(), config)
        return [t.item() for t in loss(image, loss.content_target(photo))]

    np.testing.assert_allclose(terms(factor), terms(1.0), rtol=1e-9)


def test_the_target_pass_goes_no_deeper_than_the_content_layers() -> None:
    loss = objective(replace(CONFIG, content_layers=("relu1_2",)))
    ran: list[str] = []
    for name, module in loss.features.body.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    loss.content_target(picture(1, 3, 8, 8).double())
    assert ran == ["conv1_1", "relu1_1", "conv1_2", "relu1_2"]


def test_no_gradient_reaches_the_loss_network_or_the_photograph() -> None:
    loss = objective()
    image, photo = (
        picture(1, 3, 8, 8).double().requires_grad_(),
        picture(1, 3, 8, 8).double().requires_grad_(),
    )
    loss(image, loss.content_target(photo)).total.backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert photo.grad is None
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())


def test_moving_the_objective_takes_the_style_image_along_and_saving_it_leaves_it_out() -> None:
    loss = objective()
    assert loss.float().style_gram("relu1_2").dtype == torch.float32
    assert not any("gram" in name for name in loss.state_dict())


def test_a_style_image_of_one_flat_color_gives_finite_losses() -> None:
    loss = objective(painting=torch.full((3, 12, 10), 0.5))
    photo = picture(1, 3, 8, 8).double()
    assert torch.isfinite(torch.stack([*loss(photo, loss.content_target(photo))])).all()


def test_a_style_image_without_features_is_refused_with_the_layer() -> None:
    network = loss_network()
    for parameter in network.parameters():
        parameter.zero_()
    with pytest.raises(InputError, match="no features at relu1_2: is it a single flat color"):
        PerceptualLoss(network, picture(3, 8, 8).double(), CONFIG)


def test_a_style_image_may_come_as_one_picture_or_as_a_batch_of_one() -> None:
    painting = picture(3, 12, 10, seed=9)
    one, batch = objective(painting=painting), objective(painting=painting[None])
    torch.testing.assert_close(one.style_gram("relu2_2"), batch.style_gram("relu2_2"))


@pytest.mark.parametrize(("arch", "deep"), [("vgg16", "relu4_3"), ("vgg19", "relu4_2")])
def test_each_loss_network_has_its_own_default_style_layers(arch: str, deep: str) -> None:
    assert LossConfig(objective="dimensionless").style_layers_for(arch)[-1] == deep
    assert LossConfig().style_layers_for(arch)[-1] == "relu5_1"
    assert LossConfig(style_layers=("relu1_1",)).style_layers_for(arch) == ("relu1_1",)


def test_descending_the_objective_over_pixels_halves_it_within_twenty_steps() -> None:
    loss = objective().float()
    photo = picture(1, 3, 16, 16, seed=1)
    target, image = loss.content_target(photo), photo.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.05)
    values = []
    for _ in range(21):
        total = loss(image, target).total
        values.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert values[-1] < values[0] / 2


def test_a_grid_costs_what_its_phases_differ_by_whatever_lies_under_it() -> None:
    tile = normal(4, 4)
    offset = tile - tile.mean()
    flat = picture(2, 3, 1, 1, dtype=torch.float64).expand(2, 3, 32, 24)
    found = grid_of(flat + tile.repeat(8, 6))
    torch.testing.assert_close(found, offset.square().sum())


def test_a_picture_without_a_grid_costs_nothing_and_texture_next_to_nothing() -> None:
    flat = picture(2, 3, 1, 1, dtype=torch.float64).expand(2, 3, 32, 24)
    assert grid_of(flat) < 1e-30
    assert grid_of(normal(1, 3, 256, 256)) < 0.01


def test_a_grid_of_period_two_is_seen_and_one_of_period_three_is_not() -> None:
    columns = torch.arange(240)
    two = (columns % 2).double().expand(1, 3, 240, 240)
    three = (columns % 3).double().expand(1, 3, 240, 240)
    assert grid_of(two) > 3.9
    assert grid_of(three) < 1e-20


def test_a_grid_is_seen_at_sizes_that_are_no_multiple_of_its_period() -> None:
    assert grid_of((torch.arange(43) % 4).float().expand(1, 3, 41, 43)) > 1


def test_the_gradient_of_the_grid_energy_is_right() -> None:
    assert gradcheck(grid_of, picture(2, 2, 8, 9, dtype=torch.float64).requires_grad_())

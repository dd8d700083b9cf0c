"""The style predictor: what it is told of a style image, and the row it makes of that."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fast_nst.config import GalleryNetConfig, StylePredictorConfig
from fast_nst.models.checkpoint import row_shapes
from fast_nst.models.gallery_net import GalleryNet, color_root
from fast_nst.models.style_predictor import (
    StyleDescription,
    StylePredictorNet,
    describe_style,
    relative_colors,
)
from fast_nst.models.vgg import load_vgg

LAYERS = ("relu1_1", "relu2_1")
STATISTICS = 2 * (64 + 128)


def image(seed: int, height: int = 40, width: int = 48) -> Tensor:
    return torch.rand((3, height, width), generator=torch.Generator().manual_seed(seed))


def described(seed: int, scale: float = 1.0) -> StyleDescription:
    return describe_style(image(seed), scale, load_vgg("distilled", LAYERS), LAYERS)


def predictor(components: int = 3) -> StylePredictorNet:
    torch.manual_seed(0)
    shapes = row_shapes(GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1)))
    network = StylePredictorNet(StylePredictorConfig(STATISTICS, components, width=5), shapes)
    network.fit_statistics(torch.stack([described(seed).statistics for seed in range(6)]))
    return network


def batch(*styles: StyleDescription) -> StyleDescription:
    return StyleDescription(*map(torch.stack, zip(*styles, strict=True)))


def test_a_style_image_is_described_by_means_and_deviations_of_its_features() -> None:
    vgg = load_vgg("distilled", LAYERS)
    found, features = described(1).statistics, vgg(image(1)[None], LAYERS)
    assert found.shape == (STATISTICS,)
    torch.testing.assert_close(found[:64], features["relu1_1"][0].mean(dim=(1, 2)), atol=1e-4, rtol=1e-3)
    deviation = features["relu2_1"][0].std(dim=(1, 2), correction=0)
    torch.testing.assert_close(found[-128:], deviation, atol=1e-3, rtol=1e-2)


def test_mirroring_a_style_image_leaves_its_colors_as_they_are() -> None:
    vgg = load_vgg("distilled", LAYERS)
    one, other = (describe_style(picture, 2.0, vgg, LAYERS) for picture in (image(3), image(3).flip(2)))
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.root, other.root, atol=1e-5, rtol=1e-4)
    assert float(one.scale) == 1.0


def test_components_of_the_training_images_have_variance_one() -> None:
    network = predictor()
    statistics = torch.stack([described(seed).statistics for seed in range(6)])
    found = (statistics - network.center) @ network.components
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.square().mean(dim=0), torch.ones(3), atol=0.02, rtol=0.02)


def test_an_untrained_predictor_gives_the_mean_row_with_the_colors_of_the_style_image() -> None:
    network, gallery = predictor(), GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1, rows=4))
    own = {name: torch.randn_like(gallery.state_dict()[name]) for name in row_shapes(gallery)}
    own["color"], own["offset"] = torch.eye(3).repeat(4, 1, 1), torch.zeros(4, 3)
    network.fit_rows(own)
    rows = network(batch(described(1), described(2)))
    mean, root = color_root(image(2))
    torch.testing.assert_close(rows["color"][1], root.float(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(rows["offset"][1], mean.float(), atol=1e-4, rtol=1e-3)
    for name in own.keys() - {"color", "offset"}:
        torch.testing.assert_close(rows[name][0], own[name].mean(dim=0))


def test_each_style_image_of_a_batch_has_the_row_that_it_has_alone() -> None:
    network = predictor()
    torch.nn.init.normal_(network.row.weight)
    together = network(batch(described(1), described(2, scale=2.0)))
    alone = network(batch(described(2, scale=2.0)))
    assert together.keys() == network.shapes.keys()
    for name, row in alone.items():
        torch.testing.assert_close(together[name][1], row[0])
        assert row.shape[1:] == network.shapes[name]


def test_a_painting_unlike_all_others_gives_a_finite_row() -> None:
    network = predictor()
    torch.nn.init.normal_(network.row.weight)
    far = described(1)._replace(statistics=torch.full((STATISTICS,), 1e6))
    with torch.no_grad():
        rows = network(batch(far))
    assert all(torch.isfinite(row).all() for row in rows.values())
    assert max(float(row.abs().max()) for row in rows.values()) < 1e3


@pytest.mark.parametrize("seed", [1, 2])
def test_relative_colors_are_the_inverse_of_what_the_predictor_does(seed: int) -> None:
    style = described(seed)
    color, offset = torch.randn(3, 3), torch.randn(3)
    found = relative_colors(color[None], offset[None], style.mean[None], style.root[None])
    torch.testing.assert_close(style.root @ found[0][0], color, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(style.mean + style.root @ found[1][0], offset, atol=1e-3, rtol=1e-3)

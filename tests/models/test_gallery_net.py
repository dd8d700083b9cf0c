"""The network of many styles and its objective."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_nst.config import GalleryNetConfig, LossConfig
from fast_nst.errors import InputError
from fast_nst.models.checkpoint import CheckpointError, load_gallery, save_checkpoint
from fast_nst.models.gallery_files import gallery_rows
from fast_nst.models.gallery_loss import GalleryLoss
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.vgg import VGGFeatures

SMALL = GalleryNetConfig(widths=(4, 6, 8), blocks=2, rows=3)
ROWS = [{"style": None, "scale": 0.0}, {"style": "one", "scale": 1.0}, {"style": "two", "scale": 1.0}]


@pytest.fixture(scope="module")
def network() -> GalleryNet:
    torch.manual_seed(0)
    net = GalleryNet(SMALL).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return net


@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_an_image_of_any_size_keeps_its_size(network: GalleryNet, height: int, width: int) -> None:
    out = network(torch.rand(1, 3, height, width), torch.tensor([[0.0, 0.3, 0.7]]))
    assert out.shape == (1, 3, height, width)
    assert torch.isfinite(out).all()


def test_each_image_of_a_batch_takes_its_own_row(network: GalleryNet) -> None:
    images = torch.rand(1, 3, 24, 16).expand(3, -1, -1, -1)
    together = network(images, torch.eye(3))
    for row, mixture in enumerate(torch.eye(3)):
        torch.testing.assert_close(together[row], network(images[:1], mixture[None])[0], atol=1e-5, rtol=1e-4)
    distances = [(together[i] - together[j]).abs().max() for i, j in itertools.combinations(range(3), 2)]
    assert min(distances) > 0.01  # and the rows differ


@pytest.mark.parametrize("widths", [(4,), (16, 48), (4, 6, 8)])
def test_the_stride_is_what_the_lowest_resolution_needs(widths: tuple[int, ...]) -> None:
    config = GalleryNetConfig(widths=widths, rows=2)
    assert config.stride == 2 ** len(config.widths)
    out = GalleryNet(config)(torch.rand(1, 3, 33, 17), torch.tensor([[0.5, 0.5]]))
    assert out.shape == (1, 3, 33, 17)


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": ()},
        {"widths": (4, 0)},
        {"blocks": -1},
        {"stem": 4},
        {"rows": 0},
    ],
)
def test_impossible_shapes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        dataclasses.replace(SMALL, **wrong)


def test_a_checkpoint_gives_the_network_and_its_rows_back(network: GalleryNet, tmp_path: Path) -> None:
    path = tmp_path / "gallery.safetensors"
    save_checkpoint(path, network, {"rows": ROWS, "style": "gallery"}, half=False)
    loaded = load_gallery(path)
    images, mixture = torch.rand(1, 3, 16, 16), torch.tensor([[0.2, 0.5, 0.3]])
    assert torch.equal(loaded.network(images, mixture), network(images, mixture))
    assert [row.style for row in gallery_rows(path, loaded.metadata)] == [None, "one", "two"]


@pytest.mark.parametrize(
    "rows",
    [
        None,
        ROWS[:2],
        [*ROWS[:2], {"style": 3, "scale": 1.0}],
        [*ROWS[:2], "two"],
        [*ROWS[:2], {"style": "two"}],
    ],
)
def test_a_checkpoint_whose_rows_do_not_fit_is_refused(
    network: GalleryNet, tmp_path: Path, rows: object
) -> None:
    path = tmp_path / "gallery.safetensors"
    save_checkpoint(path, network, {} if rows is None else {"rows": rows})
    with pytest.raises(CheckpointError, match="rows"):
        load_gallery(path)


@pytest.fixture(scope="module")
def features() -> VGGFeatures:
    torch.manual_seed(1)
    return VGGFeatures("vgg16", ["relu1_2"])


CONFIG = LossConfig(content_layers=("relu1_2",), style_layers=("relu1_1", "relu1_2"), style_weight=3.0)


def test_the_objective_of_one_style_is_the_perceptual_objective(features: VGGFeatures) -> None:
    style, photos = torch.rand(3, 24, 20), torch.rand(2, 3, 16, 16)
    images = torch.rand(2, 3, 16, 16)
    one = PerceptualLoss(features, style, CONFIG)
    many = GalleryLoss(features, [None, style, torch.rand(3, 24, 20)], CONFIG)
    expected = one(images, one.content_target(photos))
    found = many(images, many.content_target(photos, torch.tensor([1, 1])))
    for name in ("content", "tv"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    distance = many.style_distances(images, torch.tensor([1, 1])).mean()
    torch.testing.assert_close(CONFIG.style_weight * distance, expected.style)
    assert float(found.identity) == 0


def test_a_style_keeps_its_weight_however_strong_its_features_are(features: VGGFeatures) -> None:
    style = torch.rand(3, 24, 20)
    images = torch.rand(1, 3, 16, 16)
    weights = []
    for strength in (1.0, 0.05):
        loss = GalleryLoss(features, [style * strength], CONFIG)
        weights.append(float(loss.style_distances(images * strength, torch.tensor([0]))))
    # Normalization inside VGG is affine, so the two are alike and not equal; the raw sums differ 1000 times.
    assert 0.1 < weights[0] / weights[1] < 10


def test_the_content_row_asks_for_the_content_image(features: VGGFeatures) -> None:
    photos = torch.rand(2, 3, 16, 16)
    loss = GalleryLoss(features, [None, torch.rand(3, 24, 20)], CONFIG)
    rows = torch.tensor([0, 0])
    same = loss(photos, loss.content_target(photos, rows))
    other = loss(photos.flip(3), loss.content_target(photos, rows))
    assert float(same.identity) == float(same.style) == float(same.content) == 0
    assert float(other.identity) > 0.5


def test_a_flat_style_image_is_refused_and_so_is_none_at_all(features: VGGFeatures) -> None:
    with pytest.raises(InputError, match="no style image"):
        GalleryLoss(features, [None], CONFIG)


def test_rows_are_balanced() -> None:
    from fast_nst.training.data.sampling import rows_of

    drawn = [row for step in range(30) for row in rows_of(7, step, 4, 5)]
    assert np.bincount(drawn).tolist() == [24] * 5
    assert drawn[:5] != drawn[5:10]  # in another order each time
    assert drawn == [row for step in range(60) for row in rows_of(7, step, 2, 5)]


def test_a_style_term_is_at_most_two_and_agrees_near_its_end(features: VGGFeatures) -> None:
    style = torch.rand(3, 16, 16)
    loss = GalleryLoss(features, [style, 0.02 * style], CONFIG)
    far = loss(torch.rand(1, 3, 16, 16), loss.content_target(style[None], torch.tensor([1])))
    assert 0 < float(far.style) <= 2 * CONFIG.style_weight
    near = (style + 0.001 * torch.rand(3, 16, 16))[None]
    found = loss(near, loss.content_target(style[None], torch.tensor([0]))).style
    expected = CONFIG.style_weight * loss.style_distances(near, torch.tensor([0])).mean()
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0)


def test_rows_begin_with_the_colors_of_their_style_images() -> None:
    net = GalleryNet(SMALL)
    style = torch.rand(3, 20, 20) * torch.tensor([0.2, 0.5, 1.0])[:, None, None]
    net.start_with_colors([None, style, None])
    torch.testing.assert_close(net.offset[1], style.mean(dim=(1, 2)))
    covariance = torch.cov(style.flatten(1))
    torch.testing.assert_close(net.color[1] @ net.color[1].T, covariance, atol=2e-4, rtol=0.05)
    assert torch.equal(net.color[0], torch.eye(3))


def test_tiles_of_the_networks_stride_cost_more_than_pictures_without_them(features: VGGFeatures) -> None:
    loss = GalleryLoss(features, [torch.rand(3, 24, 20)], CONFIG)
    images, rows = torch.rand(2, 3, 64, 64), torch.tensor([0, 0])
    target = loss.content_target(images, rows)
    tiles = images + 0.1 * torch.rand(3, 8, 8).repeat(1, 8, 8)
    assert float(loss(tiles, target).grid) > 2 * float(loss(images, target).grid)


def test_16_bits_keep_what_a_nearly_flat_image_varies_by() -> None:
    noise = torch.randint(-2, 3, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    net, mixture = GalleryNet(SMALL), torch.tensor([[0.0, 1.0, 0.0]])
    images = 0.8 + noise / 255
    with torch.inference_mode():
        exact = net(images, mixture)
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(images, mixture)
    assert (rough - exact).std() < 0.1 * exact.std()

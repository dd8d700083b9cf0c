"""A row for any style image: whose norms it has, and whose colors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fast_nst.config import GalleryNetConfig
from fast_nst.io.images import from_uint8
from fast_nst.models.checkpoint import row_shapes
from fast_nst.models.gallery_files import GalleryRow
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.nearest_row import SIDE, NearestRow
from fast_nst.models.reference_picture import reference_picture
from fast_nst.models.vgg import load_vgg

ROWS = [
    GalleryRow(None, 0.0),
    *(GalleryRow(style, scale) for style in ("one", "two") for scale in (1.0, 2.0)),
]
LAYERS = ("relu1_1", "relu2_1")


@pytest.fixture(scope="module")
def network() -> GalleryNet:
    torch.manual_seed(2)
    net = GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1, rows=len(ROWS))).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return net


@pytest.fixture(scope="module")
def predictor(network: GalleryNet) -> NearestRow:
    return NearestRow(network, ROWS, load_vgg("distilled", LAYERS), LAYERS)


def reference() -> Tensor:
    return from_uint8(reference_picture(SIDE, SIDE))[None]


def stylized(network: GalleryNet, row: int) -> Tensor:
    return network(reference(), torch.eye(len(ROWS))[row][None])[0]


@pytest.mark.parametrize("row", [1, 2, 3, 4])
def test_what_a_row_makes_is_recognized_as_its_own(
    network: GalleryNet, predictor: NearestRow, row: int
) -> None:
    found = predictor.row(stylized(network, row), ROWS[row].scale)
    state = network.state_dict()
    for name in row_shapes(network):
        torch.testing.assert_close(found[name], state[name][row], atol=1e-3, rtol=1e-3)


def test_a_change_of_colors_does_not_change_the_brushwork(network: GalleryNet, predictor: NearestRow) -> None:
    matrix = torch.tensor([[0.6, 0.1, 0.0], [0.0, 0.5, 0.1], [0.1, 0.0, 0.7]])
    recolored = torch.einsum("oc,chw->ohw", matrix, stylized(network, 3)) + 0.2
    found, state = predictor.row(recolored, 1.0), network.state_dict()
    for name in row_shapes(network).keys() - {"color", "offset"}:
        torch.testing.assert_close(found[name], state[name][3])


def test_results_get_the_mean_and_covariance_of_the_style_images_colors(
    network: GalleryNet, predictor: NearestRow
) -> None:
    style = torch.from_numpy(np.random.default_rng(1).random((3, 40, 50))).float()
    style[1] = 0.3 + 0.2 * style[0] + 0.1 * style[2]
    found = predictor.row(style, 1.0)
    with torch.no_grad():
        other = GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1, rows=1)).eval()
        state = {name: t for name, t in network.state_dict().items() if name not in found}
        other.load_state_dict(state | {name: t[None] for name, t in found.items()})
        made = other(reference(), torch.ones(1, 1))[0].flatten(1)
    torch.testing.assert_close(made.mean(dim=1), style.flatten(1).mean(dim=1), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.cov(made), torch.cov(style.flatten(1)), atol=1e-3, rtol=1e-2)


def test_the_row_that_gives_the_content_image_is_never_taken(
    network: GalleryNet, predictor: NearestRow
) -> None:
    found = predictor.row(stylized(network, 0), 0.0)
    state = network.state_dict()
    name = next(iter(sorted(row_shapes(network).keys() - {"color", "offset"})))
    assert not torch.equal(found[name], state[name][0])

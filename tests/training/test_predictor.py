"""Training of the style predictor: its style images, and rows through a gallery that stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fast_nst.config import GalleryNetConfig, LossConfig
from fast_nst.io.images import save_image
from fast_nst.models.checkpoint import row_shapes
from fast_nst.models.gallery_files import GalleryRow
from fast_nst.models.gallery_loss import GalleryLoss
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.gram import gram_matrix
from fast_nst.models.vgg import load_vgg
from fast_nst.training.predictor import (
    PredictedGallery,
    StylePool,
    component_noise,
    new_predictor,
    style_pool,
    varied_styles,
)

LAYERS = ("relu1_1", "relu2_1")
ROWS = [GalleryRow(None, 0.0), GalleryRow("one", 1.0), GalleryRow("two", 1.0)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, generator = tmp_path_factory.mktemp("paintings"), torch.Generator().manual_seed(1)
    found = []
    for number in range(4):
        coarse = torch.rand((1, 3, 6 + number, 8), generator=generator)
        found.append(folder / f"{number}.png")
        save_image(found[-1], torch.nn.functional.interpolate(coarse, (72, 96), mode="bilinear")[0])
    return found


@pytest.fixture(scope="module")
def pool(files: list[Path]) -> StylePool:
    styles = varied_styles(files, (1.0, 2.0), 32, 1, seed=0)
    return style_pool(styles, load_vgg("distilled", LAYERS), LAYERS)


def gallery() -> GalleryNet:
    torch.manual_seed(3)
    return GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1, rows=len(ROWS)))


def test_style_images_are_the_same_for_the_same_seed_and_have_the_size_of_their_scale(
    files: list[Path],
) -> None:
    first, again, other = (list(varied_styles(files, (1.0, 2.0), 32, 1, seed=seed)) for seed in (0, 0, 1))
    assert [scale for _, scale in first] == [1.0, 1.0, 2.0, 2.0] * len(files)
    assert all(min(image.shape[1:]) == 32 * scale for image, scale in first)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))
    assert all(image.min() >= 0 and image.max() <= 1 for image, _ in first)


def test_the_pool_has_the_gram_matrices_of_its_style_images(files: list[Path], pool: StylePool) -> None:
    image, _ = next(varied_styles(files, (1.0, 2.0), 32, 1, seed=0))
    wanted = gram_matrix(load_vgg("distilled", LAYERS)(image[None], LAYERS)["relu2_1"])[0]
    torch.testing.assert_close(pool.grams[0]["relu2_1"], wanted)
    assert len(pool.grams) == len(pool.described.mean) == 4 * len(files)


def test_a_new_predictor_gives_rows_near_the_mean_of_the_gallery(pool: StylePool) -> None:
    network = gallery()
    own = StylePool(pool.described.at([0, 4]), [])
    rows = new_predictor(network, ROWS, own, pool, seed=0)(pool.described.at([0, 1]))
    state = network.state_dict()
    for name in row_shapes(network).keys() - {"color", "offset"}:
        torch.testing.assert_close(rows[name][1], state[name][1:].mean(dim=0))


def test_a_batch_is_stylized_with_each_images_own_row_and_only_the_predictor_learns(pool: StylePool) -> None:
    network = gallery()
    own = StylePool(pool.described.at([0, 4]), [])
    model = PredictedGallery(network, new_predictor(network, ROWS, own, pool, seed=0))
    torch.nn.init.normal_(model.predictor.row.weight, std=0.1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.rand(2, 3, 24, 24)
    both = model(images, pool.described.at([2, 9]))
    torch.testing.assert_close(both[1:], model(images[1:], pool.described.at([9])), atol=1e-5, rtol=1e-4)

    config = LossConfig(style_layers=LAYERS, content_layers=("relu2_1",))
    loss = GalleryLoss(load_vgg("distilled", LAYERS), pool.grams, config)
    rows = torch.tensor([2, 9])
    optimizer = torch.optim.Adam(model.predictor.parameters(), lr=1e-2)
    values: list[float] = []
    for step in range(12):
        noise = component_noise(2, model.predictor.config.components, 0, step)
        target = loss.content_target(images, rows)
        total: Tensor = sum(loss(model(images, pool.described.at([2, 9]), noise), target))
        optimizer.zero_grad()
        torch.autograd.backward(total)
        optimizer.step()
        values.append(float(total.detach()))
    assert values[-1] < values[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_noise_depends_on_the_seed_and_the_step_alone() -> None:
    assert torch.equal(component_noise(2, 5, 1, 7), component_noise(2, 5, 1, 7))
    assert not torch.equal(component_noise(2, 5, 1, 7), component_noise(2, 5, 1, 8))

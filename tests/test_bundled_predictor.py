"""The style predictor that comes with the package: it fits the gallery; results are near a painting."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fast_nst.config import LossConfig
from fast_nst.inference.any_painting import predict_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import from_uint8, load_image, save_image
from fast_nst.models.gram import gram_matrix
from fast_nst.models.losses import gram_error
from fast_nst.models.model_files import bundled_galleries, predictor_of
from fast_nst.models.reference_picture import reference_picture
from fast_nst.models.vgg import load_vgg

GALLERY = bundled_galleries()["gallery"]
PAINTINGS = ("starry-night", "senecio")
LAYERS = LossConfig().style_layers_for("distilled")


def distances(images: list[Tensor], painting: Tensor) -> list[float]:
    """Of each image, the relative error of its Gram matrices to the painting's."""
    vgg = load_vgg("distilled", LAYERS)
    with torch.no_grad():
        wanted = {k: gram_matrix(f) for k, f in vgg(painting[None], LAYERS).items()}
        found = [{k: gram_matrix(f) for k, f in vgg(image[None], LAYERS).items()} for image in images]
    return [
        float(torch.stack([gram_error(grams[k], wanted[k], bounded=True) for k in LAYERS]).mean())
        for grams in found
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The reference picture in the predicted style of each painting."""
    folder, content = tmp_path_factory.mktemp("predicted"), from_uint8(reference_picture(192, 192))
    made = {}
    for name in PAINTINGS:
        file = folder / f"{name}.safetensors"
        predict_style(GALLERY.parent / "paintings" / f"{name}.jpg", GALLERY, file, f"predicted-{name}")
        made[name] = Stylizer.load(file, device="cpu", precision="fp32", backend="torch")(content)
    return made


def test_it_belongs_to_the_bundled_gallery_and_has_at_most_two_megabytes() -> None:
    file = predictor_of(GALLERY)
    assert file is not None
    assert file.stat().st_size <= 2e6


@pytest.mark.slow
def test_a_result_is_nearer_to_its_painting_than_the_content_and_other_paintings_results_are(
    results: dict[str, Tensor],
) -> None:
    content = from_uint8(reference_picture(192, 192))
    for name in PAINTINGS:
        painting = load_image(GALLERY.parent / "paintings" / f"{name}.jpg", short_side=256)
        others = [other for other in PAINTINGS if other != name]
        own, plain, *rest = distances(
            [results[name], content, *(results[other] for other in others)], painting
        )
        assert own < plain / 2, name
        assert own < min(rest), name


@pytest.mark.slow
def test_results_of_different_paintings_differ(results: dict[str, Tensor]) -> None:
    for one, other in itertools.combinations(results.values(), 2):
        assert float((one - other).abs().mean()) * 255 > 8


@pytest.mark.slow
def test_a_painting_of_one_color_gives_a_picture_and_no_error(tmp_path: Path) -> None:
    save_image(tmp_path / "blue.png", np.full((80, 90, 3), (20, 40, 200), np.uint8))
    predict_style(tmp_path / "blue.png", GALLERY, tmp_path / "blue.safetensors")
    stylize = Stylizer.load(tmp_path / "blue.safetensors", device="cpu", precision="fp32", backend="torch")
    result = stylize(reference_picture(96, 96)).astype(float)
    assert result[..., 2].mean() > result[..., 0].mean()

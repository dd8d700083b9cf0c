"""What predicts rows of a gallery: its trained style predictor where it has one, else the nearest row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fast_nst.config import GalleryNetConfig, LossConfig, StylePredictorConfig
from fast_nst.models.checkpoint import CheckpointError, load_gallery, row_shapes, save_checkpoint
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import predictor_of
from fast_nst.models.nearest_row import NearestRow
from fast_nst.models.style_prediction import load_predictor, row_predictor, save_predictor
from fast_nst.models.style_predictor import StyleDescription, StylePredictorNet, describe_style
from fast_nst.models.vgg import load_vgg

LAYERS = LossConfig().style_layers_for("distilled")


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    network = GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1, rows=3))
    rows = [{"style": style, "scale": 1.0} for style in (None, "one", "two")]
    save_checkpoint(tmp_path / "mine.safetensors", network, {"rows": rows})
    return tmp_path / "mine.safetensors"


def written(gallery: Path, sha256: str | None = None) -> StylePredictorNet:
    trained = load_gallery(gallery)
    network = StylePredictorNet(StylePredictorConfig(components=4, width=8), row_shapes(trained.network))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    torch.nn.init.normal_(network.components, std=0.001)
    (gallery.parent / "style-predictors").mkdir()
    file = gallery.parent / "style-predictors" / "mine.safetensors"
    save_predictor(file, network, sha256 or trained.metadata["sha256"], licence="MIT")
    return network


def test_a_gallery_with_a_trained_predictor_uses_it(gallery: Path) -> None:
    network = written(gallery)
    style = torch.rand(3, 40, 48)
    found = row_predictor(gallery, load_gallery(gallery)).row(style, 1.0)
    described = describe_style(style, 1.0, load_vgg("distilled", LAYERS), LAYERS)
    with torch.no_grad():
        wanted = network(StyleDescription(*(part[None] for part in described)))
    for name, row in wanted.items():
        torch.testing.assert_close(found[name], row[0], atol=0.02, rtol=0.02)  # fp16 in the file


def test_a_predictor_of_another_gallery_is_not_taken(gallery: Path) -> None:
    written(gallery, "0" * 64)
    assert predictor_of(gallery) is None
    assert isinstance(row_predictor(gallery, load_gallery(gallery)), NearestRow)


def test_a_predictor_that_does_not_fit_is_refused_by_name(gallery: Path) -> None:
    written(gallery)
    file = predictor_of(gallery)
    assert file is not None
    with pytest.raises(CheckpointError, match=r"has shape .* its network needs"):
        load_predictor(file, GalleryNet(GalleryNetConfig(widths=(4, 8), blocks=1, rows=2)))
    with pytest.raises(CheckpointError, match="is a gallery of styles, not a style predictor"):
        load_predictor(gallery, load_gallery(gallery).network)
    with pytest.raises(CheckpointError, match="is a style predictor, not a gallery"):
        load_gallery(file)


def test_a_damaged_predictor_is_an_error_and_not_left_out_in_silence(gallery: Path) -> None:
    written(gallery)
    file = predictor_of(gallery)
    assert file is not None
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged"):
        row_predictor(gallery, load_gallery(gallery))

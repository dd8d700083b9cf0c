"""A gallery in every engine: rows mixed, strength, stroke size, row bands."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fast_nst.config import GalleryNetConfig
from fast_nst.errors import InputError
from fast_nst.inference.controls import Controls
from fast_nst.inference.styles import mix_rows
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture
from fast_nst.models.checkpoint import GalleryCheckpoint, save_checkpoint
from fast_nst.models.gallery_files import GalleryRow
from fast_nst.models.gallery_net import GalleryNet

ROWS = [
    GalleryRow(None, 0.0),
    *(GalleryRow(style, scale) for style in ("one", "two") for scale in (1.0, 2.0)),
]
ENGINES = ["torch", "openvino", "onnx"]


@pytest.fixture(scope="module")
def network() -> GalleryNet:
    torch.manual_seed(3)
    config = GalleryNetConfig(widths=(4, 6, 8), blocks=2, rows=len(ROWS))
    net = GalleryNet(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return net


@pytest.fixture(scope="module")
def checkpoint(network: GalleryNet) -> GalleryCheckpoint:
    rows = [{"style": row.style, "scale": row.scale} for row in ROWS]
    return GalleryCheckpoint(network, {"style": "my", "rows": rows})


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8)


def engine(name: str) -> str:
    if name != "torch":
        pytest.importorskip({"openvino": "openvino", "onnx": "onnxruntime"}[name])
    return name


def expected(
    network: GalleryNet, photo: NDArray[np.uint8], weights: dict[str, float], **asked: float
) -> NDArray[np.floating]:
    """The network itself, in levels."""
    mixture = mix_rows(ROWS, weights, **asked)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255
    out = network(image, torch.from_numpy(mixture.rows)[None])
    out = (1 - mixture.content) * out + mixture.content * image
    return (255 * out.clamp(0, 1))[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_every_engine_mixes_rows_as_the_network_does(
    network: GalleryNet, checkpoint: GalleryCheckpoint, photo: NDArray[np.uint8], name: str, strength: float
) -> None:
    stylizer = Stylizer(checkpoint, backend=engine(name), precision="fp32")
    mixed = stylizer.mix({"one": 3, "two": 1}, strength=strength, stroke=1.5)
    assert mixed.weights == {"one": 0.75, "two": 0.25}
    wanted = expected(network, photo, {"one": 3, "two": 1}, strength=strength, stroke=1.5)
    assert np.abs(mixed(photo) - wanted).max() < 0.51


@pytest.mark.parametrize("name", ENGINES)
def test_strength_zero_is_the_content_image(
    checkpoint: GalleryCheckpoint, photo: NDArray[np.uint8], name: str
) -> None:
    stylizer = Stylizer(checkpoint, backend=engine(name), precision="fp32").mix({"one": 1}, strength=0)
    assert np.array_equal(stylizer(photo), photo)


def test_row_bands_give_the_whole_picture(checkpoint: GalleryCheckpoint) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (150, 70, 3), dtype=np.uint8)
    for strength in (1.0, 0.5):
        stylizer = Stylizer(checkpoint, backend="torch", precision="fp32").mix({"two": 1}, strength=strength)
        whole = stylizer(photo)
        for rows in (1, 7, 64):
            bands = stylizer.in_bands(Picture(photo), rows=rows).rgb
            assert np.abs(bands.astype(int) - whole).max() <= 1


def test_controls_and_mixtures_say_the_same(checkpoint: GalleryCheckpoint, photo: NDArray[np.uint8]) -> None:
    plain = Stylizer(checkpoint, backend="torch", precision="fp32")
    asked = Controls(strength=0.4, stroke=2.0, colors="photo")
    given = Stylizer(checkpoint, backend="torch", precision="fp32", controls=asked)
    assert np.array_equal(plain.with_controls(asked)(photo), given(photo))
    back = given.with_controls(Controls())
    assert np.array_equal(back(photo), plain(photo))
    recolored = given.with_controls(dataclasses.replace(asked, colors="style"))
    assert np.array_equal(recolored(photo), plain.mix({"one": 1}, strength=0.4, stroke=2.0)(photo))


def test_a_stroke_size_beyond_the_rows_changes_the_size_the_network_sees(
    checkpoint: GalleryCheckpoint, photo: NDArray[np.uint8]
) -> None:
    large = Stylizer(checkpoint, backend="torch", precision="fp32").mix({"one": 1}, stroke=4.0)
    assert large(photo).shape == photo.shape
    assert not np.array_equal(large(photo), large.mix({"one": 1}, stroke=2.0)(photo))


def test_what_a_gallery_lacks_is_refused(checkpoint: GalleryCheckpoint) -> None:
    with pytest.raises(InputError, match="no style three"):
        Stylizer(checkpoint, backend="torch").mix({"three": 1})
    single = Stylizer.load("the-scream-full", backend="torch")
    assert single.styles == ()
    with pytest.raises(InputError, match="one style"):
        single.mix({"the-scream": 1})


def test_the_command_takes_a_mixture_of_a_file(
    network: GalleryNet, checkpoint: GalleryCheckpoint, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    from PIL import Image

    from fast_nst.cli.stylize import main

    file, source = tmp_path / "my.safetensors", tmp_path / "photo.png"
    save_checkpoint(file, network, checkpoint.metadata, half=False)
    Image.fromarray(photo).save(source)
    out = tmp_path / "out.png"
    asked = ["--style", f"{file}#one:0.6,two:0.4", "--strength", "0.8", "--precision", "fp32"]
    assert main([str(source), *asked, "--out", str(out)]) == 0
    with Image.open(out) as image:
        made = np.asarray(image)
    assert np.abs(made - expected(network, photo, {"one": 0.6, "two": 0.4}, strength=0.8)).max() < 0.51


@pytest.mark.parametrize("pixels", ["float", "uint8"])
@pytest.mark.parametrize("upsampling", ["transposed", "shuffled"])
def test_the_exported_graph_mixes_styles_by_its_input(
    network: GalleryNet, photo: NDArray[np.uint8], pixels: str, upsampling: str
) -> None:
    pytest.importorskip("onnxruntime")
    from fast_nst.inference.engine.folded_net import arrays_of
    from fast_nst.inference.engine.gallery_graph import build_gallery_graph
    from fast_nst.system.onnxruntime import onnxruntime

    graph = build_gallery_graph(network.config, arrays_of(network), {}, pixels=pixels, upsampling=upsampling)
    session = onnxruntime().InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    image = photo[None] if pixels == "uint8" else (photo.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    for strength in (1.0, 0.5, 0.0):
        mixture = mix_rows(ROWS, {"one": 1, "two": 2}, strength=strength, stroke=1.3)
        weights = mixture.rows * (1 - mixture.content)
        (out,) = session.run(None, {"image": image, "style_weights": weights.astype(np.float32)})
        levels = out[0] if pixels == "uint8" else 255 * out[0].transpose(1, 2, 0)
        wanted = expected(network, photo, {"one": 1, "two": 2}, strength=strength, stroke=1.3)
        assert np.abs(levels - wanted).max() < 0.51

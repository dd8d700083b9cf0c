"""From a painting and photographs to a painted picture, by the commands alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from fast_nst.cli import main as command
from fast_nst.inference.engine.folded_net import FoldedNet
from fast_nst.inference.tiled import row_bands
from fast_nst.inference.tiled.sliding_convolution import RowBands
from fast_nst.inference.tiled.streaming import Source
from fast_nst.io.images import load_image
from fast_nst.models.checkpoint import load_checkpoint
from fast_nst.models.gram import gram_matrix
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.vgg import load_vgg

SIDE = 32


@pytest.fixture
def train(quick: list[str]) -> list[str]:
    """The command that trains on the painting and the photographs of `here`."""
    return ["train", *merged(quick, ["--style", "dots.png", "--batch-size", "4"])]


def merged(flags: list[str], others: list[str]) -> list[str]:
    """Flags with others in their place: none may be given twice."""
    kept, replaced = [], False
    for word in flags:
        if word.startswith("--"):
            replaced = word in others
        if not replaced:
            kept.append(word)
    return [*kept, *others]


@pytest.fixture
def here(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a painting of red dots, soft photographs, a loss network of two convolutions."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    dots = np.where((x % 8 < 4) & (y % 8 < 4), 0, 230)
    painting = np.stack([np.full_like(dots, 220), dots, dots // 2], axis=-1)
    Image.fromarray(painting.astype(np.uint8)).save("dots.png")
    (tmp_path / "photos").mkdir()
    for i in range(4):
        planes = [40 + 30 * i + 4 * x, 250 - 5 * y - 20 * i, 3 * x + 3 * y + 20]
        Image.fromarray(np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)).save(f"photos/{i}.png")
    shutil.copy(material / "vgg.safetensors", tmp_path)
    return tmp_path


def style_distance(picture: str) -> float:
    """Mean over the layers of the squared distance of Gram matrices, relative to the painting's."""
    vgg = load_vgg("vgg16", ["relu1_1", "relu1_2"], file="vgg.safetensors")
    with torch.no_grad():
        found, wanted = vgg(load_image(picture)[None]), vgg(load_image("dots.png")[None])
    distances = []
    for layer, features in wanted.items():
        target = gram_matrix(features)
        distances.append(((gram_matrix(found[layer]) - target).square().sum() / target.square().sum()).item())
    return sum(distances) / len(distances)


def test_a_trained_style_brings_pictures_nearer_to_the_style_image(
    here: Path, train: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = ["--steps", "60", "--learning-rate", "1e-2", "--warmup", "5", "--style-weight", "20"]
    assert command.main(merged(train, steps)) == 0
    assert capsys.readouterr().out == "dots.safetensors\n"
    assert command.main(["stylize", "photos", "--style", "dots.safetensors", "--format", "png"]) == 0
    results = capsys.readouterr().out.splitlines()
    assert results == [f"photos_dots/{i}.png" for i in range(4)]
    # A direction with room, not what 60 steps happen to reach: 0.12 to 0.65 over seeds and processors.
    for result in results:
        assert style_distance(result) < 0.9 * style_distance(result.replace("_dots", ""))


def test_training_and_inference_feed_the_network_the_same_tensor(
    here: Path, train: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """InstanceNorm hides errors of scale from the eye, so this is the only place where they show."""
    shutil.rmtree("photos")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Path("photos").mkdir()
    Image.fromarray(noise).save("photos/photo.jpg", exif=turned, quality=80)
    fed: list[torch.Tensor] = []

    def recorded(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def record(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
            fed.extend(images.detach().clone(memory_format=torch.contiguous_format))
            return forward(network, images)

        return record

    monkeypatch.setattr("fast_nst.training.logging.run_recorder.RunRecorder.preview", lambda *_, **__: None)
    monkeypatch.setattr(TransformNet, "forward", recorded(TransformNet.forward))
    stream = row_bands.stream

    def streamed(network: FoldedNet, source: Source, size: tuple[int, int], **options: Any) -> RowBands:
        fed.append(source(0, size[0]))
        return stream(network, source, size, **options)

    monkeypatch.setattr(row_bands, "stream", streamed)
    assert command.main(merged(train, ["--steps", "2", "--border-weight", "0"])) == 0
    trained, fed[:] = list(fed), []
    given = ["photos/photo.jpg", "--style", "dots.safetensors", "--backend", "torch", "--precision", "fp32"]
    assert command.main(["stylize", *given]) == 0
    (stylized,) = fed
    assert len(trained) == 2 * 4
    assert trained[0].dtype == stylized.dtype == torch.float32
    for image in trained:  # a crop of the whole photograph, mirrored or not
        assert torch.equal(image, stylized) or torch.equal(image, stylized.flip(-1))
    assert 0.9 < stylized.max() <= 1
    # And both see what a person sees: upright, red first.
    with Image.open("photos/photo.jpg") as file:
        seen = np.rot90(np.asarray(file), -1)
    np.testing.assert_array_equal((stylized.permute(1, 2, 0) * 255).round().byte().numpy(), seen)


@pytest.mark.weights
def test_the_real_loss_network_trains_on_real_photographs(
    here: Path, train: list[str], shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights = shared / "data", shared / "weights/vgg19-imagenet-fp16.safetensors"
    where = ["--style", str(data / "styles/starry_night.jpg"), "--dataset", str(data / "coco/train2017")]
    network = ["--loss-network", "vgg19", "--vgg-weights", str(weights)]
    layers = ["--content-layers", "relu2_2", "--style-layers", "relu1_2", "relu2_2", "relu3_2", "relu4_2"]
    arguments = merged(train, [*where, *network, *layers, "--steps", "2", "--max-images", "8"])
    assert command.main(arguments) == 0
    assert capsys.readouterr().out == "starry-night.safetensors\n"
    recipe = load_checkpoint("starry-night.safetensors").metadata["recipe"]
    assert (recipe["loss_network"], recipe["dataset"]) == ("vgg19", "train2017")


@pytest.mark.weights
def test_real_weights_that_end_too_early_are_refused_by_name(
    here: Path, train: list[str], shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared / "weights/vgg16-imagenet-to-conv3_3-fp16.safetensors"
    asked = ["--loss-network", "vgg16", "--vgg-weights", str(weights), "--style-layers", "relu1_2", "relu4_1"]
    arguments = merged(train, asked)
    assert command.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "lacks conv4_1 of vgg16" in line
    assert weights.name in line

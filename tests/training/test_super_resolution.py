"""The second task: the same loop, data and files, and only one place that knows which it is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fast_nst.training
from fast_nst.config import ReconstructionConfig, TrainConfig, UpscaleTrainConfig
from fast_nst.errors import InputError
from fast_nst.models.checkpoint import CheckpointError, load_checkpoint, load_upscaler, read_tensors
from fast_nst.models.resampling import downsample, upsample
from fast_nst.training.data.loader import PhotoBatches
from fast_nst.training.data.photos import open_photos
from fast_nst.training.logging.run_log import read_metrics
from fast_nst.training.trainer import Trainer


@pytest.fixture
def upscale(material: Path, tmp_path: Path) -> UpscaleTrainConfig:
    """The quickest training for super-resolution: eight steps on pixels."""
    return UpscaleTrainConfig(
        dataset=str(material / "photos"),
        out=tmp_path / "x4.safetensors",
        run=tmp_path / "run",
        loss="pixel",
        blocks=1,
        steps=8,
        warmup=2,
        image_size=32,
        batch_size=2,
        report_every=1,
        device="cpu",
        precision="fp32",
        compile="off",
    )


@pytest.fixture
def features(upscale: UpscaleTrainConfig, material: Path) -> UpscaleTrainConfig:
    """The same on features of a random loss network."""
    objective = ReconstructionConfig(feature_layers=("relu1_2",))
    return replace(upscale, loss="feature", objective=objective, vgg_weights=material / "vgg.safetensors")


@pytest.fixture
def many(upscale: UpscaleTrainConfig, material: Path, tmp_path: Path) -> UpscaleTrainConfig:
    """With twenty photographs, of which two are kept apart."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i:02}.png").write_bytes((material / f"photos/{i % 5}.png").read_bytes())
    return replace(upscale, dataset=str(folder), validate_every=4, validation_images=2)


def test_only_the_builders_ask_which_task_it_is() -> None:
    files = list(Path(fast_nst.training.__path__[0]).rglob("*.py"))
    asking = [path.name for path in files if re.search(r"isinstance\([^)]*TrainConfig", path.read_text())]
    assert asking == ["builders.py"]
    text = "".join(path.read_text() for path in files)
    assert not re.findall(r"\.task\b *[!=]= *[\"\']", text)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["pixel", "feature"])
def test_losses_fall(upscale: UpscaleTrainConfig, features: UpscaleTrainConfig, loss: str) -> None:
    config = replace(upscale if loss == "pixel" else features, steps=60, learning_rate=3e-3)
    totals = [report.total for report in Trainer(config)]
    assert sum(totals[-10:]) < 0.95 * sum(totals[:10])


@pytest.mark.parametrize(
    "stages",
    [{"start_size": 32, "start_steps": 3, "image_size": 40}, pytest.param({}, marks=pytest.mark.slow)],
)
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(
    features: UpscaleTrainConfig, tmp_path: Path, stages: dict[str, Any]
) -> None:
    config = replace(features, **stages)
    straight = replace(config, run=tmp_path / "straight", out=tmp_path / "straight.safetensors")
    losses = [report.total for report in Trainer(straight)]
    first, parts = Trainer(config), []
    for report in first:
        parts.append(report.total)
        if report.step == 4:
            first.stop()
    parts += [report.total for report in Trainer(replace(config, resume=True, workers=0))]
    assert parts == losses
    ours, theirs = (read_tensors(run / "last.safetensors")[0] for run in (config.run, straight.run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_network_gets_the_reduced_crop_and_the_crop_is_what_it_was(material: Path) -> None:
    settings = {"batch_size": 3, "image_size": 32, "photo_size": 40, "seed": 1, "workers": 2}
    source = open_photos(material / "photos")
    with (
        PhotoBatches(source, network_input=lambda crop: downsample(crop, 4), **settings) as given,
        PhotoBatches(source, **settings) as plain,
    ):
        batch, same = next(given), next(plain)
    assert torch.equal(batch.images, same.images)
    assert same.inputs is None
    expected = np.stack([downsample(crop, 4) for crop in batch.images.numpy()])
    np.testing.assert_array_equal(batch.inputs.numpy(), expected)


def test_photographs_are_not_reduced_to_fit_the_crops(upscale: UpscaleTrainConfig) -> None:
    task = Trainer(upscale).task
    assert task.photo_size(96) == 512
    assert task.photo_size(600) == 600
    assert Trainer(replace(upscale, photo_size=300)).task.photo_size(96) == 300


def test_previews_show_low_resolution_bicubic_ours_and_the_original(upscale: UpscaleTrainConfig) -> None:
    list(Trainer(replace(upscale, steps=1)))
    with Image.open(upscale.run / "previews" / "step_000000.jpg") as sheet:
        shown = np.asarray(sheet).astype(int)
    assert shown.shape == (4 * 256, 4 * 256, 3)
    low, bicubic, ours, original = np.split(shown[:256], 4, axis=1)
    assert np.abs(bicubic - ours).mean() < 3  # untrained, and both through JPEG
    small = downsample(original.astype(np.uint8).transpose(2, 0, 1), 4)
    assert np.abs(upsample(small, 4).transpose(1, 2, 0) - bicubic).mean() < 3
    assert np.abs(low[1::4, 1::4].transpose(2, 0, 1) - small).mean() < 3


def test_psnr_and_ssim_are_measured_on_photographs_of_the_validation_set(many: UpscaleTrainConfig) -> None:
    reports = list(Trainer(many))
    found = {report.step: (report.psnr, report.ssim) for report in reports if report.psnr is not None}
    assert sorted(found) == [4, 8]
    assert all(10 < psnr < 60 and 0 < ssim <= 1 for psnr, ssim in found.values())
    lines = read_metrics(many.run / "metrics.jsonl")
    assert {line["step"]: (line["psnr"], line["ssim"]) for line in lines if line["psnr"]} == found
    measured = load_upscaler(many.out).metadata["validation"]
    assert (measured["psnr"], measured["ssim"]) == found[8]
    assert "psnr" in str(reports[-1])


def test_the_checkpoint_is_of_the_other_kind_and_says_how_it_was_made(
    upscale: UpscaleTrainConfig, material: Path
) -> None:
    list(Trainer(upscale))
    found = load_upscaler(upscale.out)
    assert found.network.config == upscale.network
    assert found.metadata["recipe"]["loss"] == "pixel"
    assert found.metadata["recipe"]["task"] == "super-resolution"
    assert "vgg_sha256" not in found.metadata
    assert str(material) not in str(found.metadata)
    with pytest.raises(
        CheckpointError, match="is a super-resolution model, not a style: fast-nst upscale takes it"
    ):
        load_checkpoint(upscale.out)


def test_a_style_does_not_enlarge(config: TrainConfig) -> None:
    list(Trainer(replace(config, steps=1)))
    with pytest.raises(
        CheckpointError, match=r"is a style, not a super-resolution model: stylize\.py takes it"
    ):
        load_upscaler(config.out)


def test_features_can_be_learnt_from_where_pixels_ended(
    upscale: UpscaleTrainConfig, features: UpscaleTrainConfig, tmp_path: Path
) -> None:
    list(Trainer(upscale))
    warm = replace(features, warm_start=upscale.out, run=tmp_path / "two", out=tmp_path / "two.safetensors")
    network = Trainer(warm).network
    for name, tensor in load_upscaler(upscale.out).network.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_a_run_of_the_other_task_is_not_gone_on_with(
    upscale: UpscaleTrainConfig, config: TrainConfig
) -> None:
    list(Trainer(upscale))
    with pytest.raises(InputError, match="belongs to another network"):
        Trainer(replace(config, run=upscale.run, out=upscale.out, resume=True))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"factor": 8, "image_size": 36}, "--image-size must be a multiple of 8, got 36; take"),
        ({"preset": "x4", "factor": 8}, "--preset x4 is for factor 4, got --factor 8; give --preset x8"),
        ({"factor": 3}, "--factor must be 2, 4 or 8, got 3"),
        ({"task": "style"}, "UpscaleTrainConfig is for super-resolution"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        UpscaleTrainConfig(dataset="photos", **values)
    assert reason in str(caught.value)


def test_the_config_of_a_style_is_for_styles() -> None:
    with pytest.raises(InputError, match="UpscaleTrainConfig is"):
        TrainConfig(style=Path("a.jpg"), dataset="b", task="super-resolution")


def test_files_are_named_after_the_task() -> None:
    assert UpscaleTrainConfig(dataset="b").name == "x4"
    assert UpscaleTrainConfig(dataset="b", factor=8, loss="pixel").name == "x8-pixel"
    assert UpscaleTrainConfig(dataset="b", preset="x8").network.factor == 8

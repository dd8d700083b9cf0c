"""Networks are measured on photographs that they are not trained on, always the same ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fast_nst.config import TrainConfig
from fast_nst.io.images import load_image
from fast_nst.models.checkpoint import load_checkpoint, read_tensors
from fast_nst.training.data.photos import open_photos
from fast_nst.training.logging.run_log import read_metrics
from fast_nst.training.trainer import Trainer

SETTINGS = {"validate_every": 4, "validation_images": 2, "steps": 6}


@pytest.fixture
def many(config: TrainConfig, material: Path, tmp_path: Path) -> TrainConfig:
    """The run with twenty photographs, of which two are of the validation set."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(20):
        shutil.copy(material / f"photos/{i % 5}.png", folder / f"{i:02}.png")
    return replace(config, dataset=str(folder), **SETTINGS)


def test_photographs_of_the_validation_set_are_in_no_batch(many: TrainConfig) -> None:
    """The same run on a folder that lacks them is the same run."""
    trainer = Trainer(replace(many, steps=12))
    losses = [report.total for report in trainer]
    assert trainer.validation_photos is not None
    assert trainer.validation_photos.names == ["00.png", "10.png"]
    assert set(trainer.photos.names) == {f"{i:02}.png" for i in range(20)} - {"00.png", "10.png"}
    for name in trainer.validation_photos.names:
        Path(many.dataset, name).unlink()
    other = {"run": many.run.with_name("other"), "out": many.out.with_name("other.safetensors")}
    without = Trainer(replace(many, steps=12, validation_images=0, **other))
    assert [report.total for report in without] == losses


def test_the_objective_is_measured_when_due_and_at_the_end_and_kept_in_log_state_and_checkpoint(
    many: TrainConfig,
) -> None:
    reports = list(Trainer(many))
    found = {report.step: report.validation for report in reports if report.validation is not None}
    assert sorted(found) == [4, 6]
    lines = read_metrics(many.run / "metrics.jsonl")
    assert {line["step"]: line["validation"] for line in lines if line["validation"]} == found
    measured = load_checkpoint(many.out).metadata["validation"]
    assert (measured["objective"], measured["step"], measured["photographs"]) == (found[6], 6, 2)
    terms = sum(measured[name] for name in ("content", "style", "tv", "grid", "temporal", "border"))
    assert measured["objective"] == pytest.approx(terms)
    assert read_tensors(many.run / "last.safetensors")[1]["training"]["measured"] == measured


def test_what_is_measured_is_the_network_of_the_checkpoint(many: TrainConfig) -> None:
    # Large steps, so that the last weights are far from the averaged ones.
    trainer = Trainer(replace(many, averaging=1.0, learning_rate=1e-2))
    list(trainer)
    assert trainer.validation is not None
    again = trainer.validation(load_checkpoint(many.out).network)  # in fp16, hence not to the last bit
    assert again["objective"] == pytest.approx(trainer.measured["objective"], rel=1e-2)
    last = trainer.validation(trainer.network.eval())["objective"]
    measured = trainer.measured["objective"]
    assert abs(last - measured) > abs(again["objective"] - measured)


def test_the_checkpoint_holds_the_averaged_weights(many: TrainConfig) -> None:
    trainer = Trainer(replace(many, averaging=1.0))
    list(trainer)
    last = trainer.network.state_dict()
    for name, tensor in load_checkpoint(many.out).network.state_dict().items():
        assert torch.equal(tensor, trainer.training_step.average.network.state_dict()[name].half().float())
        if tensor.ndim == 4:
            assert not torch.equal(tensor, last[name].half().float())


def test_measuring_changes_nothing_in_the_run(many: TrainConfig, tmp_path: Path) -> None:
    quiet = replace(many, validate_every=1000, run=tmp_path / "quiet", out=tmp_path / "quiet.safetensors")
    losses = [[report.total for report in Trainer(c)] for c in (many, quiet)]
    assert losses[0] == losses[1]


def test_few_photographs_are_all_trained_on(config: TrainConfig) -> None:
    trainer = Trainer(config)
    assert trainer.validation_photos is None and trainer.validation is None
    assert len(trainer.photos.names) == 5


def test_photographs_of_another_folder_can_be_measured_with(config: TrainConfig, many: TrainConfig) -> None:
    trainer = Trainer(replace(config, validation=Path(many.dataset), **SETTINGS))
    assert len(trainer.photos.names) == 5
    assert list(trainer)[-1].validation is not None
    assert trainer.measured["photographs"] == 2


def test_photographs_of_the_validation_set_that_cannot_be_read_are_listed_too(many: TrainConfig) -> None:
    for name in ("00.png", "03.png"):
        (Path(many.dataset) / name).write_text("no")
    trainer = Trainer(replace(many, max_bad=0.5, steps=12))
    list(trainer)
    assert sorted(trainer.bad) == ["00.png", "03.png"]
    assert trainer.measured["photographs"] == 1
    assert Trainer(replace(many, max_bad=0.5, steps=12, resume=True)).bad == trainer.bad


def test_the_middles_of_the_photographs_are_judged(many: TrainConfig) -> None:
    trainer = Trainer(many)
    (first, _) = trainer.validation.crops
    photo = load_image(Path(open_photos(many.dataset).where) / "00.png", short_side=36)
    top, left = (photo.shape[1] - 32) // 2, (photo.shape[2] - 32) // 2
    torch.testing.assert_close(first / 255, photo[:, top : top + 32, left : left + 32], atol=2 / 255, rtol=0)

"""The loop learns, reports, and a resumed run is the uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from fast_nst.config import LossConfig, TrainConfig
from fast_nst.errors import InputError
from fast_nst.io.images import load_image
from fast_nst.models.checkpoint import load_checkpoint, read_tensors, write_tensors
from fast_nst.training.logging.run_log import read_metrics
from fast_nst.training.trainer import Trainer


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: t for name, t in read_tensors(path)[0].items() if name.startswith(("network", "adam"))}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_forty_steps_lower_the_loss_by_more_than_a_third(config: TrainConfig) -> None:
    reports = list(Trainer(replace(config, steps=40)))
    assert reports[-1].total < 2 / 3 * reports[0].total


def test_every_step_is_reported_and_logged_once(config: TrainConfig) -> None:
    reports = list(Trainer(config))
    assert [report.step for report in reports] == list(range(1, 9))
    assert [line["step"] for line in read_metrics(config.run / "metrics.jsonl")] == list(range(1, 9))


def test_the_run_folder_explains_itself(config: TrainConfig) -> None:
    list(Trainer(config))
    names = {path.name for path in config.run.iterdir()}
    assert {"config.toml", "metrics.jsonl", "loss.png", "last.safetensors", "previews"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (config.run / "previews" / "step_000000.jpg").is_file()
    assert (config.run / "previews" / "step_000008.jpg").is_file()


@pytest.mark.parametrize(
    "interrupted_at", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 5))]
)
@pytest.mark.parametrize(
    "stages",
    [
        {"start_size": 32, "start_steps": 3, "image_size": 40, "temporal": True},
        pytest.param({}, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(
    config: TrainConfig, tmp_path: Path, interrupted_at: int, stages: dict[str, Any]
) -> None:
    config = replace(config, **stages)
    straight = replace(config, run=tmp_path / "straight", out=tmp_path / "straight.safetensors")
    losses = [report.total for report in Trainer(straight)]

    first = Trainer(config)
    parts = []
    for report in first:
        parts.append(report.total)
        if report.step == interrupted_at:
            first.stop()
    second = Trainer(replace(config, resume=True, workers=0))
    assert second.step == interrupted_at
    parts += [report.total for report in second]

    assert parts == losses
    assert_same(weights(config.run / "last.safetensors"), weights(straight.run / "last.safetensors"))


@pytest.mark.parametrize(
    ("given", "wanted"), [({}, 48), ({"start_style_size": 64}, 64), ({"start_style_size": 40}, 40)]
)
def test_the_style_image_shrinks_with_the_crops_of_the_first_stage(
    config: TrainConfig, given: dict[str, int], wanted: int
) -> None:
    stages = {"start_size": 36, "start_steps": 3, "image_size": 48, "style_size": 64, "steps": 5}
    trainer = Trainer(replace(config, **stages, **given))
    style = load_image(config.style, short_side=wanted)
    grams = []
    for _ in trainer:
        objective = trainer.training_step.objective
        grams.append(objective.style_gram("relu1_1"))
        assert trainer.validation is None or trainer.validation.objective is not objective
    first = trainer.task.objective.for_style(style).style_gram("relu1_1")
    assert all(torch.equal(gram, first) for gram in grams[:3])
    assert all(torch.equal(gram, trainer.task.objective.style_gram("relu1_1")) for gram in grams[3:])


def test_a_first_stage_of_before_keeps_its_style_image(config: TrainConfig) -> None:
    config = replace(config, start_size=32, start_steps=3, image_size=40, save_every=1)
    trainer = Trainer(config)
    next(iter(trainer))
    trainer.save()
    state = config.run / "last.safetensors"
    tensors, metadata = read_tensors(state)
    del metadata["training"]["layout"]
    write_tensors(state, tensors, metadata)
    with pytest.raises(InputError, match="start_style_size was 32, is None"):
        Trainer(replace(config, resume=True))
    assert Trainer(replace(config, resume=True, start_style_size=32)).step == 1


@pytest.mark.slow
def test_the_temporal_loss_makes_results_change_less_between_frames(
    config: TrainConfig, tmp_path: Path
) -> None:
    changes = []
    for weight in (1e-6, 1000.0):
        run = replace(config, run=tmp_path / f"{weight}", out=tmp_path / f"{weight}.safetensors", steps=30)
        reports: list[Any] = list(Trainer(replace(run, temporal=True, temporal_weight=weight)))
        changes.append(sum(report.temporal for report in reports[-5:]) / weight)
    assert 0 < changes[1] < 0.95 * changes[0]


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(config: TrainConfig, tmp_path: Path) -> None:
    final = []
    for i, seed in enumerate((0, 0, 1)):
        run = replace(config, run=tmp_path / f"run{i}", out=tmp_path / f"{i}.safetensors", seed=seed)
        final.append([report.total for report in Trainer(run)][-1])
    assert final[0] == final[1] != final[2]


def test_stopping_leaves_a_usable_checkpoint(config: TrainConfig) -> None:
    trainer = Trainer(config)
    next(iter(trainer))
    trainer.save()
    assert load_checkpoint(config.out).metadata["steps"] == 1


def test_the_checkpoint_says_how_it_was_made_and_names_nobodys_folders(
    config: TrainConfig, material: Path
) -> None:
    list(Trainer(config))
    metadata = load_checkpoint(config.out).metadata
    assert metadata["steps"] == 8
    assert metadata["recipe"]["style"] == "the_waves.png"
    assert metadata["recipe"]["loss"]["style_weight"] == config.loss.style_weight
    assert metadata["photographs"] == 5
    assert str(material) not in str(metadata)


def test_a_run_is_not_overwritten_unasked(config: TrainConfig) -> None:
    list(Trainer(config))
    with pytest.raises(InputError, match=r"--overwrite .* --resume"):
        Trainer(config)
    steps = iter(Trainer(replace(config, overwrite=True, steps=4)))
    assert (config.run / "last.safetensors").exists()  # until there is something to put in its place
    next(steps)
    assert read_tensors(config.run / "last.safetensors")[1]["training"]["step"] == 0
    assert not (config.run / "previous-last.safetensors").exists()
    list(steps)
    assert sorted(path.name for path in (config.run / "previews").iterdir()) == [
        "step_000000.jpg",
        "step_000004.jpg",
    ]


def test_resuming_with_other_settings_is_refused_by_name(config: TrainConfig) -> None:
    trainer = Trainer(config)
    next(iter(trainer))
    trainer.save()
    with pytest.raises(InputError, match="seed was 0, is 3"):
        Trainer(replace(config, resume=True, seed=3))


def test_resuming_another_objective_says_which_flag_resumes_it(config: TrainConfig) -> None:
    layers = {"content_layers": ("relu1_2",), "style_layers": ("relu1_1", "relu1_2")}
    before = replace(config, loss=LossConfig("dimensionless", **layers))
    trainer = Trainer(before)
    next(iter(trainer))
    trainer.save()
    told = r"loss.style_weight was 5.0, is 10.0; the run has --objective dimensionless: give it,"
    with pytest.raises(InputError, match=told):
        Trainer(replace(config, resume=True))
    same = LossConfig("bold", style_weight=5, **layers)  # the name alone changes nothing
    assert Trainer(replace(config, loss=same, resume=True)).step == 1


def test_resume_must_refuses_a_folder_without_a_state_and_resumes_one_with(config: TrainConfig) -> None:
    with pytest.raises(
        InputError, match=r"--resume must: there is no state in .*; --resume alone starts over"
    ):
        Trainer(replace(config, resume="must"))
    trainer = Trainer(config)
    next(iter(trainer))
    trainer.save()
    assert Trainer(replace(config, resume="must")).step == 1


def test_resuming_where_there_is_no_state_starts_over(config: TrainConfig, tmp_path: Path) -> None:
    plain = replace(config, run=tmp_path / "plain", out=tmp_path / "plain.safetensors")
    assert [r.total for r in Trainer(replace(config, resume=True))] == [r.total for r in Trainer(plain)]


def test_resuming_where_there_is_only_a_result_does_not_replace_it(config: TrainConfig) -> None:
    config.out.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"exists; there is no state in .*: give --overwrite to start over"):
        Trainer(replace(config, resume=True))


def test_unreadable_photographs_are_left_out_and_listed_also_after_a_resume(
    config: TrainConfig, material: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in (material / "photos").iterdir():
        (photos / path.name).write_bytes(path.read_bytes())
    (photos / "broken.jpg").write_bytes(b"no picture")
    config = replace(config, dataset=str(photos), max_bad=0.5)
    first = Trainer(config)
    for report in first:
        if report.step == 5:
            first.stop()
    assert list(first.bad) == ["broken.jpg"]
    assert list(Trainer(replace(config, resume=True)).bad) == ["broken.jpg"]


def test_a_warm_start_begins_with_the_other_styles_weights(config: TrainConfig, tmp_path: Path) -> None:
    list(Trainer(config))
    other = replace(config, run=tmp_path / "other", out=tmp_path / "other.safetensors", warm_start=config.out)
    network = Trainer(other).network
    for name, tensor in load_checkpoint(config.out).network.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_a_minute_limit_ends_the_run_early(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, steps=10_000, minutes=0.02))
    reports = list(trainer)
    assert 1 <= reports[-1].step < 10_000
    assert config.out.is_file()


@pytest.mark.slow
def test_weights_that_are_not_finite_are_never_saved_and_the_run_goes_back_to_slower_steps(
    config: TrainConfig,
) -> None:
    trainer = Trainer(replace(config, save_every=2))
    steps = iter(trainer)
    rates = {report.step: report.learning_rate for report in islice(steps, 3)}
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    again = list(steps)
    assert [report.step for report in again] == list(range(3, 9))
    assert again[0].learning_rate == rates[3] / 2
    assert [line["step"] for line in read_metrics(config.run / "metrics.jsonl")] == list(range(1, 9))
    for tensor in weights(config.run / "last.safetensors").values():
        assert torch.isfinite(tensor).all()


def test_a_loss_that_stays_broken_ends_the_run_with_the_reason_and_keeps_the_last_good_state(
    config: TrainConfig,
) -> None:
    trainer = Trainer(replace(config, save_every=2))
    steps = iter(trainer)
    list(islice(steps, 3))
    trainer.training_step.objective.gram_relu1_2.fill_(float("nan"))
    with pytest.raises(InputError, match=r"not finite at step 5 \(fp32 arithmetic\), 3 times.* step 2,"):
        list(steps)
    for tensor in weights(config.run / "last.safetensors").values():
        assert torch.isfinite(tensor).all()
    assert not config.out.exists()


def test_an_objective_of_the_callers_own_is_minimized_and_reported(config: TrainConfig) -> None:
    def darkness(images: Any, content: Any) -> Any:
        return (images - 0.2).square().mean()

    reports = list(Trainer(replace(config, steps=20), objective=darkness))
    assert reports[-1].total < 0.9 * reports[0].total
    assert read_metrics(config.run / "metrics.jsonl")[-1]["step"] == 20


def test_an_objective_that_returns_no_scalar_is_refused_in_one_line(config: TrainConfig) -> None:
    with pytest.raises(InputError, match=r"objective= must return a scalar tensor .* got list"):
        list(Trainer(config, objective=lambda images, content: [1]))

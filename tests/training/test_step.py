"""One step learns in every precision; a bad one changes nothing that is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fast_nst.config import TrainConfig
from fast_nst.training.data.loader import as_images
from fast_nst.training.step import TrainingStep
from fast_nst.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def training_step(config: TrainConfig) -> Callable[..., TrainingStep]:
    """Makes the training step of a run."""

    def make(**changed: Any) -> TrainingStep:
        return Trainer(replace(config, **changed)).training_step

    return make


def crops(seed: int = 0, size: int = 32) -> torch.Tensor:
    coarse = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    return as_images((smooth * 255).byte(), CPU)


def kept(training_step: TrainingStep) -> dict[str, torch.Tensor]:
    """Weights, statistics and moments."""
    found = {f"network.{name}": t.clone() for name, t in training_step.network.state_dict().items()}
    for i, parameter in enumerate(training_step.network.parameters()):
        found |= {f"adam.{i}.{key}": t.clone() for key, t in training_step.optimizer.state[parameter].items()}
    return {name: t for name, t in found.items() if t.is_floating_point()}


@pytest.mark.parametrize(
    "precision", ["fp32", *(pytest.param(half, marks=pytest.mark.slow) for half in ("bf16", "fp16"))]
)
def test_every_precision_learns(training_step: Callable[..., TrainingStep], precision: str) -> None:
    made = training_step(precision=precision)
    losses = [made(crops(), 3e-3, step).total.item() for step in range(1, 31)]
    assert sum(losses[-5:]) / 5 < 0.9 * losses[0]  # a direction with room, on any processor
    assert made.loss_monitor.in_a_row == 0
    assert made.loss_monitor.skipped <= (
        10 if precision == "fp16" else 0
    )  # until the scale of the loss is found


def test_a_loss_scale_that_is_too_large_is_found_without_losing_the_run(
    training_step: Callable[..., TrainingStep],
) -> None:
    made = training_step(precision="fp16")
    made.loss_scale.scale.fill_(2.0**40)
    before = kept(made)
    made(crops(), 1e-3, 1)
    made.loss_scale.scale.fill_(2.0**24)
    for step in range(2, 6):
        made(crops(), 1e-3, step)
        assert made.loss_monitor.in_a_row == 0
    assert made.loss_monitor.skipped >= 1
    made.loss_scale.scale.fill_(1.0)
    made(crops(), 1e-3, 9)
    name = "network.body.conv2.conv.weight"
    assert not torch.equal(kept(made)[name], before[name])


def test_the_loss_scale_changes_no_gradient(training_step: Callable[..., TrainingStep]) -> None:
    gradients = []
    for scale in (1.0, 8.0):
        made = training_step(precision="fp16")
        made.loss_scale.scale.fill_(scale)
        made(crops(), 1e-3, 1)
        gradients.append(torch.cat([p.grad.flatten() for p in made.network.parameters()]))
    assert torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.99
    assert gradients[1].norm() / gradients[0].norm() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("fault", ["input", "loss", "gradient"])
def test_a_bad_step_changes_no_weight_no_moment_and_no_statistic(
    training_step: Callable[..., TrainingStep], norm: str, fault: str
) -> None:
    made = (
        training_step(preset="tiny")
        if norm == "instance"
        else training_step(preset="paper", border_weight=0.0, image_size=32)
    )
    made(crops(), 1e-3, 1)
    before = kept(made)
    assert norm == "instance" or any("running_mean" in name for name in before)
    images = crops(1)
    if fault == "input":
        images[0, 0, 3, 3] = torch.nan
    elif fault == "loss":
        made.objective.style_gram("relu1_2").fill_(torch.inf)
    else:
        next(made.network.parameters()).register_hook(lambda gradient: gradient * torch.nan)
    made(images, 1e-3, 2)
    assert made.loss_monitor.in_a_row == 1
    for name, tensor in kept(made).items():
        assert torch.equal(tensor, before[name]), name


def test_a_good_step_moves_the_statistics(training_step: Callable[..., TrainingStep]) -> None:
    made = training_step(preset="paper", border_weight=0.0, image_size=32)
    before = kept(made)
    made(crops(), 1e-3, 1)
    moved = [not torch.equal(t, before[name]) for name, t in kept(made).items() if "running_" in name]
    assert moved and all(moved)


def test_a_compiler_that_does_not_work_costs_a_warning(
    training_step: Callable[..., TrainingStep],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fragile, plain = training_step(), training_step()

    def broken(*_: object) -> None:
        raise torch._dynamo.exc.TorchDynamoException("no headers\nand more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    fragile.backward.compile(True)
    assert fragile(crops(), 1e-3, 1).total == plain(crops(), 1e-3, 1).total
    (record,) = caplog.records
    assert record.getMessage().startswith("torch.compile failed; running without it: ")
    assert "\n" not in record.getMessage()
    assert not fragile.backward.compiled


def test_the_running_values_of_another_precision_are_accepted(
    training_step: Callable[..., TrainingStep],
) -> None:
    fp16, fp32 = training_step(precision="fp16"), training_step()
    fp16.loss_scale.scale.fill_(1.0)
    fp16(crops(), 1e-3, 1)
    fp32.restore(fp16.running_values())
    assert fp32.loss_monitor.seen == 1
    fp16.restore(fp32.running_values())

"""Compiled code is trusted only where it agrees with eager code; through `Trainer` and a faulty compiler."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fast_nst.config import TrainConfig
from fast_nst.models.checkpoint import read_tensors
from fast_nst.training import builders
from fast_nst.training.backward import BackwardPass
from fast_nst.training.trainer import Trainer


class Faulty:
    """Stands in for torch.compile: correct, but for what `spoil` does to the terms of some calls."""

    def __init__(self, spoil: Callable[[torch.Tensor], torch.Tensor], calls: range) -> None:
        self.spoil, self.calls, self.count = spoil, calls, 0

    def __call__(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def compiled(*arguments: object) -> Any:
            terms = function(*arguments)
            self.count += 1
            if self.count - 1 not in self.calls:
                return terms
            return terms._replace(style=self.spoil(terms.style))

        return compiled


class _WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, value: torch.Tensor, factor: float) -> torch.Tensor:
        _.factor = factor
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:
        return gradient * context.factor, None


FAULTS = {
    "value": lambda style: style * 1.5,
    "NaN value": lambda style: style * torch.nan,
    "gradient": lambda style: _WrongGradient.apply(style, -1.0),
    "NaN gradient": lambda style: _WrongGradient.apply(style, torch.nan),
}


def weights(path: Path) -> dict[str, bytes]:
    return {name: t.numpy().tobytes() for name, t in read_tensors(path)[0].items()}


@pytest.fixture(scope="module")
def eager(plain_config: TrainConfig) -> dict[str, bytes]:
    """The state after the same run without torch.compile."""
    list(Trainer(plain_config))
    return weights(plain_config.run / "last.safetensors")


@pytest.mark.parametrize("first", [0, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=() if "gradient" in name else pytest.mark.slow) for name in FAULTS],
)
def test_wrong_compiled_code_costs_one_warning_and_no_step(
    config: TrainConfig,
    eager: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    first: int,
) -> None:
    if first and "NaN" not in fault:
        pytest.skip("a finite difference is looked for in the first batch of a shape only")
    if first and fault == "NaN value":
        pytest.skip("gives finite gradients only by accident; the case of NaN gradients covers it")
    monkeypatch.setattr(torch, "compile", Faulty(FAULTS[fault], range(first, 100)))
    trainer = Trainer(replace(config, compile="on"))
    reports = list(trainer)
    assert [report.step for report in reports] == list(range(1, 9))
    assert weights(config.run / "last.safetensors") == eager
    (record,) = caplog.records
    assert record.getMessage().startswith("torch.compile ")
    assert record.getMessage().endswith("continuing without it")
    assert not trainer.compiled


def test_a_second_stage_is_checked_too(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(config, start_size=32, start_steps=3, image_size=40, compile="on")
    bad = Faulty(FAULTS["gradient"], range(3, 100))
    monkeypatch.setattr(torch, "compile", bad)
    list(Trainer(config))
    assert bad.count == 4  # three of the first stage, and the one that was caught
    assert len(caplog.records) == 1


def test_right_compiled_code_is_kept_and_gives_the_same_run(
    config: TrainConfig,
    eager: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = Faulty(FAULTS["value"], range(0))
    monkeypatch.setattr(torch, "compile", good)
    list(Trainer(replace(config, compile="on")))
    assert good.count == 8
    assert not caplog.records
    assert weights(config.run / "last.safetensors") == eager


@pytest.mark.slow
def test_a_run_lost_to_compiled_code_continues_without_going_back(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On accelerators nothing waits for a gradient to be looked at; the run notices when it is lost."""
    monkeypatch.setattr(BackwardPass, "looked_at", frozenset())
    monkeypatch.setattr(torch, "compile", Faulty(FAULTS["NaN gradient"], range(3, 100)))
    trainer = Trainer(replace(config, steps=12, compile="on"))
    assert list(trainer)[-1].step == 12
    assert trainer.progress.setbacks == 0 and trainer.progress.slowed == 1.0
    assert "continuing without it" in caplog.text and not trainer.compiled


def test_a_gradient_that_is_bad_without_compiling_too_is_not_blamed_on_it(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, "compile", Faulty(FAULTS["value"], range(0)))
    trainer = Trainer(replace(config, compile="on", save_every=2))
    left = [3]

    def spoil(gradient: torch.Tensor) -> torch.Tensor | None:
        return gradient * torch.nan if trainer.step == left[0] else None

    next(trainer.network.parameters()).register_hook(spoil)
    assert list(trainer)[-1].step == 8
    assert trainer.compiled
    assert trainer.training_step.loss_monitor.skipped == 1
    assert not caplog.records


@pytest.mark.slow
def test_the_text_of_a_lost_run_blames_arithmetic_for_nan_and_names_photographs_for_spikes(
    config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Trainer(replace(config, save_every=2))
    steps = iter(trainer)
    for _ in range(3):
        next(steps)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(torch.nan)
    list(steps)
    (message,) = [r.getMessage() for r in caplog.records]
    assert "not finite at step 6 (fp32 arithmetic)" in message
    assert ".png" not in message


@pytest.mark.slow
def test_a_spike_names_its_photographs(config: TrainConfig, caplog: pytest.LogCaptureFixture) -> None:
    trainer = Trainer(replace(config, steps=40, save_every=5))
    trainer.training_step.objective.register_forward_hook(
        lambda _, __, terms: terms._replace(style=terms.style * 1e4) if 29 <= trainer.step < 32 else None
    )
    list(trainer)
    message = caplog.records[0].getMessage()
    assert message.startswith("the loss was far above its running mean at step 32 (photographs: ")
    assert ".png" in message


class Slow:
    """Stands in for torch.compile: correct and as fast as told."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.count = seconds, 0

    def __call__(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def compiled(*arguments: object) -> Any:
            self.count += 1
            time.sleep(self.seconds)
            return function(*arguments)

        return compiled


@pytest.mark.slow
def test_auto_gives_up_compiled_steps_that_are_slower_and_the_next_run_does_not_try(
    config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builders, "COMPILE_PAYS_AFTER", 2)
    monkeypatch.setattr(builders, "has_compiler", lambda _: True)
    monkeypatch.setattr(torch, "compile", slow := Slow(0.3))
    first = Trainer(replace(config, compile="auto"))
    list(first)
    assert not first.compiled
    assert slow.count == 4  # the first batch, and three that were timed
    (record,) = caplog.records
    assert "is no faster here: a step takes" in record.getMessage()
    again = Trainer(
        replace(config, compile="auto", run=tmp_path / "again", out=tmp_path / "again.safetensors")
    )
    assert not again.compiled
    list(again)
    assert slow.count == 4
    assert weights(config.run / "last.safetensors") == weights(again.run / "last.safetensors")


def test_compiled_steps_that_were_asked_for_are_not_timed(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch, "compile", Slow(0.2))
    trainer = Trainer(replace(config, steps=2, compile="on"))
    list(trainer)
    assert trainer.compiled
    assert not (tmp_path / "cache" / "measured").exists()

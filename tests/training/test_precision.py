"""The precision that auto takes: the faster one as measured, remembered, and kept by a resumed run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fast_nst.config import TaskConfig, TrainConfig
from fast_nst.models.checkpoint import read_tensors
from fast_nst.training import precision
from fast_nst.training.precision import choose_run_precision, step_times
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.trainer import Trainer


@pytest.fixture
def trainer(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    return Trainer(config)


@pytest.mark.slow
def test_a_step_is_measured_once_and_leaves_the_network_as_it_is(trainer: Trainer) -> None:
    network, objective = trainer.network, trainer.task.objective
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    times = step_times(network, objective, "test")
    assert set(times) == {"fp32", "bf16"}
    assert min(times.values()) > 0
    assert step_times(network, objective, "test") == times  # to the last digit: from the cache
    assert step_times(network, objective, "another") != times
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(("bf16", "chosen"), [(50.0, "bf16"), (150.0, "fp32")])
def test_a_new_run_takes_the_faster_and_a_resumed_one_what_it_had(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, bf16: float, chosen: str
) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "step_times", lambda *_: {"fp32": 100.0, "bf16": bf16})
    config = replace(trainer.config, precision="auto")

    def choose(saved: str | None, config: TaskConfig = config) -> tuple[str, dict[str, float]]:
        parts = (config, trainer.network, trainer.task.objective)
        return choose_run_precision(*parts, device=torch.device("cpu"), group=ProcessGroup(), saved=saved)

    assert choose(None) == (chosen, {"fp32": 100.0, "bf16": bf16})
    assert choose("fp32") == ("fp32", {})
    assert choose("bf16") == ("bf16", {})
    assert choose("") == ("bf16", {})  # a state of before precisions were measured: the flag decided
    assert choose(None, replace(config, precision="fp32")) == ("fp32", {})


def test_a_state_records_its_precision(trainer: Trainer) -> None:
    next(iter(trainer))
    trainer.save()
    assert read_tensors(trainer.run / "last.safetensors")[1]["training"]["precision"] == "fp32"
    assert Trainer(replace(trainer.config, resume=True, precision="auto")).precision == "fp32"

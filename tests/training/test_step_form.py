"""The form of steps that auto takes: the fastest as measured, remembered, and kept by a resumed run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fast_nst.config import TrainConfig
from fast_nst.models.checkpoint import read_tensors
from fast_nst.system.timing import Timing
from fast_nst.training import step_form
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.step_form import StepForm, choose_step_form, form_times, thread_times, using_threads
from fast_nst.training.trainer import Trainer

FORMS = ("fp32 channels_last", "fp32 contiguous", "bf16 channels_last", "bf16 contiguous")


@pytest.fixture
def trainer(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return Trainer(config)


def choose(trainer: Trainer, saved: dict[str, str] | None = None, **changes: Any) -> StepForm:
    config = replace(trainer.config, **{"precision": "auto", **changes})
    parts = (config, trainer.network, trainer.task.objective)
    return choose_step_form(*parts, device=torch.device("cpu"), group=ProcessGroup(), saved=saved)


@pytest.mark.slow
def test_a_step_is_measured_once_and_leaves_the_network_as_it_is(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_form, "cpu_has_bf16", lambda: True)
    network, objective = trainer.network, trainer.task.objective
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    times = form_times(network, objective, "test")
    threads = thread_times(network, objective, "test", (2, 1))
    assert set(times) == set(FORMS)
    assert set(threads) == {"2 threads", "1 thread"}
    assert min(*times.values(), *threads.values()) > 0
    assert form_times(network, objective, "test") == times  # to the last digit: from the cache
    assert form_times(network, objective, "another") != times
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("fast", FORMS)
def test_a_new_run_takes_the_fastest_form_and_a_resumed_one_what_it_had(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, fast: str
) -> None:
    times = dict.fromkeys(FORMS, 100.0) | {fast: 50.0}
    monkeypatch.setattr(step_form, "form_times", lambda *_: times)
    monkeypatch.setattr(step_form, "cpu_has_bf16", lambda: True)
    precision, layout = fast.split()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # nothing to choose
    found = choose(trainer)
    assert (found.precision, found.layout, found.times) == (precision, layout, times)
    for kept in (StepForm("fp32"), StepForm("bf16", "contiguous")):
        assert choose(trainer, kept.saved) == kept
    assert choose(trainer, {}).precision == "bf16"  # of before precisions were measured: the flag decided
    assert choose(trainer, {"precision": "fp32"}) == StepForm("fp32")  # of before layouts were
    assert choose(trainer, precision="fp32") == StepForm("fp32")


@pytest.mark.parametrize(("fastest", "tried"), [(8, 2), (4, 3), (2, 4), (1, 4)])
def test_threads_are_halved_as_long_as_that_is_faster(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, fastest: int, tried: int
) -> None:
    def times(_: object, __: object, ___: str, counts: tuple[int, ...]) -> dict[str, float]:
        return {step_form._threads(n): 100.0 + 20 * abs(n - fastest) for n in counts}

    monkeypatch.setattr(step_form, "thread_times", times)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    found = choose(trainer, {"precision": "fp32"})
    assert found.threads == fastest
    assert len(found.times) == tried


@pytest.mark.parametrize(("fewer", "measured"), [(150.0, 1), (50.0, 2)])
def test_fewer_threads_are_measured_anew_each_time(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, fewer: float, measured: int
) -> None:
    made = []

    def in_turn(steps: dict[str, Any], **_: Any) -> dict[str, Timing]:
        made.append(steps)
        return {name: Timing(time, time, 1) for name, time in zip(steps, (100.0, fewer), strict=True)}

    monkeypatch.setattr(step_form, "measure_in_turn", in_turn)
    for _ in range(2):
        found = thread_times(trainer.network, trainer.task.objective, "test", (2, 1))
        assert found == {"2 threads": 100.0, "1 thread": fewer}
    assert len(made) == measured


def test_threads_that_the_user_limits_are_not_measured(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert choose(trainer, {"precision": "fp32"}) == StepForm("fp32")


def test_other_threads_are_used_for_a_while_only() -> None:
    before = torch.get_num_threads()
    with using_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with using_threads(None):
        assert torch.get_num_threads() == before


def test_a_run_in_contiguous_memory_learns_the_same(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def losses(layout: str) -> list[float]:
        monkeypatch.setattr(step_form, "form_times", lambda *_: {f"fp32 {layout}": 1.0})
        out = tmp_path / f"{layout}.safetensors"
        trainer = Trainer(
            replace(config, precision="auto", steps=3, report_every=1, run=tmp_path / layout, out=out)
        )
        assert trainer.form.layout == layout
        return [report.total for report in trainer]

    # The weights differ: Adam makes steps of gradients that are nothing but rounding.
    assert losses("contiguous") == pytest.approx(losses("channels_last"), rel=0.01)
    saved = read_tensors(tmp_path / "contiguous" / "last.safetensors")[1]["training"]
    assert (saved["precision"], saved["layout"]) == ("fp32", "contiguous")


def test_a_state_records_its_form(trainer: Trainer) -> None:
    next(iter(trainer))
    trainer.save()
    saved = read_tensors(trainer.run / "last.safetensors")[1]["training"]
    assert (saved["precision"], saved["layout"]) == ("fp32", "channels_last")
    assert Trainer(replace(trainer.config, resume=True, precision="auto")).form.saved == trainer.form.saved


def test_a_form_says_what_was_measured() -> None:
    assert str(StepForm("fp32")) == "fp32"
    times = {"2 threads": 210.4, "1 thread": 300.0, "fp32 channels_last": 210.0, "fp32 contiguous": 240.0}
    assert str(StepForm("fp32", threads=2, times=times)) == (
        "fp32, channels last, 2 threads (measured: 2 threads 210 ms, 1 thread 300 ms, fp32 channels last "
        "210 ms, fp32 contiguous 240 ms)"
    )

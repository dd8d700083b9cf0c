"""What befalls a run from outside is one line that names the cure; a defect keeps its traceback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fast_nst.config import TrainConfig
from fast_nst.training.failures import TrainingError, explained
from fast_nst.training.trainer import Trainer


def refused() -> None:
    torch.empty(2**60, dtype=torch.uint8)  # more than any machine has


def out_of_device_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …")


def out_of_memory() -> None:
    raise MemoryError


@pytest.mark.parametrize("fault", [refused, out_of_device_memory, out_of_memory])
def test_memory_that_runs_out_is_one_line_with_the_cure(config: TrainConfig, fault: Any) -> None:
    with pytest.raises(TrainingError) as caught, explained(config, Path("last.safetensors")):
        fault()
    assert str(caught.value) == (
        "out of memory with --batch-size 2 and --image-size 32: lower one of them, in a new --run"
    )


@pytest.mark.parametrize(
    "words",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:47",
        "[../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms",
    ],
)
def test_a_process_that_is_gone_is_one_line_with_the_state_to_go_on_from(
    config: TrainConfig, words: str
) -> None:
    with pytest.raises(TrainingError) as caught, explained(config, Path("run/last.safetensors")):
        raise RuntimeError(words)
    assert "another process of this run has ended" in str(caught.value)
    assert "run/last.safetensors" in str(caught.value) and "--resume" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_defect_stays_what_it_is(config: TrainConfig) -> None:
    with pytest.raises(RuntimeError, match="size of tensor"), explained(config, Path("last.safetensors")):
        torch.ones(2) + torch.ones(3)


def test_a_run_that_runs_out_of_memory_keeps_its_last_state(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, save_every=2))
    objective: Any = trainer.training_step.objective
    asked = []

    def hungry(images: torch.Tensor) -> Any:
        asked.append(images)
        return objective.features(images, objective.content_layers) if len(asked) < 4 else refused()

    objective.content_target = hungry
    with pytest.raises(TrainingError, match="out of memory with --batch-size 2 and --image-size 32"):
        list(trainer)
    assert Trainer(replace(config, resume=True)).step == 2

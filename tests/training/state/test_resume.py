"""A run that is resumed is the run that was never interrupted, bit for bit."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch.optim import Adam, Optimizer

from fast_nst.config import NetworkConfig
from fast_nst.io import files
from fast_nst.models.checkpoint import CheckpointError, save_checkpoint
from fast_nst.models.transform_net import TransformNet
from fast_nst.training.state.resume import TrainingState, load_state, save_state
from fast_nst.training.weight_average import WeightAverage

NARROW = NetworkConfig(widths=(2, 3, 4), blocks=1)


def fresh(seed: int = 0, config: NetworkConfig = NARROW) -> tuple[TransformNet, Optimizer, WeightAverage]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TransformNet(config).to(memory_format=torch.channels_last).train()
    return net, Adam(net.parameters(), lr=0.01, fused=True), WeightAverage(net, 0.5)


def advance(net: TransformNet, optimizer: Optimizer, average: WeightAverage, steps: range) -> None:
    """Training steps whose photographs depend on nothing but the number of the step."""
    for step in steps:
        images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        (net(images) - images.flip(1)).square().mean().backward()
        optimizer.step()
        average.update(net, step + 1)


def state(step: int = 10) -> TrainingState:
    return TrainingState(step, elapsed=1.5, config={"style": "dots.png", "steps": 20}, data="abc")


def weights(net: TransformNet) -> list[bytes]:
    return [t.contiguous().numpy().tobytes() for t in net.state_dict().values()]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with the states of steps 10 and, before it, 5."""
    net, optimizer, average = fresh()
    for start in (0, 5):
        advance(net, optimizer, average, range(start, start + 5))
        save_state(tmp_path / "last.safetensors", net, optimizer, average, state(start + 5))
    return tmp_path


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_run_resumed_at_10_lands_on_the_bits_of_a_straight_run_of_20(norm: str, tmp_path: Path) -> None:
    config = NetworkConfig(widths=(2, 3, 4), blocks=1, norm=norm)
    straight, optimizer, average = fresh(config=config)
    advance(straight, optimizer, average, range(20))
    first, optimizer, average = fresh(config=config)
    advance(first, optimizer, average, range(10))
    save_state(tmp_path / "last.safetensors", first, optimizer, average, state())
    resumed, optimizer, average = fresh(seed=1, config=config)
    found = load_state(tmp_path / "last.safetensors", resumed, optimizer, average)
    assert found == state()
    assert weights(resumed) == weights(first)
    advance(resumed, optimizer, average, range(found.step, 20))
    assert weights(resumed) == weights(straight)


def test_saving_changes_nothing_in_the_run(tmp_path: Path) -> None:
    quiet, optimizer, average = fresh()
    advance(quiet, optimizer, average, range(6))
    saving, optimizer, average = fresh()
    for step in range(6):
        advance(saving, optimizer, average, range(step, step + 1))
        save_state(tmp_path / "last.safetensors", saving, optimizer, average, state(step))
    assert weights(saving) == weights(quiet)


def test_a_state_before_the_first_step_has_no_moments_and_loads(tmp_path: Path) -> None:
    net, optimizer, average = fresh()
    save_state(tmp_path / "last.safetensors", net, optimizer, average, state(0))
    other, optimizer, average = fresh(seed=1)
    assert load_state(tmp_path / "last.safetensors", other, optimizer, average).step == 0
    assert weights(other) == weights(net)


def test_the_state_before_stays_beside_the_last_and_nothing_else_does(run: Path) -> None:
    assert sorted(os.listdir(run)) == ["last.safetensors", "previous-last.safetensors"]
    assert load_state(run / "previous-last.safetensors", *fresh()).step == 5


def test_a_damaged_state_gives_way_to_the_one_before(run: Path) -> None:
    path = run / "last.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert load_state(path, *fresh()).step == 5


def test_a_run_killed_between_the_two_renames_loses_nothing(run: Path) -> None:
    (run / "last.safetensors").replace(run / "fresh-last.safetensors")
    assert load_state(run / "last.safetensors", *fresh()).step == 10


def test_two_damaged_states_are_refused_as_damaged(run: Path) -> None:
    for path in run.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(run / "last.safetensors", *fresh())


def test_nothing_to_resume_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing to resume: there is no .*; start without it"):
        load_state(tmp_path / "last.safetensors", *fresh())


def test_the_state_of_another_network_is_refused_and_changes_no_weight(run: Path) -> None:
    net, optimizer, average = fresh(config=NetworkConfig(widths=(2, 3, 5), blocks=2))
    before = weights(net)
    with pytest.raises(CheckpointError, match="belongs to another network; give the --preset") as caught:
        load_state(run / "last.safetensors", net, optimizer, average)
    assert "\n" not in str(caught.value)
    assert weights(net) == before
    assert not optimizer.state


def test_a_style_is_no_training_state(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, fresh()[0], {"style": "dots"})
    with pytest.raises(CheckpointError, match="holds a style, not a training state"):
        load_state(path, *fresh())


@pytest.mark.parametrize("where", ["weight", "moment"])
def test_a_state_that_is_not_finite_leaves_the_last_good_one(run: Path, where: str) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    net, optimizer, average = fresh()
    advance(net, optimizer, average, range(1))
    spoiled = net.body.conv1_norm.bias
    (spoiled.data if where == "weight" else optimizer.state[spoiled]["exp_avg"])[0] = torch.nan
    with pytest.raises(
        CheckpointError, match=r"conv1_norm\.bias.* is not finite at step 11; .* last good state"
    ):
        save_state(run / "last.safetensors", net, optimizer, average, state(11))
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_write_that_fails_leaves_both_states_as_they_were(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))  # as on a full disk
    try:
        with pytest.raises(OSError, match="too large"):
            save_state(run / "last.safetensors", *fresh(), state(11))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


class Fault:
    """Fails at the n-th thing that a save asks of the system: open, write, flush, fsync, rename …"""

    def __init__(self, at: int, fail: Callable[[], None]) -> None:
        self.left, self.fail = at, fail

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.fail()
            return call(*arguments, **options)

        return counting

    def inflict(self, monkeypatch: pytest.MonkeyPatch) -> None:

        def watched(path: Path, mode: str) -> Any:
            file = open(path, mode, buffering=0)  # noqa: SIM115 -- closed by its user
            found = MagicMock(wraps=file)
            found.write, found.flush = self.counted(file.write), self.counted(file.flush)
            return found

        monkeypatch.setattr(files, "open", self.counted(watched), raising=False)
        monkeypatch.setattr(os, "replace", self.counted(os.replace))
        monkeypatch.setattr(os, "fsync", self.counted(os.fsync))


POINTS = ["open", "write", "flush", "fsync", "flush again", "rename", "fsync of the name"]
POINTS += ["put aside", "put in place", "fsync of the places"]


def broken() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("at", range(1, 11), ids=POINTS)
def test_an_error_at_any_point_of_a_save_leaves_a_state_that_loads(
    run: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = fresh()
    with monkeypatch.context() as patch:
        Fault(at, broken).inflict(patch)
        with pytest.raises(OSError, match="Input/output error"):
            save_state(run / "last.safetensors", *arguments, state(15))
    # Written and not yet in its place, the new state may be found; else it is the last one.
    assert load_state(run / "last.safetensors", *fresh()).step == (15 if at >= 9 else 10)
    save_state(run / "last.safetensors", *fresh(), state(20))
    assert load_state(run / "last.safetensors", *fresh()).step == 20


@pytest.mark.parametrize("at", range(1, 11), ids=POINTS)
def test_a_kill_at_any_point_of_a_save_leaves_a_state_that_loads(
    run: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = fresh()
    if not (child := os.fork()):
        Fault(at, lambda: os._exit(9)).inflict(monkeypatch)
        save_state(run / "last.safetensors", *arguments, state(15))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert load_state(run / "last.safetensors", *fresh()).step == (15 if at >= 9 else 10)


def test_a_save_asks_for_these_ten_things(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fault = Fault(99, broken)
        fault.inflict(patch)
        save_state(run / "last.safetensors", *fresh(), state(15))
    assert fault.left == 99 - len(POINTS)


def test_the_state_holds_adams_moments_under_the_names_of_their_parameters(run: Path) -> None:
    net, optimizer, average = fresh()
    load_state(run / "last.safetensors", net, optimizer, average)
    for name, parameter in net.named_parameters():
        moments = optimizer.state[parameter]
        assert moments["step"].item() == 10, name
        assert moments["exp_avg"].shape == parameter.shape, name
        assert moments["exp_avg_sq"].stride() == parameter.stride(), name
        assert moments["exp_avg_sq"].abs().sum() > 0, name

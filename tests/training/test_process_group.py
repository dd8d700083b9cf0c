"""Several processes train one network as one process would; a lost one ends all, and the run can go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fast_nst.config import TrainConfig
from fast_nst.models.checkpoint import load_checkpoint, read_tensors
from fast_nst.serialization import to_dict
from fast_nst.training.logging.run_log import read_metrics
from fast_nst.training.process_group import ProcessGroup, is_distributed, joined_process_group

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


def start(*words: str, group: int, cwd: Path) -> list[subprocess.Popen[str]]:
    """A command as so many processes that know of each other, as torchrun starts them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pipe = subprocess.PIPE
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            [sys.executable, *words],
            cwd=cwd,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(group)},
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        for rank in range(group)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What each said, on stdout and on stderr."""
    return [process.communicate(timeout=500) for process in processes]


@pytest.fixture
def here(material: Path, tmp_path: Path) -> Path:
    return shutil.copytree(material, tmp_path / "here")


# ------------------------------------------------------------------------------------------------ one process


def test_a_process_alone_is_the_first_of_one_and_shares_nothing() -> None:
    group = ProcessGroup()
    assert (group.rank, group.size, group.is_main) == (0, 1, True)
    network, tensor = torch.nn.Linear(1, 1), torch.rand(3)
    assert group.wrap(network) is network
    assert group.mean(tensor) is tensor
    assert group.maximum(1.0, -2.0) == [1.0, -2.0]
    assert group.gather("Zoë") == ["Zoë"]
    assert group.device("auto") == "auto"
    group.barrier()


@pytest.mark.parametrize(
    ("variables", "several"),
    [({}, False), ({"RANK": "0", "WORLD_SIZE": "1"}, False), ({"RANK": "1", "WORLD_SIZE": "2"}, True)],
)
def test_only_a_launcher_of_several_processes_makes_them_join(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any], several: bool
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_distributed() == several
    if not several:
        with joined_process_group():
            assert not torch.distributed.is_initialized()


# ---------------------------------------------------------------------------------------------- two processes


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_have_the_gradients_of_one_to_1e_10(config: TrainConfig, tmp_path: Path) -> None:
    """With all terms whose batch means the processes share, and the border of the batch's first image."""
    whole = replace(config, batch_size=4, temporal=True)
    (tmp_path / "settings.json").write_text(json.dumps(to_dict(whole)))
    both = start(str(HERE / "share.py"), "settings.json", group=2, cwd=tmp_path)
    alone = start(str(HERE / "share.py"), "settings.json", group=1, cwd=tmp_path)
    for process, (_, err) in zip([*both, *alone], finish([*both, *alone]), strict=True):
        assert process.returncode == 0, err
    first, second, one = (
        torch.load(tmp_path / f"gradients{name}.pt", weights_only=True) for name in ("0-2", "1-2", "0-1")
    )
    for name, gradient in one.items():
        assert gradient.dtype == torch.float64
        assert gradient.abs().max() > 0 or "norm2.bias" in name, name
        torch.testing.assert_close(first[name], gradient, rtol=0, atol=1e-10, msg=name)
        assert torch.equal(first[name], second[name]), name


def reported(folder: Path) -> list[int]:
    return [line["step"] for line in read_metrics(folder / "runs/the-waves/metrics.jsonl")]


def wait_until_trained(folder: Path, steps: int) -> None:
    patience = time.monotonic() + 90
    while time.monotonic() < patience and (reported(folder) or [0])[-1] < steps:
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_of_two_processes_is_written_by_the_first_and_goes_on_with_one(
    here: Path, quick: list[str]
) -> None:
    run = [*quick, "--report-every", "1", "--save-every", "2"]
    run[run.index("--batch-size") + 1] = "4"
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(ROOT / "train.py")]
    done = subprocess.run(
        [sys.executable, *words, *run, "--steps", "6"], cwd=here, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the-waves.safetensors\n"
    assert done.stderr.count("training the-waves on 5 photographs") == 1
    assert "2 processes" in done.stderr
    assert reported(here) == list(range(1, 7))
    assert len(list((here / "runs/the-waves").glob("events.out.tfevents.*"))) == 1
    alone = [sys.executable, str(ROOT / "train.py"), *run, "--steps", "9", "--resume"]
    resumed = subprocess.run(alone, cwd=here, capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert reported(here) == list(range(1, 10))
    assert load_checkpoint(here / "the-waves.safetensors").metadata["steps"] == 9


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_all_within_a_minute_with_one_line_and_a_state_to_go_on_from(
    here: Path, quick: list[str], killed: int
) -> None:
    run = [*quick, "--report-every", "1", "--save-every", "2"]
    processes = start(str(ROOT / "train.py"), *run, "--steps", "100000", group=2, cwd=here)
    wait_until_trained(here, 4)
    processes[killed].send_signal(signal.SIGKILL)
    (survivor,) = [process for i, process in enumerate(processes) if i != killed]
    _, err = survivor.communicate(timeout=280)
    finish([processes[killed]])
    assert survivor.returncode == 2, err
    (line,) = [line for line in err.splitlines() if not line.startswith(("training ", "step "))]
    assert line.startswith("error: another process of this run has ended or does not answer")
    saved = read_tensors(here / "runs/the-waves/last.safetensors")[1]["training"]["step"]
    assert saved >= 2
    resumed = start(str(ROOT / "train.py"), *run, "--resume", "--steps", f"{saved + 3}", group=2, cwd=here)
    (_, err), _ = finish(resumed)
    assert resumed[0].returncode == resumed[1].returncode == 0, err
    assert f"from step {saved} to {saved + 3}" in err

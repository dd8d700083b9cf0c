"""The choice of device and arithmetic."""

from __future__ import annotations

import errno
import mmap
from pathlib import Path
from typing import Any

import pytest
import torch

from fast_nst.errors import InputError
from fast_nst.system import device
from fast_nst.system.device import (
    autocast,
    choose_device,
    choose_precision,
    has_compiler,
)
from fast_nst.system.memory import is_out_of_memory, resident_memory

CPU = torch.device("cpu")
without_accelerator = pytest.mark.skipif(
    torch.accelerator.is_available(), reason="this machine has an accelerator"
)


def test_a_named_device_is_taken_as_it_is() -> None:
    assert choose_device("cpu") == CPU


def test_auto_takes_the_accelerator_where_there_is_one() -> None:
    expected = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else CPU
    assert choose_device("auto") == expected


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CPU!"])
def test_a_word_that_names_no_device_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(
        InputError, match=r"unknown device .*; allowed are auto, cpu, cuda, mps, xpu"
    ) as caught:
        choose_device(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


@without_accelerator
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu"])
def test_a_device_this_machine_lacks_is_refused_with_the_cure(name: str) -> None:
    with pytest.raises(InputError, match="device here; this machine has only cpu: give --device cpu or auto"):
        choose_device(name)


@pytest.mark.gpu
def test_a_gpu_is_chosen_and_one_too_many_is_refused() -> None:
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:0").index == 0
    with pytest.raises(InputError, match=r"no device 'cuda:99' here; this machine has \d+ of them"):
        choose_device("cuda:99")


def test_auto_precision_on_a_cpu_follows_its_units() -> None:
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_autocast_runs_convolutions_in_the_precision_named(precision: str, dtype: torch.dtype) -> None:
    with autocast(CPU, precision):
        out = torch.nn.Conv2d(3, 2, 3)(torch.rand(1, 3, 8, 8))
    assert out.dtype == dtype


def test_a_compiler_is_found_on_the_path_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_compiler(CPU)
    (tmp_path / "g++").touch(mode=0o755)
    assert has_compiler(CPU)


def test_the_compiler_that_cxx_names_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my-c++").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "my-c++")
    assert has_compiler(CPU)


def test_processes_of_one_machine_are_dealt_its_devices_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda")
    )
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert [device.device_for_rank(i) for i in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert device.device_for_rank(1) == "auto"


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (type("Fail", (Exception,), {"__module__": "onnxruntime.capi"})("Failed to allocate memory"), True),
        (RuntimeError("Exception from src/inference: std::bad_alloc"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (ImportError("no module named out"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_failed_allocation_is_known_whoever_reports_it(error: Any, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory


def test_the_memory_of_the_process_grows_with_what_it_holds() -> None:
    before = resident_memory()
    with mmap.mmap(-1, 120_000_000) as held:  # not the allocator's, which may have kept as much from before
        held.write(b"\1" * len(held))
        assert resident_memory() - before > 100_000_000

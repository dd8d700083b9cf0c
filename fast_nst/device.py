"""Which device, which arithmetic, and whether compiling pays: decided once, in one place."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from fast_nst.errors import InputError

__all__ = [
    "autocast",
    "choose_device",
    "choose_precision",
    "cpu_has_bf16",
    "free_memory",
    "has_compiler",
    "is_out_of_memory",
    "resident_memory",
]


def choose_device(name: str = "auto") -> torch.device:
    """The named device, or for ``auto`` the accelerator torch sees (cuda, mps, xpu), else the CPU.

    Raises:
        InputError: a device this machine lacks, or a word that names none.
    """
    # check_available: a build for CUDA names cuda on every machine, also on one without a GPU.
    found = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(
            f"unknown device {name!r}; allowed are auto, cpu, cuda, mps, xpu, or cuda:1 …"
        ) from None
    if device.type != "cpu" and (found is None or found.type != device.type):
        have = f"cpu and {found.type}" if found is not None else "only cpu"
        raise InputError(f"no {device.type} device here; this machine has {have}: give --device cpu or auto")
    if device.type != "cpu" and (device.index or 0) >= (count := torch.accelerator.device_count()):
        raise InputError(f"no device {name!r} here; this machine has {count} of them, counted from 0")
    return device


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware (AVX-512 BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def choose_precision(name: str, device: torch.device) -> str:
    """``fp32``, ``bf16`` or ``fp16`` for the convolutions of a training run."""
    if name != "auto":
        return name
    if device.type == "cpu":
        return "bf16" if cpu_has_bf16() else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """A context in which convolutions run in that precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def has_compiler(device: torch.device) -> bool:
    """Whether torch.compile can build code for the device: a C++ compiler, or Triton on a GPU."""
    if device.type == "cpu":
        return any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "g++", "clang++"))
    return device.type == "cuda" and torch.utils._triton.has_triton()


def free_memory() -> int:
    """Bytes that can be had without swapping, in this container; 0 if the system does not say."""
    try:
        meminfo = Path("/proc/meminfo").read_text().split()
        free = int(meminfo[meminfo.index("MemAvailable:") + 1]) * 1024
    except (OSError, ValueError):
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return 0
    try:
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free


def resident_memory() -> int:
    """Bytes of memory this process holds now; 0 if the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    # The most it ever held, in units that differ; more than it holds now is on the safe side.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, of Python's, of numpy's or of torch's on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Neither the processor's allocator nor those of MPS and oneDNN have an error of their own.
    told = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in told or "out of memory" in told or "could not create a memory" in told
    )

"""The choice of device and precision, and whether torch.compile can be used."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from fast_nst.errors import InputError
from fast_nst.system.cpu import cpu_fingerprint

__all__ = [
    "autocast",
    "choose_device",
    "choose_precision",
    "cpu_has_bf16",
    "device_for_rank",
    "has_compiler",
    "processor_key",
    "to_device",
]


def choose_device(name: str = "auto") -> torch.device:
    """The named device, or for ``auto`` the accelerator torch sees (cuda, mps, xpu), else the CPU.

    Raises:
        InputError: a device that this machine does not have, or an unknown name.
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


def device_for_rank(local_rank: int) -> str:
    """The device of ``auto`` for one of several processes on a machine: devices are assigned in turn."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or (count := torch.accelerator.device_count()) < 2:
        return "auto"
    return f"{found.type}:{local_rank % count}"


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware (AVX-512 BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def processor_key() -> str:
    """What times of torch on this processor depend on: its instructions, threads, and torch's version."""
    return f"{torch.__version__} {cpu_fingerprint()} {torch.get_num_threads()} threads"


def choose_precision(name: str, device: torch.device) -> str:
    """``fp32``, ``bf16`` or ``fp16`` for the convolutions.

    ``auto`` is bf16 on GPUs that multiply it, and fp32 on processors: there bf16 has to be measured to be
    faster, see `fast_nst.models.loss_precision`, `fast_nst.training.step_form`, `backends.choice`.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "fp32"


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor's on the device, without waiting for what a GPU is doing."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


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

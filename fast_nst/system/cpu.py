"""Properties of this machine, read without importing torch."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
from pathlib import Path

__all__ = [
    "cpu_fingerprint",
    "cpu_has_matrix_units",
    "cpu_multiplies_int8",
    "may_have_accelerator",
    "thread_limit",
]

# Where drivers put what torch would find: NVIDIA, the same under WSL, AMD.
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_WITH_VNNI = ("VNNI", "BF16", "FP16", "AMX")  # in the names of oneDNN's instruction sets
_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":")[1] for line in lines if line.startswith("flags")), "").split())


def _isa_limit() -> str:
    """The instruction set to which oneDNN, the convolutions of torch and OpenVINO, is limited by the user."""
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()


def _limit_allows(*words: str) -> bool:
    """Whether there is no such limit, or one whose name has one of the words."""
    limit = _isa_limit()
    return limit in ("", "ALL", "DEFAULT") or any(word in limit for word in words)


def cpu_has_matrix_units(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether this processor has matrix units for bf16 (AMX), and is allowed to use them.

    Without them bf16 saves memory traffic at most, and costs accuracy all the same.

    Args:
        cpuinfo: Linux's description of the processor.
    """
    return "amx_bf16" in _cpu_flags(cpuinfo) and _limit_allows("AMX")


def cpu_multiplies_int8(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether this processor adds up products of 8-bit integers in 32 bits (VNNI), and is allowed to.

    Those without add pairs of them in 16 bits first, which overflow in silence.

    Args:
        cpuinfo: Linux's description of the processor.
    """
    return bool(_cpu_flags(cpuinfo) & {"avx512_vnni", "avx_vnni"}) and _limit_allows(*_WITH_VNNI)


def cpu_fingerprint(cpuinfo: Path = _CPUINFO) -> str:
    """A digest that is equal only for processors with the same instructions under the same limits.

    Args:
        cpuinfo: Linux's description of the processor.
    """
    words = [platform.machine(), platform.processor(), _isa_limit(), *sorted(_cpu_flags(cpuinfo))]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def may_have_accelerator() -> bool:
    """False where torch need not be imported to know: Linux without the driver of any supported GPU."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.path.exists(path) for path in _DRIVERS) or _torch_is_for_xpu()


def _torch_is_for_xpu() -> bool:
    """Intel's graphics are in most laptops; torch uses them only where it was built to."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return "xpu" in version("torch")
    except PackageNotFoundError:
        return False


def thread_limit() -> int | None:
    """``OMP_NUM_THREADS``, which other engines than torch do not read themselves; None if not set."""
    word = os.environ.get("OMP_NUM_THREADS", "")
    return int(word) if word.isdecimal() and int(word) > 0 else None

"""How much memory there is, how much this process holds, and whether an error says that it ran out.

Nothing here imports torch. psutil does not replace this: its `virtual_memory` is that of the machine, not
the limit of the container (cgroup) in which most servers run, and the rest is two lines of ``/proc``.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

__all__ = ["free_memory", "is_out_of_memory", "keep_freed_memory", "resident_memory"]

# Of torch on processors, MPS and in oneDNN, of OpenVINO and onnxruntime, which all have no type of their own.
_WORDS = (
    "can't allocate memory",
    "out of memory",
    "could not create a memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "failed to map segment",  # the loader's, of a library that does not fit
)


def free_memory() -> int:
    """Bytes available without swapping, within the limit of the container; 0 if unknown."""
    try:
        meminfo = Path("/proc/meminfo").read_text().split()
        free = int(meminfo[meminfo.index("MemAvailable:") + 1]) * 1024
    except (OSError, ValueError):
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return 0
    try:
        group = Path("/sys/fs/cgroup")
        limit, held = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        stat = (group / "memory.stat").read_text().split()
        return min(free, limit - held + int(stat[stat.index("inactive_file") + 1]))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free


def resident_memory() -> int:
    """Resident bytes of this process; 0 if unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    # The peak, in units that differ by system: more than it holds now, which is the safe side.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


# glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees for its next allocations, until it ends.

    glibc gives every freed block of more than some MiB back to the system, which clears its pages anew when
    the next one is needed: for the maps of a training step on a processor that takes as long as some of its
    convolutions.

    Returns:
        Whether the allocator can be told so; False where it is not glibc's.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # for commands that train alone: every command imports this module

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    # Blocks from the heap alone, which is never trimmed and grows by 64 MiB.
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: Python's, numpy's, the system's, or that of an engine on any device.

    Engines' errors are known by name and words, so that no engine is imported for this.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # onnxruntime's errors, such as `Fail`, have no base but Exception.
    kinds = (RuntimeError, ImportError, OSError)
    may_be = isinstance(error, kinds) or type(error).__module__.startswith("onnxruntime")
    return may_be and any(words in str(error).lower() for words in _WORDS)

"""Peak resident memory of a process.

    python benchmarks/peak.py stylize.py photo.jpg --out stylized.png

runs a program and prints its peak in MiB as the last line.
"""

from __future__ import annotations

import atexit
import runpy
import sys
from pathlib import Path

__all__ = ["peak_resident"]


def peak_resident() -> float:
    """Of this process so far, MiB."""
    try:
        status = Path("/proc/self/status").read_text().split()
        return int(status[status.index("VmHWM:") + 1]) / 2**10
    except OSError:  # not Linux, where getrusage would count what the parent held when it started this one
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / 2 ** (20 if sys.platform == "darwin" else 10)


def main() -> None:
    """Run the program given as the first argument, as if it had been started directly."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    atexit.register(lambda: print(peak_resident()))  # also where the program ends by sys.exit
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()

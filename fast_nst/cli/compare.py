"""``compare.py`` and ``fast-nst compare``: parse, measure, write the report, print where it is."""

from __future__ import annotations

from fast_nst.cli.common import DONE, USAGE, guarded, program, put, say
from fast_nst.cli.progress import ProgressBar
from fast_nst.config.baseline import CompareConfig

__all__ = ["main"]

DESCRIPTION = """Compare a trained network with the optimizer, on the network's training objective.

  compare.py --style starry-night --content photos/ --sizes 256 512 --iterations 200
  compare.py --style my_style.safetensors --content photo.jpg --style-image painting.jpg --only speed

The same command resumes an interrupted comparison.
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    prog = program("compare")
    description = DESCRIPTION.replace("compare.py", prog)
    if not arguments:
        say(f"{description}\n{prog} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse

    config = parse(CompareConfig, arguments, prog=prog, description=description)
    from fast_nst.baseline.compare import Comparison
    from fast_nst.baseline.comparison_report import write_comparison
    from fast_nst.system.memory import keep_freed_memory

    keep_freed_memory()
    comparison = Comparison(config)
    say(f"{comparison.style}, {comparison.device.type} {comparison.precision}; results in {config.out}")
    with ProgressBar(len(comparison.pieces), "measurement") as progress:
        for done in comparison:
            progress.show(done.done, f"{done.done}/{done.total}  {done.line}")
    put(str(write_comparison(comparison)))
    return DONE

"""``fast-nst evaluate-sr``: parse, measure, write the report, print where it is."""

from __future__ import annotations

from fast_nst.cli.common import DONE, USAGE, guarded, put, say
from fast_nst.cli.progress import ProgressBar
from fast_nst.config import EvaluateConfig
from fast_nst.errors import InputError

__all__ = ["main"]

PROG = "fast-nst evaluate-sr"
DESCRIPTION = """Evaluate super-resolution models, compared with bicubic interpolation and the paper's table.

  fast-nst evaluate-sr --model x4 --data Set5 Set14 BSD100 --factor 4 --out evaluation
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if not arguments:
        say(f"{DESCRIPTION}\n{PROG} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse

    config = parse(EvaluateConfig, arguments, prog=PROG, description=DESCRIPTION)
    if (config.out / "results.json").exists() and not config.overwrite:
        raise InputError(f"{config.out} contains an evaluation; give --overwrite or another --out")
    from fast_nst.evaluation.super_resolution import BICUBIC, Evaluation
    from fast_nst.evaluation.super_resolution_report import write_evaluation

    evaluation = Evaluation(config)
    with ProgressBar(len(evaluation.pictures), "picture") as progress:
        for done, found in enumerate(evaluation, start=1):
            best = max(score.psnr for score in found.scores.values())
            line = f"{found.set} {found.picture}: {found.scores[BICUBIC].psnr:.2f} to {best:.2f} dB"
            progress.show(done, f"{done}/{len(evaluation.pictures)}  {line}")
    put(str(write_evaluation(evaluation)))
    return DONE

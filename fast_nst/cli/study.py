"""``fast-nst study``: one experiment with the optimizer, and its report."""

from __future__ import annotations

from fast_nst.cli.common import DONE, USAGE, guarded, put, say
from fast_nst.cli.optimize import content_and_style
from fast_nst.cli.progress import ProgressBar
from fast_nst.config.baseline import StudyConfig
from fast_nst.errors import InputError

__all__ = ["main"]

PROG = "fast-nst study"
DESCRIPTION = """Vary one option of the optimizer, keep the others fixed, and check published claims.

  fast-nst study start photo.jpg painting.jpg      start from noise or from the content image
  fast-nst study content photo.jpg painting.jpg    the content layer
  fast-nst study style photo.jpg painting.jpg      the style layers
  fast-nst study tv photo.jpg painting.jpg         all of these with and without total variation

The report is studies/NAME/report.md. The same command resumes an interrupted study.
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if not arguments:
        say(f"{DESCRIPTION}\n{PROG} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_with_sources

    words = "start, content, style or tv; the content image; the style image"
    sources, config = parse_with_sources(
        StudyConfig, arguments, prog=PROG, description=DESCRIPTION, help=words
    )
    if not sources:
        raise InputError(f"no study was named: {PROG} start CONTENT STYLE")
    content, style = content_and_style(sources[1:], f"{PROG} {sources[0]}")
    from fast_nst.baseline.studies import Study
    from fast_nst.baseline.study_report import write_study
    from fast_nst.io.images import load_image
    from fast_nst.system.memory import keep_freed_memory

    keep_freed_memory()
    study = Study(sources[0], load_image(content), load_image(style), config)
    say(f"{len(study.variants)} runs of {config.steps} iterations; results in {config.out}")
    with ProgressBar(len(study.variants), "run") as progress:
        for done, total, line in study:
            progress.show(done, f"{done}/{total}  {line}")
    put(str(write_study(study)))
    return DONE

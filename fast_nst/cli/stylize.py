"""``stylize.py`` and ``fast-nst stylize``: plan, stylize, print."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fast_nst.cli.batch import BatchReport, own_jobs
from fast_nst.cli.common import USAGE, guarded, program, say
from fast_nst.cli.refining import refined, tell_how_to_refine
from fast_nst.config import StylizeConfig
from fast_nst.config.stylize import DEFAULT_STYLE, LIVE_STYLE
from fast_nst.errors import InputError

if TYPE_CHECKING:
    from fast_nst.inference.batch.jobs import Job
    from fast_nst.inference.batch.results import Result
    from fast_nst.inference.batch.run import VideoProgress
    from fast_nst.inference.styles import StyleChoice

__all__ = ["main"]

DESCRIPTION = """Stylize pictures, videos and the camera with a trained style.

  stylize.py photo.jpg --style the-great-wave          -> photo_the-great-wave.jpg
  stylize.py holiday/ --style my-style.safetensors     -> holiday_my-style/, sub-folders kept
  stylize.py '*.png' --style the-scream --out stylized/
  stylize.py clip.mp4 --style starry-night             -> clip_starry-night.mp4, sound kept
  stylize.py 0 --style starry-night                    the camera, live
  stylize.py - --style the-great-wave --format png < photo.jpg > stylized.png
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if not arguments:
        prog = program("stylize")
        styles = "python -m fast_nst styles" if prog == "stylize.py" else "fast-nst styles"
        say(f"{_description(prog)}\n{styles} lists the bundled styles, {prog} --help every option.")
        return USAGE
    sources, config = _parse(arguments)
    from fast_nst.inference.batch.jobs import plan
    from fast_nst.inference.batch.sources import camera_of
    from fast_nst.inference.styles import choose_style
    from fast_nst.models.model_files import read_metadata

    camera = camera_of(sources, config)
    named = config.style
    if named is None:  # an empty one is refused like any that is not there
        named = DEFAULT_STYLE if camera is None else LIVE_STYLE
    if config.refine is None:
        style = choose_style(named)
        tell_how_to_refine(named)
    else:
        own = Path(named).stem
        file = refined(named, config, [job.source for job in plan(sources, own, config).jobs])
        style = replace(choose_style(str(file)), name=own)
    if camera is not None:
        from fast_nst.system.opencv import opencv

        opencv()  # before PyAV, which the next lines bring: after it, OpenCV's windows never open
        from fast_nst.cli.camera import show

        return show(camera, style, config)
    planned = plan(sources, style.name, config)
    for note in planned.notes:
        say(note)
    jobs, config = own_jobs(planned.jobs, config, {} if config.cluster else None)
    metadata = read_metadata(style.file)
    name, debug = str(metadata.get("style", "unnamed")), "--debug" in arguments
    with BatchReport(jobs, config, metadata=metadata, name=name, debug=debug) as report:
        return report.add_all(_results(style, jobs, config, report))


def _results(
    style: StyleChoice, jobs: list[Job], config: StylizeConfig, report: BatchReport
) -> Iterator[Result | VideoProgress]:
    """The results, from this process or from a cluster."""
    if config.cluster:
        from fast_nst.inference.batch.cluster import stylize_on_cluster
        from fast_nst.models.checkpoint import load_checkpoint, load_gallery

        load = load_checkpoint if style.weights is None else load_gallery
        return stylize_on_cluster(
            jobs,
            load(style.file),
            config,
            weights=style.weights,
            on_start=lambda resources: say(f"{style.name}, {resources}"),
        )
    from fast_nst.inference.batch.run import run_jobs
    from fast_nst.inference.layers import open_controls, open_stylizer

    stylizer = open_stylizer(style, config, open_controls(config))
    say(f"{style.name}, {stylizer}")
    return run_jobs(jobs, stylizer, config, report.show_bands)


def _description(prog: str) -> str:
    return DESCRIPTION.replace("stylize.py", prog)


def _parse(arguments: list[str]) -> tuple[list[str], StylizeConfig]:
    from fast_nst.cli.parsing import parse_with_sources

    prog, help = program("stylize"), "files, folders, patterns in quotes, - for stdin, or 0 for the camera"
    sources, config = parse_with_sources(
        StylizeConfig, arguments, prog=prog, description=_description(prog), help=help
    )
    if not sources:
        raise InputError(f"no picture was given; {prog} PHOTO --style NAME")
    return sources, config

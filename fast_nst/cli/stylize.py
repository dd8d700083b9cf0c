"""``stylize.py`` and ``fast-nst stylize``: plan, stylize, print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fast_nst.cli.batch import run_jobs
from fast_nst.cli.common import USAGE, guarded, program, say
from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.serialization import parse_bytes

if TYPE_CHECKING:
    from fast_nst.inference.batch.jobs import Job
    from fast_nst.inference.batch.run import BandProgress, Result, VideoProgress

__all__ = ["main"]

DESCRIPTION = """Stylize pictures, videos and the camera with a trained style.

  stylize.py photo.jpg --style starry-night            -> photo_starry-night.jpg
  stylize.py holiday/ --style my-style.safetensors     -> holiday_my-style/, sub-folders kept
  stylize.py '*.png' --style the-scream --out painted/
  stylize.py clip.mp4 --style starry-night             -> clip_starry-night.mp4, sound kept
  stylize.py 0 --style starry-night                    the camera, live
  stylize.py - --style the-great-wave --format png < photo.jpg > painted.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_stylize, arguments)


def _stylize(arguments: list[str]) -> int:
    if not arguments:
        prog = program("stylize")
        styles = "python -m fast_nst styles" if prog == "stylize.py" else "fast-nst styles"
        say(f"{_description(prog)}\n{styles} lists the bundled styles, {prog} --help every option.")
        return USAGE
    sources, config = _parse(arguments)
    from fast_nst.inference.batch.jobs import camera_of, plan
    from fast_nst.models.model_files import find_style, read_metadata

    file = find_style(config.style)
    if (camera := camera_of(sources, config)) is not None:
        from fast_nst.system.opencv import opencv

        opencv()  # before PyAV, which the next lines bring: after it, OpenCV's windows never open
        from fast_nst.cli.camera import show

        return show(camera, file, config)
    jobs, about = plan(sources, file.stem, config), read_metadata(file)
    name = str(about.get("style", "unnamed"))
    painted = partial(_painted, file)
    return run_jobs(jobs, config, painted, about=about, name=name, everything=config.cluster)


def _painted(
    file: Path, jobs: list[Job], config: StylizeConfig, strips: BandProgress
) -> Iterator[Result | VideoProgress]:
    """The results, from this process or from a cluster."""
    if config.cluster:
        from fast_nst.inference.batch.cluster import stylize_on_cluster
        from fast_nst.models.checkpoint import load_checkpoint

        yield from stylize_on_cluster(
            jobs, load_checkpoint(file), config, on_start=lambda words: say(f"{file.stem}, {words}")
        )
        return
    from fast_nst.inference.batch.run import paint
    from fast_nst.inference.stylizer import Stylizer

    stylizer = Stylizer.load(
        file,
        device=config.device,
        precision=config.precision,
        backend=config.backend,
        memory=parse_bytes(config.memory, "--memory") if config.memory else None,
    )
    say(f"{file.stem}, {stylizer}")
    yield from paint(jobs, stylizer, config, strips)


def _description(prog: str) -> str:
    return DESCRIPTION.replace("stylize.py", prog)


def _parse(arguments: list[str]) -> tuple[list[str], StylizeConfig]:
    from fast_nst.cli.parsing import parse_with_sources

    prog, told = program("stylize"), "files, folders, patterns in quotes, - for stdin, or 0 for the camera"
    sources, config = parse_with_sources(
        StylizeConfig, arguments, prog=prog, description=_description(prog), help=told
    )
    if not sources:
        raise InputError(f"no picture was given; {prog} PHOTO --style NAME")
    return sources, config

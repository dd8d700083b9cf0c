"""``fast-nst optimize``: one photograph, one painting, no trained style; parse, descend, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fast_nst.cli.common import DONE, FAILED, SIGNALLED, USAGE, guarded, put, say, stopped_by_signals
from fast_nst.cli.progress import ProgressBar
from fast_nst.config.baseline import OptimizeConfig
from fast_nst.config.optimize import GATYS_PRESETS
from fast_nst.errors import InputError

if TYPE_CHECKING:
    from fast_nst.baseline.image_optimizer import PictureOptimizer
    from fast_nst.training.logging.run_log import RunLog

__all__ = ["main", "photo_and_painting"]

PROG = "fast-nst optimize"
DESCRIPTION = """Stylize a photograph after any painting, without training, by descent over its pixels.

  fast-nst optimize photo.jpg painting.jpg                       -> photo_painting.jpg
  fast-nst optimize photo.jpg painting.jpg --preset gatys2016    as published; --help --preset NAME shows it
  fast-nst optimize photo.jpg painting.jpg --size 1024 --scales 3 --steps 150
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_optimize, arguments)


def photo_and_painting(sources: Sequence[str], prog: str) -> tuple[str, str]:
    """The two pictures that a command takes."""
    if len(sources) != 2:
        raise InputError(
            f"{prog} takes a photograph and a painting, got {len(sources)} files: PHOTO PAINTING"
        )
    return sources[0], sources[1]


def _optimize(arguments: list[str]) -> int:
    if not arguments:
        say(f"{DESCRIPTION}\n{PROG} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_with_sources

    sources, config = parse_with_sources(
        OptimizeConfig,
        arguments,
        prog=PROG,
        description=DESCRIPTION,
        help="the photograph, then the painting",
        presets=GATYS_PRESETS,
    )
    photo_file, painting_file = photo_and_painting(sources, PROG)
    out = config.out or Path(f"{Path(photo_file).stem}_{Path(painting_file).stem}{_ending(photo_file)}")
    from fast_nst.baseline.image_optimizer import PictureOptimizer
    from fast_nst.io.images import check_target, load_image

    check_target(out, overwrite=config.overwrite)
    photo = load_image(photo_file, max_pixels=config.max_pixels)
    painting = load_image(painting_file, max_pixels=config.max_pixels)
    optimizer = PictureOptimizer(photo, painting, config)
    height, width = optimizer.photo.shape[-2:]
    say(f"{config.preset}, {width} x {height}, {optimizer.device.type} {optimizer.precision}")
    return _run(optimizer, config, out)


def _run(optimizer: PictureOptimizer, config: OptimizeConfig, out: Path) -> int:
    from fast_nst.io.images import save_image

    log = _open_log(config)
    with (
        stopped_by_signals(optimizer, "after this iteration and saving") as caught,
        ProgressBar(optimizer.steps, "iteration") as progress,
    ):
        shown = 0
        for report in optimizer:
            losses = {name: f"{getattr(report, name):.4g}" for name in ("content", "style", "tv")}
            progress.show(report.step, str(report), losses)
            if log is not None and config.run is not None:
                log.write(report)
                if report.step - shown >= config.preview_every or optimizer.finished:
                    shown = report.step
                    save_image(
                        config.run / f"previews/step_{report.step:06}.jpg", optimizer.picture(), quality=90
                    )
    if log is not None:
        log.close()
    save_image(out, optimizer.picture(), quality=config.quality, overwrite=config.overwrite)
    put(str(out))
    if optimizer.failure is not None:
        say(f"error: {optimizer.failure}; what is written is the best before it: try --precision fp32")
        return FAILED
    if caught and not optimizer.finished:
        say(f"stopped at iteration {optimizer.step} of {optimizer.steps}; what is written is the best so far")
        return SIGNALLED + caught[0]
    return DONE


def _open_log(config: OptimizeConfig) -> RunLog | None:
    """The run folder, emptied of an earlier run where that may be replaced."""
    if config.run is None:
        return None
    from fast_nst.training.logging.run_log import RunLog

    if (config.run / "metrics.jsonl").exists() and not config.overwrite:
        raise InputError(f"{config.run} holds another run; give --overwrite to replace it, or another --run")
    previews = config.run / "previews"
    previews.mkdir(parents=True, exist_ok=True)
    for old in previews.glob("step_*.jpg"):
        old.unlink()
    return RunLog(config.run, tensorboard=False)


def _ending(photo: str) -> str:
    """The photograph's own, or .png where that cannot be written."""
    from fast_nst.io.images import can_write

    ending = Path(photo).suffix
    return ending if can_write(ending) else ".png"

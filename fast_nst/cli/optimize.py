"""``fast-nst optimize``: stylize content images by per-image optimization, without a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fast_nst.cli.common import DONE, FAILED, SIGNALLED, USAGE, guarded, put, say, stopped_by_signals
from fast_nst.cli.progress import ProgressBar
from fast_nst.config.baseline import OptimizeConfig
from fast_nst.config.optimize import GATYS_PRESETS
from fast_nst.errors import InputError, one_line

if TYPE_CHECKING:
    from torch import Tensor

    from fast_nst.baseline.image_optimizer import PictureOptimizer
    from fast_nst.models.vgg import VGGFeatures
    from fast_nst.training.logging.run_log import RunLog

__all__ = ["content_and_style", "main"]

PROG = "fast-nst optimize"
DESCRIPTION = """Stylize images with any style image, without training, by optimizing their pixels.

  fast-nst optimize photo.jpg painting.jpg                       -> photo_painting.jpg
  fast-nst optimize a.jpg b.jpg folder/ painting.jpg --out out   one result for each content image
  fast-nst optimize photo.jpg painting.jpg --preset gatys2016    as published; --help --preset NAME shows it
  fast-nst optimize photo.jpg painting.jpg --size 1024 --scales 3 --steps 150
"""


def content_and_style(sources: Sequence[str], prog: str) -> tuple[str, str]:
    """The two images of a command that takes exactly one of each."""
    if len(sources) != 2:
        raise InputError(
            f"{prog} takes a content image and a style image, got {_files(sources)}: CONTENT STYLE"
        )
    return sources[0], sources[1]


def _files(sources: Sequence[str]) -> str:
    return f"{len(sources)} file{'s' * (len(sources) != 1)}"


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if not arguments:
        say(f"{DESCRIPTION}\n{PROG} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_with_sources
    from fast_nst.system.memory import keep_freed_memory

    sources, config = parse_with_sources(
        OptimizeConfig,
        arguments,
        prog=PROG,
        description=DESCRIPTION,
        help="content images or folders of them, then the style image",
        presets=GATYS_PRESETS,
    )
    if len(sources) < 2:
        raise InputError(
            f"{PROG} takes content images and a style image, got {_files(sources)}: CONTENT ... STYLE"
        )
    keep_freed_memory()
    *contents, style = sources
    jobs = _plan(contents, style, config)
    if len(jobs) == 1 and not Path(contents[0]).is_dir():
        return _Run(style, config).one(jobs[0])
    return _every(_Run(style, config), jobs)


def _every(run: _Run, jobs: list[_Job]) -> int:
    """Stylize every content image; an error with one of them does not end the run."""
    code, failed = DONE, 0
    for job in jobs:
        try:
            code = run.one(job)
        except BrokenPipeError:
            raise
        except Exception as error:
            say(f"error: {job.content}: {one_line(error)}")
            code = FAILED
        failed += code == FAILED
        if code > SIGNALLED:
            return code
    say(f"{len(jobs) - failed} of {len(jobs)} content images stylized")
    return FAILED if failed else DONE


class _Job(NamedTuple):
    """One content image, its result, and its run folder."""

    content: str
    out: Path
    run: Path | None


def _plan(contents: Sequence[str], style: str, config: OptimizeConfig) -> list[_Job]:
    """The jobs of a command line; results of images with the same name get numbers."""
    from fast_nst.io.images import find_pictures

    files: list[str] = []
    for source in contents:
        found = [str(file) for file in find_pictures(Path(source))] if Path(source).is_dir() else [source]
        if not found:
            raise InputError(f"{source} contains no images")
        files += found
    files = list(dict.fromkeys(files))
    single = len(files) == 1 and not Path(contents[0]).is_dir()
    if single and config.out is not None and not config.out.is_dir():
        return [_Job(files[0], config.out, config.run)]
    folder = config.out or Path()
    if config.out is not None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--out {folder} must be a folder for {len(files)} content images")
        folder.mkdir(parents=True, exist_ok=True)
    jobs: list[_Job] = []
    used: set[str] = set()
    for file in files:
        stem = f"{Path(file).stem}_{Path(style).stem}"
        name = next(n for i in count(1) if (n := stem if i == 1 else f"{stem}_{i}") not in used)
        used.add(name)
        run = config.run if single or config.run is None else config.run / name
        jobs.append(_Job(file, folder / f"{name}{_ending(file)}", run))
    return jobs


class _Run:
    """Optimizes content images one after the other; the style image and the loss network are loaded once."""

    def __init__(self, style: str, config: OptimizeConfig) -> None:
        self.config = config
        self._style_file = style
        self._style: Tensor | None = None
        self._features: VGGFeatures | None = None

    def one(self, job: _Job) -> int:
        """Stylize one content image; returns the exit code."""
        from fast_nst.io.images import check_target

        check_target(job.out, overwrite=self.config.overwrite)
        optimizer = self._optimizer(job)
        height, width = optimizer.content_image.shape[-2:]
        setup = f"{self.config.preset}, {width} x {height}, {optimizer.device.type} {optimizer.precision}"
        say(f"{job.content}: {setup}")
        return _minimize(optimizer, self.config, job)

    def _optimizer(self, job: _Job) -> PictureOptimizer:
        from fast_nst.baseline.image_optimizer import PictureOptimizer
        from fast_nst.io.images import load_image

        c = self.config
        content = load_image(job.content, max_pixels=c.max_pixels)
        if self._style is None:
            self._style = load_image(self._style_file, max_pixels=c.max_pixels)
        optimizer = PictureOptimizer(content, self._style, c, features=self._features)
        # Mean activations over the content image itself make a network of its own.
        if c.activations == "as-is" or c.activation_images is not None:
            self._features = optimizer.features
        return optimizer


def _minimize(optimizer: PictureOptimizer, config: OptimizeConfig, job: _Job) -> int:
    from fast_nst.io.images import save_image

    log = _open_log(job.run, overwrite=config.overwrite)
    with (
        stopped_by_signals(optimizer, "after this iteration and saving") as caught,
        ProgressBar(optimizer.steps, "iteration") as progress,
    ):
        previewed = 0
        for report in optimizer:
            losses = {name: f"{getattr(report, name):.4g}" for name in ("content", "style", "tv")}
            progress.show(report.step, str(report), losses)
            if log is not None and job.run is not None:
                log.write(report)
                if report.step - previewed >= config.preview_every or optimizer.finished:
                    previewed = report.step
                    preview = job.run / f"previews/step_{report.step:06}.jpg"
                    save_image(preview, optimizer.picture(), quality=90)
    if log is not None:
        log.close()
    save_image(job.out, optimizer.picture(), quality=config.quality, overwrite=config.overwrite)
    put(str(job.out))
    if optimizer.failure is not None:
        say(f"error: {optimizer.failure}; the best result before it is saved: try --precision fp32")
        return FAILED
    if caught and not optimizer.finished:
        say(f"stopped at iteration {optimizer.step} of {optimizer.steps}; the best result so far is saved")
        return SIGNALLED + caught[0]
    return DONE


def _open_log(folder: Path | None, *, overwrite: bool) -> RunLog | None:
    """Open the run folder; an earlier run is replaced only with ``--overwrite``."""
    if folder is None:
        return None
    from fast_nst.training.logging.run_log import RunLog

    if (folder / "metrics.jsonl").exists() and not overwrite:
        raise InputError(f"{folder} contains another run; give --overwrite to replace it, or another --run")
    previews = folder / "previews"
    previews.mkdir(parents=True, exist_ok=True)
    for old in previews.glob("step_*.jpg"):
        old.unlink()
    return RunLog(folder, tensorboard=False)


def _ending(content: str) -> str:
    """The content image's suffix, or .png where that format cannot be written."""
    from fast_nst.io.images import can_write

    ending = Path(content).suffix
    return ending if can_write(ending) else ".png"

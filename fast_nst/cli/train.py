"""``train.py`` and ``fast-nst train``: parse, train, print."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fast_nst.cli.common import DONE, SIGNALLED, USAGE, guarded, program, put, say, stopped_by_signals
from fast_nst.cli.progress import ProgressBar
from fast_nst.config import GalleryTrainConfig, TaskConfig, TrainConfig, UpscaleTrainConfig
from fast_nst.report import clock

if TYPE_CHECKING:
    from types import FrameType

    from fast_nst.training.trainer import Trainer

__all__ = ["download_progress", "main", "run"]

TASKS: dict[str, type[TaskConfig]] = {
    "style": TrainConfig,
    "gallery": GalleryTrainConfig,
    "super-resolution": UpscaleTrainConfig,
}
DESCRIPTION = """Train a style transfer network from one style image, or a super-resolution model.

  train.py --style starry.jpg --dataset photos/
  train.py --style starry.jpg --dataset coco --out starry.safetensors
  train.py --style starry.jpg --dataset photos/ --minutes 30 --preset small
  train.py --style starry.jpg --dataset photos/ --resume
  train.py --styles paintings/ --dataset photos/       one network for many styles
  train.py --task super-resolution --factor 4 --dataset photos/
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    prog = program("train")
    description = DESCRIPTION.replace("train.py", prog)
    if not arguments:
        say(f"{description}\n{prog} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_one_of

    if any(word == "--styles" or word.startswith("--styles=") for word in arguments):
        implied = [] if any(word.split("=")[0] == "--task" for word in arguments) else ["--task", "gallery"]
        arguments = [*implied, *arguments]
    return run(parse_one_of(TASKS, "--task", arguments, prog=prog, description=description))


def run(config: TaskConfig) -> int:
    """Train as configured, with the progress on stderr; returns the exit code."""
    from fast_nst.system.memory import keep_freed_memory
    from fast_nst.training.process_group import joined_process_group
    from fast_nst.training.trainer import Trainer

    keep_freed_memory()
    with joined_process_group():
        trainer = Trainer(config, on_download=download_progress())
        tell = say if trainer.group.is_main else _nothing
        if config.resume and not trainer.config.resume:
            tell(f"there is no saved state in {trainer.run} to resume from; starting over")
        tell(_announcement(trainer))
        with (
            stopped_by_signals(trainer, "after this step and saving", tell) as caught,
            _saving_on_request(trainer, tell),
            _progress(trainer) as progress,
            _compiling_shown(trainer, progress),
        ):
            for report in trainer:
                if trainer.group.is_main:
                    losses = {name: f"{report.losses[name]:.{report.digits}f}" for name in report.shown}
                    if config.minutes is None:
                        progress.show(report.step, str(report), losses)
                    else:
                        progress.show(report.elapsed, str(report), {"step": str(report.step), **losses})
    return _end(trainer, caught, tell)


def _progress(trainer: Trainer) -> ProgressBar:
    """A bar of the steps, or of the time where that is limited."""
    config = trainer.config
    if not trainer.group.is_main:
        return ProgressBar(1, "step")
    if config.minutes is not None:
        return ProgressBar(60 * config.minutes, "second", done=trainer.elapsed)
    return ProgressBar(config.steps, "step", done=trainer.step)


@contextmanager
def _compiling_shown(trainer: Trainer, progress: ProgressBar) -> Iterator[None]:
    """In front of the bar, how long the step in progress has been compiling."""
    done = threading.Event()

    def watch() -> None:
        began = None
        while not done.wait(1.0):
            if trainer.compiling:
                began = began or time.monotonic()
                progress.status(f"compiling {clock(time.monotonic() - began)}")
            elif began is not None:
                began = None
                progress.status("")

    thread = threading.Thread(target=watch, name="fast-nst compiling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _nothing(_: str) -> None:
    """All but the first of several processes are silent."""


def _announcement(trainer: Trainer) -> str:
    together = f", {trainer.group.size} processes" if trainer.group.size > 1 else ""
    compiling = "; compiling first, for a minute or two" if trainer.compiled else ""
    minutes = trainer.config.minutes
    end = f"to {trainer.config.steps}" if minutes is None else f"for {minutes:g} minutes"
    loss = ""
    if name := trainer.task.details.get("warm_start"):
        loss = f"; beginning with {name} (--warm-start none: random weights)"
    if trainer.config.loss_network == "distilled":
        loss += "; loss network: the package's distilled VGG-19 (--loss-network vgg19 for the original)"
    return (
        f"training {trainer.out.stem} on {len(trainer.photos.names)} photographs, {trainer.device.type} "
        f"{trainer.form}{together}, from step {trainer.step} {end}; "
        f"previews and log in {trainer.run}{loss}{compiling}"
    )


def _end(trainer: Trainer, caught: list[int], tell: Callable[[str], None]) -> int:
    """Say how the run went; returns the exit code."""
    if trainer.bad:
        count = len(trainer.photos.names)
        tell(f"{len(trainer.bad)} of {count} photographs could not be read and were left out:")
    for name, reason in sorted(trainer.bad.items()):
        tell(f"  {name}: {reason}")
    if skipped := int(trainer.training_step.loss_monitor.skipped):
        tell(f"{skipped} of {trainer.step} steps were skipped: loss not finite, or far above its mean")
    if caught and not trainer.step:
        tell("stopped before the first step; resume with the same command and --resume")
        return SIGNALLED + caught[0]
    if trainer.group.is_main:
        put(str(trainer.out))
    if caught and not trainer.finished:
        tell(f"stopped at step {trainer.step}; resume with the same command and --resume")
        return SIGNALLED + caught[0]
    return DONE


def download_progress() -> Callable[[int, int | None], None]:
    """A callback that shows a bar of the bytes received, once there are any."""
    shown: list[ProgressBar] = []

    def show(done: int, total: int | None) -> None:
        if not shown:
            shown.append(ProgressBar(total or done, "B", done=done))
        of = f" of {total / 1e9:.2f}" if total else ""
        shown[0].show(done, f"downloaded {done / 1e9:.2f}{of} GB")

    return show


@contextmanager
def _saving_on_request(trainer: Trainer, tell: Callable[[str], None]) -> Iterator[None]:
    """SIGUSR1 saves state and checkpoint after the step in progress."""

    def save(_: int, __: FrameType | None) -> None:
        trainer.save_soon()
        tell(f"saving {trainer.out} after this step")

    if not hasattr(signal, "SIGUSR1"):
        yield
        return
    before = signal.signal(signal.SIGUSR1, save)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)

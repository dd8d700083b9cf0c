"""``train.py`` and ``fast-nst train``: parse, train, print."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fast_nst.cli.common import DONE, SIGNALLED, USAGE, guarded, program, put, say, stopped_by_signals
from fast_nst.cli.progress import ProgressBar
from fast_nst.config import TaskConfig, TrainConfig, UpscaleTrainConfig

if TYPE_CHECKING:
    from types import FrameType

    from fast_nst.training.trainer import Trainer

__all__ = ["main"]

TASKS: dict[str, type[TaskConfig]] = {"style": TrainConfig, "super-resolution": UpscaleTrainConfig}
DESCRIPTION = """Train a style network from one painting, or a network that enlarges pictures.

  train.py --style starry.jpg --dataset photos/
  train.py --style starry.jpg --dataset coco --out starry.safetensors
  train.py --style starry.jpg --dataset photos/ --minutes 30 --preset small
  train.py --style starry.jpg --dataset photos/ --resume
  train.py --task super-resolution --factor 4 --dataset photos/
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_train, arguments)


def _train(arguments: list[str]) -> int:
    prog = program("train")
    description = DESCRIPTION.replace("train.py", prog)
    if not arguments:
        say(f"{description}\n{prog} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_one_of

    config = parse_one_of(TASKS, "--task", arguments, prog=prog, description=description)
    from fast_nst.training.process_group import joined
    from fast_nst.training.trainer import Trainer

    with joined():
        trainer = Trainer(config, on_download=_download_shown())
        tell = say if trainer.group.first else _nothing
        tell(_announcement(trainer))
        shown = config.steps if trainer.group.first else 0
        with (
            stopped_by_signals(trainer, "after this step and saving", tell) as caught,
            _saving_on_request(trainer, tell),
            ProgressBar(shown, "step", done=trainer.step) as progress,
        ):
            for report in trainer:
                losses = {name: f"{report.losses[name]:.{report.digits}f}" for name in report.shown}
                if trainer.group.first:
                    progress.show(report.step, str(report), losses)
    return _end(trainer, caught, tell)


def _nothing(_: str) -> None:
    """What all but the first of several processes say."""


def _announcement(trainer: Trainer) -> str:
    together = f", {trainer.group.size} processes" if trainer.group.size > 1 else ""
    compiling = "; compiling first, for a minute or two" if trainer.compiled else ""
    return (
        f"training {trainer.out.stem} on {len(trainer.photos.names)} photographs, {trainer.device.type} "
        f"{trainer.precision}{together}, from step {trainer.step} to {trainer.config.steps}; "
        f"previews and log in {trainer.run}{compiling}"
    )


def _end(trainer: Trainer, caught: list[int], tell: Callable[[str], None]) -> int:
    """Say how the run went; returns the exit code."""
    if trainer.bad:
        count = len(trainer.photos.names)
        tell(f"{len(trainer.bad)} of {count} photographs could not be read and were left out:")
    for name, reason in sorted(trainer.bad.items()):
        tell(f"  {name}: {reason}")
    if skipped := int(trainer.training_step.watch.skipped):
        tell(f"{skipped} of {trainer.step} steps were not taken: loss not finite, or far above the usual")
    if caught and not trainer.step:
        tell("stopped before the first step; --resume starts from there")
        return SIGNALLED + caught[0]
    if trainer.group.first:
        put(str(trainer.out))
    if caught and not trainer.finished:
        tell(f"stopped at step {trainer.step}; go on with the same command and --resume")
        return SIGNALLED + caught[0]
    return DONE


def _download_shown() -> Callable[[int, int | None], None]:
    """Shows the bytes received, of how many if that is known, once there are any."""
    shown: list[ProgressBar] = []

    def show(done: int, total: int | None) -> None:
        if not shown:
            shown.append(ProgressBar(total or done, "B", done=done))
        of = f" of {total / 1e9:.2f}" if total else ""
        shown[0].show(done, f"downloaded {done / 1e9:.2f}{of} GB")

    return show


@contextmanager
def _saving_on_request(trainer: Trainer, tell: Callable[[str], None]) -> Iterator[None]:
    """SIGUSR1 saves after the step in progress, and the run goes on."""

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

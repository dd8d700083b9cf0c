"""``train.py`` and ``fast-nst train``: parse, train, print."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fast_nst.cli.common import DONE, guarded, parse, say
from fast_nst.config import TrainConfig

if TYPE_CHECKING:
    from types import FrameType

    from fast_nst.report import StepReport
    from fast_nst.training.trainer import Trainer

__all__ = ["main"]

DESCRIPTION = """Train a style network from one painting.

  train.py --style starry.jpg --dataset photos/
  train.py --style starry.jpg --dataset coco --out starry.safetensors
  train.py --style starry.jpg --dataset photos/ --minutes 30 --preset small
  train.py --style starry.jpg --dataset photos/ --resume
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_train, arguments)


def _train(arguments: list[str]) -> int:
    if not arguments:
        say(DESCRIPTION + "\ntrain.py --help lists every option.")
        return 2
    config = parse(TrainConfig, arguments, prog="train.py", description=DESCRIPTION)
    from fast_nst.training.trainer import Trainer

    trainer = Trainer(config)
    say(
        f"training {trainer.out.stem} on {len(trainer.photos.names)} photographs, {trainer.device.type} "
        f"{trainer.precision}, from step {trainer.step} to {config.steps}; previews and log in {trainer.run}"
    )
    with _signals(trainer) as caught, _progress(config.steps, trainer.step) as show:
        for report in trainer:
            show(report)
    for name, reason in trainer.bad.items():
        say(f"left out: {name}: {reason}")
    if caught:
        say(f"stopped at step {trainer.step}; go on with the same command and --resume")
    print(trainer.out)
    return 128 + caught[0] if caught else DONE


@contextmanager
def _signals(trainer: Trainer) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM ends the run after the step in progress; a second one ends it at once."""
    caught: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        trainer.stop()
        say("\nstopping after this step and saving; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(steps: int, start: int) -> Iterator[_Show]:
    show = _Show(steps, start)
    try:
        yield show
    finally:
        show.close()


class _Show:
    """A progress bar on a terminal; elsewhere a line at the start and then every ten seconds."""

    def __init__(self, steps: int, start: int) -> None:
        from tqdm import tqdm

        self.bar = None
        if sys.stderr.isatty():
            self.bar = tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True)
        self.last = 0.0

    def __call__(self, report: StepReport) -> None:
        if self.bar is not None:
            losses = {k: f"{getattr(report, k):.4f}" for k in ("content", "style", "tv")}
            self.bar.set_postfix(losses, refresh=False)
            self.bar.update(report.step - self.bar.n)
        elif time.monotonic() - self.last >= 10 or report.step == report.steps:
            self.last = time.monotonic()
            say(str(report))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

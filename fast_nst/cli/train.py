"""``train.py`` and ``fast-nst train``: parse, train, print."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fast_nst.cli.common import DONE, SIGNALLED, USAGE, guarded, program, put, say, stopped_by_signals
from fast_nst.cli.progress import Progress
from fast_nst.config import TrainConfig

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
    prog = program("train")
    description = DESCRIPTION.replace("train.py", prog)
    if not arguments:
        say(f"{description}\n{prog} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse

    config = parse(TrainConfig, arguments, prog=prog, description=description)
    from fast_nst.training.trainer import Trainer

    trainer = Trainer(config, on_download=_download_shown())
    say(
        f"training {trainer.out.stem} on {len(trainer.photos.names)} photographs, {trainer.device.type} "
        f"{trainer.precision}, from step {trainer.step} to {config.steps}; previews and log in {trainer.run}"
        + ("; compiling first, for a minute or two" if trainer.compiled else "")
    )
    with (
        stopped_by_signals(trainer, "after this step and saving") as caught,
        Progress(config.steps, "step", done=trainer.step) as progress,
    ):
        for report in trainer:
            losses = {name: f"{getattr(report, name):.4f}" for name in ("content", "style", "tv")}
            progress.show(report.step, str(report), losses)
    if trainer.bad:
        count = len(trainer.photos.names)
        say(f"{len(trainer.bad)} of {count} photographs could not be read and were left out:")
    for name, reason in trainer.bad.items():
        say(f"  {name}: {reason}")
    if caught and not trainer.step:
        say("stopped before the first step; nothing was written")
        return SIGNALLED + caught[0]
    put(str(trainer.out))
    if caught and not trainer.finished:
        say(f"stopped at step {trainer.step}; go on with the same command and --resume")
        return SIGNALLED + caught[0]
    return DONE


def _download_shown() -> Callable[[int, int | None], None]:
    """Shows the bytes received, of how many if that is known, once there are any."""
    shown: list[Progress] = []

    def show(done: int, total: int | None) -> None:
        if not shown:
            shown.append(Progress(total or done, "B", done=done))
        of = f" of {total / 1e9:.2f}" if total else ""
        shown[0].show(done, f"downloaded {done / 1e9:.2f}{of} GB")

    return show

"""Train the style of one painting on the pictures that it is for, in minutes, with a gallery's network."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fast_nst.config import AddStyleConfig
from fast_nst.io.limits import MAX_PIXELS
from fast_nst.report import TaskReport
from fast_nst.training.trainer import Trainer

__all__ = ["refine_style"]

ZOOM = 2.0  # one picture shows more to learn from in crops of several sizes


def refine_style(
    painting: Path,
    gallery: Path,
    style: Path,
    pictures: Sequence[Path],
    file: Path,
    *,
    minutes: float,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
    on_report: Callable[[Trainer, TaskReport], None],
) -> None:
    """Write a painting's style, trained on from what it is so far.

    Args:
        painting: the style image.
        gallery: whose network the style is for.
        style: the file of the style so far, called as the painting is.
        pictures: to train on.
        file: where the style is written.
        minutes: of training.
        on_report: called after each step, with the trainer, whose `save` writes the style as it is then.
            What it raises ends the training.

    Raises:
        InputError: a picture or the gallery that cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="fast-nst-") as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for number, picture in enumerate(pictures):
            shutil.copyfile(picture, photos / f"{number}{picture.suffix}")
        trainer = Trainer(
            AddStyleConfig(
                styles=painting,
                dataset=str(photos),
                extend=gallery,
                warm_start=style,
                minutes=minutes,
                zoom=ZOOM,
                report_every=1,
                validation_images=0,
                device=device,
                compile="off",  # which takes a minute or two
                max_pixels=max_pixels,
                run=Path(folder) / "run",
                out=file,
            )
        )
        for report in trainer:
            on_report(trainer, report)

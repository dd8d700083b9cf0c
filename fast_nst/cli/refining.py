"""``--style PAINTING``: what is said of it, and ``--refine``, which trains its style on the pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fast_nst.cli.common import say
from fast_nst.cli.progress import ProgressBar
from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.any_painting import is_painting, kept_style, style_of_painting
from fast_nst.io.images import EXTENSIONS
from fast_nst.models.model_files import bundled_galleries, file_digest

__all__ = ["refined", "tell_how_to_refine"]

_MOST = 64  # pictures that are trained on


def tell_how_to_refine(style: str) -> None:
    """One line, if the style is a painting's, which was predicted."""
    if is_painting(style) and bundled_galleries():
        say(
            f"{style}: predicted, without training; --refine 3m trains it on your "
            f"pictures, fast-nst add-style {style} --dataset PHOTOS for keeps"
        )


def refined(style: str, config: StylizeConfig, sources: Iterable[str]) -> Path:
    """The file of a painting's style, trained on the sources' pictures as long as ``--refine`` says.

    Args:
        style: the painting's file, as it was named.
        sources: of the jobs; those that are no picture files are left out.

    Raises:
        InputError: the style is no painting, there is no gallery, or none of the sources is a picture.
    """
    galleries = bundled_galleries()
    if not is_painting(style) or not galleries:
        raise InputError(f"--refine is for --style PAINTING.jpg and the bundled gallery, got {style}")
    pictures = [p for p in map(Path, sources) if p.suffix.lower() in EXTENSIONS and p.is_file()][:_MOST]
    if not pictures:
        raise InputError("--refine trains on the pictures that are given; give at least one picture file")
    painting, gallery = Path(style), next(iter(galleries.values()))
    how = " ".join([f"refined {config.refine_minutes}", *map(file_digest, pictures)])
    return kept_style(painting, gallery, how, lambda file: _train(painting, config, gallery, pictures, file))


def _train(painting: Path, config: StylizeConfig, gallery: Path, pictures: list[Path], file: Path) -> None:
    from fast_nst.system.memory import keep_freed_memory
    from fast_nst.training.refining import refine_style

    keep_freed_memory()
    minutes = config.refine_minutes
    say(f"training the style of {painting} for {minutes:g} minutes")
    with ProgressBar(60 * minutes, "second") as progress:
        refine_style(
            painting,
            gallery,
            style_of_painting(painting, gallery),
            pictures,
            file,
            minutes=minutes,
            device=config.device,
            max_pixels=config.max_pixels,
            on_report=lambda _, report: progress.show(
                report.elapsed, str(report), {"step": str(report.step)}
            ),
        )

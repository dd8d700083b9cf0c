"""The styles that a server offers: of networks of one style each, and of galleries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fast_nst.config.stylize import LIVE_STYLE
from fast_nst.inference.styles import choose_style, gallery_styles
from fast_nst.models.model_files import bundled_galleries, bundled_networks
from fast_nst.web.models import StyleLabel, style_labels

__all__ = ["Style", "offered_styles"]


@dataclass(frozen=True)
class Style:
    """A style that is offered."""

    label: StyleLabel
    file: Path
    """of its network"""
    mixes: bool
    """whether the network is a gallery, which has other styles too"""

    @property
    def image(self) -> Path | None:
        """Its painting; None if there is none beside the network."""
        path = self.file.parent / "paintings" / f"{self.label.id}.jpg"
        return path if path.is_file() else None


def offered_styles(wanted: tuple[str, ...]) -> dict[str, Style]:
    """Styles by id, in the order in which they are offered.

    Args:
        wanted: as ``--style`` of ``fast-nst stylize``; empty: those of the bundled gallery.

    Raises:
        CheckpointError: one that is not there, or cannot be used.
        InputError: weights that cannot be used.
    """
    found: dict[str, tuple[Path, bool]] = {}
    for text in wanted:
        choice = choose_style(text)
        if choice.weights is None:
            found[choice.name] = choice.file, False
        else:  # a gallery without a name of one of its styles is all of them
            whole = choice.name == choice.file.stem
            names = gallery_styles(choice.file) if whole else list(choice.weights)
            found |= dict.fromkeys(names, (choice.file, True))
    names = list(found)
    if not wanted:
        for file in bundled_galleries().values():
            found |= dict.fromkeys(gallery_styles(file), (file, True))
        found = found or {name: (file, False) for name, file in bundled_networks().items()}
        names = sorted(found, key=lambda name: name != LIVE_STYLE)
    return {label.id: Style(label, *found[label.id]) for label in style_labels(names)}

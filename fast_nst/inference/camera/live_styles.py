"""The styles of a live stream, one of which is in use; those of a gallery slide into one another."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fast_nst.inference.controls import Controls
from fast_nst.inference.styles import StyleChoice
from fast_nst.inference.stylizer import Stylizer

__all__ = ["LiveStyles"]

_SLIDE = 1.0  # seconds in which one style of a gallery becomes the next


class LiveStyles:
    """Styles by turns, each loaded when it is first used, those of a gallery once for all.

    Args:
        styles: names, and what `load` makes a stylizer of; the first one is used first.
    """

    def __init__(
        self,
        styles: Sequence[tuple[str, Path | StyleChoice]],
        load: Callable[[Path | StyleChoice], Stylizer],
    ) -> None:
        self._styles, self._load, self._chosen = list(styles), load, 0
        self._loaded = dict[str, Stylizer]()
        self._mixed: Stylizer | None = None  # the last mixture of a gallery
        self._mixture_of: tuple[str, dict[str, float]] = "", {}  # its file and weights
        self._slide: tuple[Mapping[str, float], float] | None = None  # from these weights, since when

    @property
    def name(self) -> str:
        """Of the style in use."""
        return self._styles[self._chosen][0]

    def move(self, steps: int) -> None:
        """Use another style; on an engine that mixes at once, one of the same gallery comes gradually."""
        before, self._slide = self._styles[self._chosen][1], None
        self._chosen = (self._chosen + steps) % len(self._styles)
        after = self._styles[self._chosen][1]
        if not (isinstance(before, StyleChoice) and isinstance(after, StyleChoice)):
            return
        if self._mixed is not None and before.file == after.file and self._mixed.backend.mixes_at_once:
            self._slide = (self._mixed.weights, time.monotonic())

    def stylizer(self, controls: Controls) -> Stylizer:
        """The style in use, or what is on the way to it, with controls."""
        name, style = self._styles[self._chosen]
        if isinstance(style, StyleChoice) and style.weights:
            return self._mixture(style, controls)
        if name not in self._loaded:
            self._loaded[name] = self._load(style)
        return self._loaded[name].with_controls(controls)

    def _mixture(self, choice: StyleChoice, controls: Controls) -> Stylizer:
        name = str(choice.file)
        gallery = self._loaded[name] if name in self._loaded else self._load(choice)
        self._loaded[name] = gallery
        weights = self._weights(choice)
        if self._mixed is None or self._mixture_of != (name, weights):
            self._mixture_of = name, weights
            self._mixed = gallery.mix(weights, strength=controls.strength, stroke=controls.stroke)
        self._mixed = self._mixed.with_controls(controls)
        return self._mixed

    def _weights(self, choice: StyleChoice) -> dict[str, float]:
        """Of the styles at this moment; they sum to 1."""
        wanted = dict(choice.weights or {})
        if self._slide is None:
            return wanted
        before, since = self._slide
        share = (time.monotonic() - since) / _SLIDE
        if share >= 1:
            self._slide = None
            return wanted
        both = {style: (1 - share) * weight for style, weight in before.items()}
        for style, weight in wanted.items():
            both[style] = both.get(style, 0.0) + share * weight
        return both

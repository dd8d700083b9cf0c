"""Controls over a stylized image; `StylizeConfig` holds one set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fast_nst.errors import InputError

__all__ = ["STROKES", "Colors", "ControlsConfig"]

Colors = Literal["style", "photo", "match"]
STROKES = (0.25, 4.0)  # smaller and the picture has 16 times the pixels; larger and hardly any are left


@dataclass(frozen=True)
class ControlsConfig:
    """Strength, stroke size, colors and a mask."""

    strength: float = 1.0
    """share of the stylized image in the result, from 0 (the content image) to 1"""
    stroke: float = 1.0
    """stroke size relative to the style's own, from 0.25 to 4, at the full size of the result"""
    colors: Colors = "style"
    """style; photo: luminance of the stylized image with the content image's colors; match: the content
    image's mean and covariance of colors"""
    mask: Path | None = None
    """grayscale image: stylized where white, the content image where black, blended between"""

    layers: tuple[str, ...] = ()
    """more styles over the first, each where its grayscale mask is white: STYLE=MASK STYLE=MASK"""

    @property
    def style_masks(self) -> list[tuple[str, Path]]:
        """Style and mask of each layer."""
        return [(style, Path(mask)) for style, _, mask in (text.rpartition("=") for text in self.layers)]

    def check(self) -> None:
        """Refuse values out of range; called by the config that holds this one, whose errors are one line."""
        if not 0 <= self.strength <= 1:
            raise InputError(f"--strength goes from 0 to 1, got {self.strength}")
        if not STROKES[0] <= self.stroke <= STROKES[1]:
            raise InputError(f"--stroke goes from {STROKES[0]} to {STROKES[1]:g}, got {self.stroke}")
        for text, (style, mask) in zip(self.layers, self.style_masks, strict=True):
            if not style or mask == Path():
                raise InputError(f"--layers takes STYLE=MASK, such as the-scream=sky.png, got {text!r}")

"""What ``--style`` names: one trained network, or a mixture of a gallery's styles. Torch is not needed.

starry-night                            a style of the bundled gallery
starry-night-full                       a bundled network of one style
my-style.safetensors                    a file
painting.jpg                            any painting: predicted from it, see `any_painting`
starry-night:0.6,the-scream:0.4         a mixture of the gallery's styles
my-gallery.safetensors#one:2,other:1    styles of another gallery
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fast_nst.errors import InputError, shown
from fast_nst.inference.any_painting import is_painting, style_of_painting
from fast_nst.models.gallery_files import (
    GalleryRow,
    gallery_metadata,
    gallery_rows,
    is_gallery,
    own_styles,
    styles_of,
)
from fast_nst.models.model_files import (
    CheckpointError,
    bundled_galleries,
    bundled_networks,
    bundled_style_image,
    find_gallery,
    find_style,
    model_name,
    read_metadata,
)

__all__ = [
    "Mixture",
    "StyleChoice",
    "bundled_choices",
    "bundled_styles",
    "choose_style",
    "gallery_styles",
    "mix_rows",
    "mixture_shares",
    "names_a_gallery",
    "parse_weights",
]

_SEPARATOR = "#"


@dataclass(frozen=True)
class StyleChoice:
    """A style as it was named."""

    file: Path
    name: str
    """for file names and messages"""
    weights: Mapping[str, float] | None = None
    """of a gallery: the weight of each style, summing to 1; None for a network of one style"""

    @property
    def painting(self) -> Path | None:
        """The copy of a bundled style's painting; None if there is none, or for several styles."""
        if self.weights is None:
            return bundled_style_image(self.file)
        return bundled_style_image(self.file, *self.weights) if len(self.weights) == 1 else None


@dataclass(frozen=True, eq=False)
class Mixture:
    """What a network of many styles is asked for.

    Attributes:
        rows: ``(R,)`` fp32, the weight of each row.
        content: share of the content image in the result, from 0 to 1.
        stroke: what remains of the stroke size, relative to that of the rows: the size to stylize at.
    """

    rows: NDArray[np.float32]
    content: float
    stroke: float

    @property
    def weights(self) -> NDArray[np.float32]:
        """``(R,)`` fp32: what is missing to 1 is the content image's share."""
        return np.ascontiguousarray(self.rows * np.float32(1 - self.content))


def choose_style(style: str | Path) -> StyleChoice:
    """The file and the styles that a name stands for; see the table above.

    Raises:
        CheckpointError: an unknown name or a file that cannot be used; names the nearest style.
        InputError: weights that cannot be used.
    """
    text = str(style)
    if isinstance(style, str) and _SEPARATOR in text and not Path(text).is_file():
        before, _, after = text.partition(_SEPARATOR)
        file = find_gallery(before)
        return _mixed(file, after)
    if is_painting(text) and text not in bundled_networks() and (galleries := bundled_galleries()):
        file = style_of_painting(Path(text), next(iter(galleries.values())))
        return StyleChoice(file, name := own_styles(file)[0], {name: 1.0})
    if text in bundled_networks() or Path(text).suffix == ".safetensors" or Path(text).is_file():
        file = find_style(style)
        return StyleChoice(file, model_name(file)) if not _is_gallery(file) else _first_of(file)
    galleries = bundled_galleries()
    if text in galleries:
        return _first_of(galleries[text])
    for file in galleries.values():
        if set(_names(text)) <= set(gallery_styles(file)):
            return _mixed(file, text)
    if not galleries:
        find_style(style)  # raises
    if _is_mixture(text):
        return _mixed(next(iter(galleries.values())), text)  # raises, with the nearest of its styles
    known = bundled_styles()
    near = get_close_matches(text, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(known)
    raise CheckpointError(f"unknown style {shown(text)}; {hint}bundled: {listed}; or a .safetensors file")


def names_a_gallery(style: str | Path) -> bool:
    """Whether a name stands for a gallery as a whole, and not for some of its styles."""
    text = str(style)
    if text in bundled_galleries():
        return True
    return Path(text).is_file() and text not in bundled_networks() and _is_gallery(Path(text))


def bundled_styles() -> dict[str, Path]:
    """The styles that come with the package, by name: the file that each is in, a gallery's first."""
    return {choice.name: choice.file for choice in bundled_choices()}


def bundled_choices() -> list[StyleChoice]:
    """The styles that come with the package, those of a gallery first."""
    own = bundled_networks()
    choices = [
        StyleChoice(file, name, {name: 1.0})
        for file in bundled_galleries().values()
        for name in gallery_styles(file)
        if name not in own
    ]
    return choices + [StyleChoice(file, name) for name, file in own.items()]


def parse_weights(text: str) -> dict[str, float]:
    """Styles and weights such as ``starry-night:0.6,the-scream:0.4``; no weight is 1. Not normalized.

    Raises:
        InputError: a weight that is no number above 0, a style named twice, or no name.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.strip().partition(":")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not name or not 0 < weight < math.inf:
            raise InputError(
                f"a mixture of styles is NAME:WEIGHT,NAME:WEIGHT with weights above 0, got {shown(part)}"
            )
        if name in weights:
            raise InputError(f"the style {name} is given twice in {shown(text)}; give it once")
        weights[name] = weight
    return weights


def gallery_styles(file: Path) -> list[str]:
    """The styles of a gallery, by name, in the order of their rows."""
    return styles_of(gallery_rows(file, gallery_metadata(file)))


def mixture_shares(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights of a mixture divided by their sum, without those that vanish beside the others.

    Raises:
        InputError: there are none, or one is no number above 0.
    """
    if not weights or not all(isinstance(w, Real) and 0 < w < math.inf for w in weights.values()):
        raise InputError(f"the weights of a mixture are numbers above 0, got {shown(dict(weights))}")
    largest = max(weights.values())  # the sum of two large numbers may be infinite, and a small share zero
    parts = {name: part for name, weight in weights.items() if (part := weight / largest)}
    total = sum(parts.values())
    return {name: part / total for name, part in parts.items()}


def mix_rows(
    rows: Sequence[GalleryRow], weights: Mapping[str, float], *, strength: float = 1.0, stroke: float = 1.0
) -> Mixture:
    r"""The mixture of a network's rows for styles, a strength and a stroke size.

    Between two stroke scales of a style its rows are mixed linearly in the logarithm of the scale. With
    strength t the content image has a share of 1 - t in the result, as for single styles, and the content
    row the weight :math:`(1 - t)^3`: strength 0 is the content image, and both style and content change
    steadily. More of the content row would turn the content image gray on the way, since the norms keep the
    network from knowing its brightness and contrast.

    Args:
        rows: of the network, in their order.
        weights: of the styles, above 0; they are divided by their sum.
        strength: from 0 to 1.
        stroke: above 0, 1 is the style's own.

    Raises:
        InputError: a style that the network lacks, or a value out of its range.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"strength goes from 0 to 1, got {strength}")
    if not 0 < stroke < math.inf:
        raise InputError(f"stroke must be above 0, got {stroke}")
    shares = mixture_shares(weights)
    known = styles_of(rows)
    if unknown := [name for name in weights if name not in known]:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"the gallery has no style {shown(unknown[0])}; {hint}it has {', '.join(known)}")
    content_row = next((i for i, row in enumerate(rows) if row.style is None), None)
    own = (1 - strength) ** 3 if content_row is not None else 0.0
    mixed = np.zeros(len(rows), np.float64)
    scales = [row.scale for row in rows if row.style in weights]
    inside = min(max(stroke, min(scales)), max(scales))
    for name, weight in shares.items():
        for index, share in _between(rows, name, inside):
            mixed[index] += (1 - own) * share * weight
    if content_row is not None:
        mixed[content_row] += own
    return Mixture(mixed.astype(np.float32), 1 - strength, stroke / inside)


def _between(rows: Sequence[GalleryRow], name: str, scale: float) -> list[tuple[int, float]]:
    """The one or two rows of a style whose scales enclose a scale, and their shares."""
    found = sorted((row.scale, i) for i, row in enumerate(rows) if row.style == name)
    below = [entry for entry in found if entry[0] <= scale] or found[:1]
    above = [entry for entry in found if entry[0] >= scale] or found[-1:]
    (low, first), (high, second) = below[-1], above[0]
    if first == second or low == high:
        return [(first, 1.0)]
    share = math.log(scale / low) / math.log(high / low)
    return [(first, 1 - share), (second, share)]


def _is_gallery(file: Path) -> bool:
    return is_gallery(read_metadata(file))


def _first_of(file: Path) -> StyleChoice:
    """A gallery named without a style: its first one; of an added style, that one."""
    return StyleChoice(file, file.stem, {own_styles(file)[0]: 1.0})


def _is_mixture(text: str) -> bool:
    return "," in text or ":" in text


def _names(text: str) -> list[str]:
    return [part.strip().partition(":")[0] for part in text.split(",")]


def _mixed(file: Path, text: str) -> StyleChoice:
    weights = parse_weights(text)
    mix_rows(gallery_rows(file, gallery_metadata(file)), weights)  # refuses unknown names now
    return StyleChoice(file, "-".join(weights), mixture_shares(weights))

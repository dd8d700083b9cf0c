"""The styles that a server offers, and their stylizers, loaded when they are first used."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from threading import Lock

from fast_nst.config.web import WebConfig
from fast_nst.errors import InputError, shown
from fast_nst.inference.controls import Controls
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import fit, read_picture, write_picture
from fast_nst.models.model_files import (
    bundled_style_image,
    bundled_styles,
    find_style,
    model_name,
)
from fast_nst.serialization import parse_bytes
from fast_nst.web.models import StyleLabel, style_labels
from fast_nst.web.parameters import Parameters
from fast_nst.web.refusals import Refusal
from fast_nst.web.turns import Turns

__all__ = ["Engine", "Style"]

_LOADED = 4  # stylizers kept in memory, the ones used last
_THUMBNAIL = 160  # longer side, pixels


@dataclass(frozen=True)
class Style:
    """A style that is offered."""

    id: str
    title: str
    artist: str
    year: str
    path: Path
    image: Path | None
    """its painting"""


class Engine:
    """Stylizers by what is asked of them. Safe for threads.

    Attributes:
        turns: to be held while a stylizer runs, since each run uses every core.
        styles: by id, in the order in which they are offered.

    Raises:
        InputError: there are no styles, or one that was asked for cannot be used.
    """

    def __init__(self, config: WebConfig) -> None:
        self.turns, self._config = Turns(), config
        self.styles = {style.id: style for style in _styles(config.style)}
        if not self.styles:
            raise InputError("no styles are bundled with this copy; give --style FILE.safetensors")
        self._lock, self._loaded = Lock(), OrderedDict[str, Stylizer]()
        self._thumbnails: dict[str, bytes] = {}
        first = next(iter(self.styles))
        self.description = str(self._load(first))

    @property
    def mixes(self) -> bool:
        """Whether styles can be mixed, and strength and stroke size change in one pass."""
        return False

    def check(self, parameters: Parameters) -> None:
        """Refuse styles that are not offered, before an upload is kept.

        Raises:
            InputError: an unknown style, or a mix.
        """
        for name in parameters.weights:
            if name not in self.styles:
                near = get_close_matches(name, self.styles, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"offered are {', '.join(self.styles)}"
                raise InputError(f"unknown style {shown(name)!r}; {hint}")
        if len(parameters.weights) > 1 and not self.mixes:
            raise InputError("this copy has no network that mixes styles; give one style")

    def stylizer(self, parameters: Parameters, controls: Controls | None = None) -> Stylizer:
        """The stylizer for these parameters; to be run while `turns` is held.

        Args:
            controls: those of the parameters with a mask; None: without.

        Raises:
            InputError: as `check`, or the style cannot be loaded.
        """
        self.check(parameters)
        if controls is None:
            controls = Controls(parameters.strength, parameters.stroke, parameters.colors)
        (name,) = parameters.weights
        return self._load(name).with_controls(controls)

    def _load(self, name: str) -> Stylizer:
        with self._lock:
            if name not in self._loaded:
                config = self._config
                self._loaded[name] = Stylizer.load(
                    self.styles[name].path,
                    device=config.device,
                    precision=config.precision,
                    backend=config.backend,
                    memory=parse_bytes(config.memory, "--memory") if config.memory else None,
                )
                while len(self._loaded) > _LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def thumbnail(self, name: str) -> bytes:
        """The painting of a style as a JPEG file, 160 pixels on its longer side.

        Raises:
            Refusal: no such style, or it comes without its painting.
        """
        style = self.styles.get(name)
        if style is None or style.image is None:
            raise Refusal(404, f"there is no thumbnail of {shown(name)!r}")
        if name not in self._thumbnails:
            file = io.BytesIO()
            write_picture(file, fit(read_picture(style.image), _THUMBNAIL), format="jpg", quality=85)
            self._thumbnails[name] = file.getvalue()
        return self._thumbnails[name]


def _styles(wanted: tuple[str, ...]) -> list[Style]:
    """The styles asked for; with no names, all bundled ones."""
    labels = {label.id: label for label in style_labels()}
    paths = [*map(find_style, wanted)] if wanted else [bundled_styles()[name] for name in labels]
    styles = []
    for path in paths:
        name = model_name(path)
        label = labels.get(name, StyleLabel(name, name, "", ""))
        styles.append(Style(name, label.title, label.artist, label.year, path, bundled_style_image(path)))
    return styles

"""The styles that a server offers, and their stylizers, loaded when they are first used."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from difflib import get_close_matches
from threading import Lock

from fast_nst.config.web import WebConfig
from fast_nst.errors import InputError, shown
from fast_nst.inference.controls import Controls
from fast_nst.inference.layers import open_stylizer
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import fit, read_picture, write_picture
from fast_nst.web.parameters import Parameters
from fast_nst.web.refusals import Refusal
from fast_nst.web.styles import Style, offered_styles
from fast_nst.web.turns import Turns

__all__ = ["Engine"]

_LOADED = 4  # stylizers kept in memory, the ones used last
_THUMBNAIL = 160  # longer side, pixels


class Engine:
    """Stylizers by what is asked of them. Safe for threads.

    Attributes:
        turns: to be held while a stylizer runs, since each run uses every core.
        styles: by id, in the order in which they are offered.
        paintings: styles that are not offered: those of visitors' own paintings.

    Raises:
        InputError: there are no styles, or one that was asked for cannot be used.
    """

    def __init__(self, config: WebConfig) -> None:
        self.turns, self._config = Turns(), config
        self.styles = offered_styles(config.style)
        self.paintings: dict[str, Style] = {}
        if not self.styles:
            raise InputError("no styles are bundled with this copy; give --style FILE.safetensors")
        self._lock, self._loaded = Lock(), OrderedDict[str, Stylizer]()
        self._thumbnails: dict[str, bytes] = {}
        self.description = str(self.stylizer(Parameters({next(iter(self.styles)): 1.0})))

    @property
    def mixes(self) -> bool:
        """Whether there are styles that can be mixed, with strength and stroke size in the same pass."""
        return any(style.mixes for style in self.styles.values())

    def check(self, parameters: Parameters) -> None:
        """Refuse styles that are not offered, before an upload is kept.

        Raises:
            InputError: an unknown style, or a mix of styles that are not in one gallery.
        """
        known_styles = self._known()
        for name in parameters.weights:
            if name not in known_styles:
                near = get_close_matches(name, self.styles, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"offered are {', '.join(self.styles)}"
                raise InputError(f"unknown style {shown(name)!r}; {hint}")
        styles = [known_styles[name] for name in parameters.weights]
        # A painting's file has the styles of the gallery too.
        files = {self.paintings[name].file for name in parameters.weights if name in self.paintings}
        files = files or {style.file for style in styles}
        if len(styles) > 1 and not (all(one.mixes for one in styles) and len(files) == 1):
            known = ", ".join(name for name, style in self.styles.items() if style.mixes)
            which = f"those that can be mixed are {known}" if known else "no style here can be mixed"
            raise InputError(f"{' and '.join(parameters.weights)} cannot be mixed; {which}; give one style")

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
        with self._lock:
            known_styles = self._known()
            first = next((name for name in parameters.weights if name in self.paintings), None)
            style = known_styles[first or next(iter(parameters.weights))]
            loaded = self._kept(str(style.file), lambda: open_stylizer(style.file, self._config))
            if style.mixes:  # strength and stroke size are of the mixture too
                asked = (sorted(parameters.weights.items()), controls.strength, controls.stroke)
                loaded = self._kept(
                    f"{style.file} {asked}",
                    lambda: loaded.mix(
                        parameters.weights, strength=controls.strength, stroke=controls.stroke
                    ),
                )
        return loaded.with_controls(controls)

    def _known(self) -> dict[str, Style]:
        return {**self.styles, **self.paintings}

    def _kept(self, key: str, load: Callable[[], Stylizer]) -> Stylizer:
        """What was loaded under this key before, or is now."""
        if key not in self._loaded:
            self._loaded[key] = load()
        self._loaded.move_to_end(key)
        while len(self._loaded) > _LOADED:
            self._loaded.popitem(last=False)
        return self._loaded[key]

    def thumbnail(self, name: str) -> bytes:
        """The painting of a style as a JPEG file, 160 pixels on its longer side.

        Raises:
            Refusal: no such style, or it comes without its painting.
        """
        style = self._known().get(name)
        if style is None or style.image is None:
            raise Refusal(404, f"there is no thumbnail of {shown(name)!r}")
        if name not in self._thumbnails:
            file = io.BytesIO()
            write_picture(file, fit(read_picture(style.image), _THUMBNAIL), format="jpg", quality=85)
            self._thumbnails[name] = file.getvalue()
        return self._thumbnails[name]

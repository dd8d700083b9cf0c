"""What a command's options make of its styles: controls, and layers with engines of their own."""

from __future__ import annotations

import dataclasses

from fast_nst.config import StylizeConfig
from fast_nst.inference.controls import Controls, StyleLayer, load_controls, load_mask
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture
from fast_nst.serialization import parse_bytes

__all__ = ["memory_of", "open_controls"]


def memory_of(config: StylizeConfig) -> int | None:
    """``--memory`` in bytes."""
    return parse_bytes(config.memory, "--memory") if config.memory else None


def open_controls(config: StylizeConfig) -> Controls:
    """The controls of a command, with the styles of its layers on engines.

    Raises:
        ImageReadError: a mask that cannot be read.
        InputError: a style that is unknown or cannot be used.
    """
    layers = []
    for style, mask in config.controls.style_masks:
        stylizer = Stylizer.load(
            style,
            device=config.device,
            precision=config.precision,
            backend=config.backend,
            memory=memory_of(config),
        )

        def stylize(picture: Picture, controls: Controls, stylizer: Stylizer = stylizer) -> Picture:
            return stylizer.with_controls(controls).pictures([picture])[0]

        layers.append(StyleLayer(stylize, load_mask(mask)))
    return dataclasses.replace(load_controls(config.controls), layers=tuple(layers))

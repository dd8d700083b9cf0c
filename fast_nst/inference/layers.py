"""What a command's options make of its styles: stylizers, controls, and layers with engines of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

from fast_nst.config import StylizeConfig
from fast_nst.inference.controls import Controls, StyleLayer, load_controls, load_mask
from fast_nst.inference.styles import StyleChoice
from fast_nst.inference.stylizer import DEFAULT, Stylizer
from fast_nst.io.images import Picture
from fast_nst.serialization import parse_bytes

__all__ = ["EngineOptions", "memory_of", "open_controls", "open_stylizer"]


class EngineOptions(Protocol):
    """The options that say where a network runs."""

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def memory(self) -> str | None: ...


def open_stylizer(
    style: str | Path | StyleChoice, config: EngineOptions, controls: Controls = DEFAULT
) -> Stylizer:
    """`Stylizer.load` with the options of a command."""
    return Stylizer.load(
        style,
        device=config.device,
        precision=config.precision,
        backend=config.backend,
        memory=memory_of(config),
        controls=controls,
    )


def memory_of(config: EngineOptions) -> int | None:
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
        stylizer = open_stylizer(style, config)

        def stylize(picture: Picture, controls: Controls, stylizer: Stylizer = stylizer) -> Picture:
            return stylizer.with_controls(controls).pictures([picture])[0]

        layers.append(StyleLayer(stylize, load_mask(mask)))
    return dataclasses.replace(load_controls(config.controls), layers=tuple(layers))

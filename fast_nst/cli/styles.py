"""``fast-nst styles``: what is bundled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from fast_nst.cli.common import DONE, guarded, put, say
from fast_nst.cli.parsing import parse

__all__ = ["main"]


@dataclass(frozen=True)
class StylesConfig:
    """List the bundled styles."""

    json: bool = False
    """print one JSON record a style, with its recipe"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_styles, arguments)


def _styles(arguments: list[str]) -> int:
    config = parse(StylesConfig, arguments, prog="fast-nst styles", description="List the bundled styles.")
    from fast_nst.models.checkpoint import bundled_styles, read_tensors

    styles = bundled_styles()
    if not styles:
        say("no styles are bundled with this copy; train.py makes one")
    for name, path in styles.items():
        _, about = read_tensors(path)
        if config.json:
            put(json.dumps({"style": name, "file": str(path), **about}))
        else:
            widths = "-".join(str(width) for width in about["network"]["widths"])
            put(f"{name:<16} {widths:<10} {about['steps']:>6} steps  {path.stat().st_size / 1e6:.1f} MB")
    return DONE

"""``fast-nst styles``: the bundled styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fast_nst.cli.common import guarded

__all__ = ["main"]


@dataclass(frozen=True)
class StylesConfig:
    """List the bundled styles."""

    json: bool = False
    """print one JSON record per style, with its training settings"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_styles, arguments)


def _styles(arguments: list[str]) -> int:
    from fast_nst.cli.listing import list_files
    from fast_nst.cli.parsing import parse

    config = parse(StylesConfig, arguments, prog="fast-nst styles", description="List the bundled styles.")
    from fast_nst.models.model_files import bundled_styles, read_metadata

    nothing = "no styles are bundled with this copy; train.py makes one"
    return list_files(bundled_styles(), "style", read_metadata, _widths, as_json=config.json, nothing=nothing)


def _widths(metadata: dict[str, Any]) -> str:
    return "-".join(str(width) for width in metadata["network"]["widths"])

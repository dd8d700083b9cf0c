"""What a client asks of a stylization: styles and controls, read from JSON that is not trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast, get_args

from fast_nst.config.controls import STROKES, Colors
from fast_nst.errors import InputError, shown
from fast_nst.inference.styles import mixture_shares

__all__ = ["MAX_STYLES", "Parameters", "parse_parameters", "parse_size"]

MAX_STYLES = 4  # that are mixed
MAX_SIDE = 16384  # of a result, pixels


@dataclass(frozen=True)
class Parameters:
    """The styles by their weights, and the controls; see `fast_nst.inference.controls`."""

    weights: Mapping[str, float]
    """of each style, above 0; they sum to 1"""
    strength: float = 1.0
    stroke: float = 1.0
    colors: Colors = "style"


def parse_parameters(text: str) -> Parameters:
    """The parameters in a JSON object; see `Parameters`.

    Raises:
        InputError: it is not JSON, has unknown keys, or values of another type or out of their range.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"parameters must be JSON, got {shown(text)}") from None
    if not isinstance(given, dict):
        raise InputError(f"parameters must be a JSON object, got {shown(given)}")
    known = ("weights", "strength", "stroke", "colors")
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"unknown parameter {shown(key)!r}; {hint}")
    colors = given.get("colors", "style")
    if not isinstance(colors, str) or colors not in get_args(Colors):
        raise InputError(f"colors must be style, photo or match, got {shown(colors)}")
    return Parameters(
        _weights(given.get("weights")),
        _number("strength", given.get("strength", 1.0), 0.0, 1.0),
        _number("stroke", given.get("stroke", 1.0), *STROKES),
        cast(Colors, colors),
    )


def _weights(given: Any) -> dict[str, float]:
    """Weights that sum to 1."""
    if not isinstance(given, dict) or not given:
        example = '{"starry-night": 1}'
        raise InputError(f"weights must be an object of styles, such as {example}, got {shown(given)}")
    if len(given) > MAX_STYLES:
        raise InputError(f"at most {MAX_STYLES} styles can be mixed, got {len(given)}")
    weights = {
        name: _number(f"the weight of {shown(name)}", value, 0.0, 1e6) for name, value in given.items()
    }
    weights = {name: weight for name, weight in weights.items() if weight}
    if not weights:
        raise InputError("weights must hold a style with a weight above 0")
    return mixture_shares(weights)


def _number(name: str, value: Any, low: float, high: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or not math.isfinite(value):
        raise InputError(f"{name} must be a number from {low:g} to {high:g}, got {shown(value)}")
    return float(value)


def parse_size(text: str | None) -> int | None:
    """The longer side of a result in pixels; None: that of the upload.

    Raises:
        InputError: it is not a whole number from 1 to 16,384.
    """
    if text is None or not text.strip():
        return None
    plain = text.strip()
    if not (plain.isascii() and plain.isdecimal() and len(plain) <= 6 and 1 <= int(plain) <= MAX_SIDE):
        raise InputError(f"size must be the longer side, 1 to {MAX_SIDE} pixels, got {shown(text)}")
    return int(plain)

"""What other parts of the program need to know about each training option, kept in its field's metadata.

An option without metadata decides the result: it is written into checkpoints and must not change when a run
is resumed. That is safe for one whose author did not think of it; paths must say more (`tests/config`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fast_nst.serialization import to_dict

__all__ = ["EXTERNAL", "FREE", "LOCAL", "SOURCE", "fixed_settings", "recipe"]

_RECIPE, _RESUME = "fast_nst.recipe", "fast_nst.resume"

FREE: Mapping[str, str] = {_RESUME: "free"}
"""may change when a run is resumed"""
LOCAL: Mapping[str, str] = {_RESUME: "free", _RECIPE: "omitted"}
"""of this machine or this call: may change, and is in no checkpoint"""
EXTERNAL: Mapping[str, str] = {_RESUME: "free", _RECIPE: "file name"}
"""a file or folder whose contents are compared by hash; checkpoints name it without its folders"""
SOURCE: Mapping[str, str] = {_RECIPE: "file name"}
"""likewise, and its path must not change when a run is resumed"""


def recipe(config: Any) -> dict[str, Any]:
    """The settings that a checkpoint records: all that matter to the result, and nobody's folders."""
    settings = to_dict(config)
    for f in dataclasses.fields(config):
        kept = f.metadata.get(_RECIPE, "whole")
        if kept == "omitted":
            settings.pop(f.name, None)
        elif kept == "file name" and f.name in settings:
            settings[f.name] = Path(settings[f.name]).name
    return settings


def fixed_settings(config: Any) -> dict[str, Any]:
    """The settings that must not change when a run is resumed, flat; nested ones as ``loss.style_weight``."""
    free = {f.name for f in dataclasses.fields(config) if f.metadata.get(_RESUME) == "free"}
    flat: dict[str, Any] = {}
    for name, value in to_dict(config).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        elif name not in free:
            flat[name] = value
    return flat

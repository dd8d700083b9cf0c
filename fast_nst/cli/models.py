"""``fast-nst models``: which networks that enlarge pictures are bundled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from fast_nst.cli.common import DONE, guarded, put, say
from fast_nst.cli.parsing import parse

__all__ = ["main"]


@dataclass(frozen=True)
class ModelsConfig:
    """List the bundled networks that enlarge pictures."""

    json: bool = False
    """print one JSON record a model, with its recipe"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return guarded(_models, arguments)


def _models(arguments: list[str]) -> int:
    told = "List the bundled networks that enlarge pictures."
    config = parse(ModelsConfig, arguments, prog="fast-nst models", description=told)
    from fast_nst.models.model_files import bundled_upscalers, read_metadata

    models = bundled_upscalers()
    if not models:
        say("no models are bundled with this copy; train.py --task super-resolution makes one")
    for name, path in models.items():
        about = read_metadata(path)
        if config.json:
            put(json.dumps({"model": name, "file": str(path), **about}))
            continue
        learnt = f"x{about['upscaler']['factor']} {about.get('recipe', {}).get('loss', '')}"
        put(f"{name:<16} {learnt:<10} {about['steps']:>6} steps  {path.stat().st_size / 1e6:.1f} MB")
    return DONE

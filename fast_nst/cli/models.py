"""``fast-nst models``: the bundled super-resolution models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fast_nst.cli.common import guarded

__all__ = ["main"]


@dataclass(frozen=True)
class ModelsConfig:
    """List the bundled super-resolution models."""

    json: bool = False
    """print one JSON record per model, with its training settings"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    from fast_nst.cli.listing import list_files
    from fast_nst.cli.parsing import parse

    description = "List the bundled super-resolution models."
    config = parse(ModelsConfig, arguments, prog="fast-nst models", description=description)
    from fast_nst.models.model_files import bundled_upscalers, read_metadata

    nothing = "no models are bundled with this copy; train.py --task super-resolution makes one"
    return list_files(
        bundled_upscalers(), "model", read_metadata, _factor, as_json=config.json, nothing=nothing
    )


def _factor(metadata: dict[str, Any]) -> str:
    return f"x{metadata['upscaler']['factor']} {metadata.get('recipe', {}).get('loss', '')}"

"""``fast-nst styles``: the bundled styles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fast_nst.cli.common import DONE, guarded, put

__all__ = ["main"]


@dataclass(frozen=True)
class StylesConfig:
    """List the bundled styles."""

    json: bool = False
    """print one JSON record per style, with its training settings"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    from fast_nst.cli.listing import list_files
    from fast_nst.cli.parsing import parse

    config = parse(StylesConfig, arguments, prog="fast-nst styles", description="List the bundled styles.")
    from fast_nst.models.model_files import bundled_galleries, bundled_networks, read_metadata

    galleries, networks = bundled_galleries(), bundled_networks()
    for name, path in galleries.items():
        _list_gallery(name, path, as_json=config.json)
    if galleries and not networks:
        return DONE
    nothing = "no styles are bundled with this copy; train.py makes one"
    return list_files(networks, "style", read_metadata, _widths, as_json=config.json, nothing=nothing)


def _list_gallery(name: str, path: Path, *, as_json: bool) -> None:
    """The styles of a gallery, one line or record for each."""
    from fast_nst.models.gallery_files import gallery_rows, styles_of
    from fast_nst.models.model_files import read_metadata

    metadata = read_metadata(path)
    known = {style.get("id"): style for style in metadata.get("styles", []) if isinstance(style, dict)}
    rows = gallery_rows(path, metadata)
    for style in styles_of(rows):
        scales = [row.scale for row in rows if row.style == style]
        if as_json:
            record = {"style": style, "file": str(path), "gallery": name, "scales": scales}
            put(json.dumps({**known.get(style, {}), **record, "steps": metadata.get("steps")}))
        else:
            label = [str(known.get(style, {}).get(key, "")) for key in ("title", "artist")]
            put(f"{style:<21} {', '.join(part for part in label if part)}".rstrip())


def _widths(metadata: dict[str, Any]) -> str:
    return "-".join(str(width) for width in metadata["network"]["widths"])

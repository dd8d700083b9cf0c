"""Files of galleries without torch: networks of many styles, and styles that were added to one.

A gallery holds a network and its rows. An added style holds rows alone, some 10 KB, and the hash of the
gallery whose convolutions they belong to; with that gallery it is a gallery of one style more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fast_nst.config import GalleryNetConfig
from fast_nst.models.model_files import (
    ADDED,
    ENDING,
    GALLERY,
    CheckpointError,
    bundled_galleries,
    config_of,
    read_metadata,
)

__all__ = [
    "GalleryRow",
    "base_of",
    "gallery_config",
    "gallery_metadata",
    "gallery_rows",
    "is_gallery",
    "own_styles",
    "styles_of",
]


@dataclass(frozen=True)
class GalleryRow:
    """A row of norm parameters of a network of many styles."""

    style: str | None
    """name of the style; None for the row that gives the content image back"""
    scale: float
    """stroke scale, relative to the style's own"""


def is_gallery(metadata: Mapping[str, Any]) -> bool:
    """Whether a file of this metadata has many styles: a gallery, or a style added to one."""
    return GALLERY in metadata or ADDED in metadata


def gallery_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a gallery; of an added style that of its gallery with the style in it.

    Raises:
        CheckpointError: the file, or the gallery it belongs to, cannot be used.
    """
    metadata = read_metadata(path)
    if ADDED not in metadata:
        return metadata
    gallery = read_metadata(base_of(path, metadata))
    config, rows = gallery_config(path, gallery), [*gallery["rows"], *metadata.get("rows", [])]
    gallery_rows(path, metadata)
    styles = [*gallery.get("styles", []), *metadata.get("styles", [])]
    config = replace(config, rows=len(rows))
    return {**metadata, GALLERY: {**gallery[GALLERY], "rows": config.rows}, "rows": rows, "styles": styles}


def base_of(path: Path, metadata: Mapping[str, Any]) -> Path:
    """The gallery that an added style belongs to: bundled, or in the same folder.

    Raises:
        CheckpointError: it is not there.
    """
    for candidate in _galleries_near(path):
        try:
            found = read_metadata(candidate)
        except CheckpointError:
            continue
        if GALLERY in found and found.get("sha256") == metadata[ADDED]:
            return candidate
    raise CheckpointError(
        f"{path} was added to a gallery that is neither bundled nor in {path.parent}; put that file beside it"
    )


def _galleries_near(path: Path) -> Iterator[Path]:
    yield from bundled_galleries().values()
    yield from (file for file in sorted(path.parent.glob(f"*{ENDING}")) if file != path)


def own_styles(path: Path) -> list[str]:
    """The styles that a file itself has, without those of the gallery it was added to."""
    return styles_of(gallery_rows(path, read_metadata(path)))


def styles_of(rows: Iterable[GalleryRow]) -> list[str]:
    """The styles of rows, each once, in their order."""
    return list(dict.fromkeys(row.style for row in rows if row.style is not None))


def gallery_config(path: Path, metadata: Mapping[str, Any]) -> GalleryNetConfig:
    """The network configuration of a gallery; as `network_config`.

    Args:
        metadata: as `gallery_metadata` returns it.

    Raises:
        CheckpointError: also where the rows that its metadata lists are not those of the network.
    """
    config = config_of(path, metadata, GALLERY, GalleryNetConfig)
    gallery_rows(path, metadata)
    if len(metadata["rows"]) != config.rows:
        raise CheckpointError(f"{path} lists {len(metadata['rows'])} rows, its network has {config.rows}")
    return config


def gallery_rows(path: Path, metadata: Mapping[str, Any]) -> list[GalleryRow]:
    """The rows that a file's metadata lists, in their order.

    Raises:
        CheckpointError: it lists none, or not as it should.
    """
    rows = []
    for entry in metadata.get("rows") or [None]:
        match entry:
            case {"style": str() | None as style, "scale": int() | float() as scale}:
                rows.append(GalleryRow(style, float(scale)))
            case _:
                raise CheckpointError(f"{path} is damaged: it does not list its rows; get it again")
    return rows

"""The style images of a gallery: a folder, or a TOML file that names them."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fast_nst.errors import InputError, first_line, shown
from fast_nst.io.images import EXTENSIONS
from fast_nst.models.model_files import file_digest

__all__ = ["GalleryStyle", "read_styles", "styles_digest"]

_KEYS = ("file", "id", "title", "artist", "year", "license")


@dataclass(frozen=True)
class GalleryStyle:
    """A style image and what is known of it."""

    file: Path
    id: str
    """the name that ``--style`` takes"""
    title: str = ""
    artist: str = ""
    year: str = ""
    license: str = ""

    @property
    def details(self) -> dict[str, str]:
        """What a checkpoint records: all but the file's folder."""
        told = {"title": self.title, "artist": self.artist, "year": self.year, "license": self.license}
        return {"id": self.id, **{key: value for key, value in told.items() if value}}


def read_styles(path: Path) -> list[GalleryStyle]:
    """The style images of a gallery.

    Args:
        path: an image; a folder of images, in alphabetical order; or a ``.toml`` file with a table
            ``[[style]]`` for each: ``file`` (relative to the TOML file) and, as far as they are known,
            ``id``, ``title``, ``artist``, ``year`` and ``license``. Without an id the file's name is taken.

    Raises:
        InputError: nothing there, no images, two styles of one name, or a list that cannot be read.
    """
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in EXTENSIONS and f.is_file())
        styles = [GalleryStyle(file, _identifier(file.stem)) for file in files]
    elif path.suffix == ".toml" and path.is_file():
        styles = _listed(path)
    elif path.is_file():
        styles = [GalleryStyle(path, _identifier(path.stem))]
    else:
        raise InputError(f"--styles takes style images, a folder or a .toml list of them, got {path}")
    if not styles:
        raise InputError(f"there are no style images in {path}")
    seen: dict[str, Path] = {}
    for style in styles:
        if not style.id or not all(c.isalnum() or c in "-_." for c in style.id):
            raise InputError(f"{path}: a style's id has letters, digits, - _ and ., got {shown(style.id)}")
        if style.id in seen:
            raise InputError(f"{style.file} and {seen[style.id]} have the same name {style.id}; rename one")
        if not style.file.is_file():
            raise InputError(f"{path}: there is no style image at {style.file}")
        seen[style.id] = style.file
    return styles


def styles_digest(styles: list[GalleryStyle]) -> str:
    """SHA-256 over the names and the bytes of all style images, in order."""
    sha = hashlib.sha256()
    for style in styles:
        sha.update(f"{style.id} {file_digest(style.file)}\n".encode())
    return sha.hexdigest()


def _listed(path: Path) -> list[GalleryStyle]:
    try:
        listed: Any = tomllib.loads(path.read_text(encoding="utf-8")).get("style")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as TOML: {first_line(error)}") from None
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise InputError(f"{path} needs a table [[style]] for each style image")
    styles = []
    for entry in listed:
        if unknown := set(entry) - set(_KEYS):
            raise InputError(
                f"{path}: unknown key {shown(sorted(unknown)[0])}; allowed are {', '.join(_KEYS)}"
            )
        if not isinstance(entry.get("file"), str):
            raise InputError(f"{path}: a table [[style]] lacks its file")
        values = {key: str(value) for key, value in entry.items() if key != "file"}
        file = path.parent / entry["file"]
        styles.append(GalleryStyle(file, values.pop("id", _identifier(file.stem)), **values))
    return styles


def _identifier(stem: str) -> str:
    return stem.lower().replace("_", "-").replace(" ", "-")

"""Style files, as far as they can be read without torch: where they are, and what they say of themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError, first_line
from fast_nst.plain import from_dict

__all__ = [
    "FORMAT",
    "KEY",
    "CheckpointError",
    "bundled_styles",
    "file_digest",
    "find_style",
    "network_of",
    "read_about",
]

FORMAT = 1
KEY = "fast_nst"


class CheckpointError(InputError):
    """A file that is no checkpoint of ours, is damaged, or does not fit."""


def read_about(path: Path) -> dict[str, Any]:
    """The metadata of a file of ours; its tensors are not looked at.

    Raises:
        CheckpointError: not there, not ours, or of a later format.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})[KEY])
        found = about["format"]
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {first_line(error)}") from None
    except (KeyError, ValueError, TypeError):
        raise CheckpointError(
            f"{path} is not a fast-nst checkpoint: its metadata has no readable {KEY!r} entry; "
            "models of other projects go through `fast-nst import` first"
        ) from None
    if found != FORMAT:
        raise CheckpointError(f"{path} has format {found!r}, this version reads {FORMAT}; update fast-nst")
    return about


def network_of(path: Path, about: Mapping[str, Any]) -> NetworkConfig:
    """The network that a style file of ours is for.

    Args:
        about: its metadata, as `read_about` gives it.

    Raises:
        CheckpointError: a training state, or a network of a later version.
    """
    if "network" not in about:
        raise CheckpointError(f"{path} holds a training state, not a style; give the checkpoint beside it")
    try:
        return from_dict(NetworkConfig, about["network"])
    except InputError as error:
        raise CheckpointError(f"{path} describes a network this version does not know: {error}") from None


def file_digest(path: Path) -> str:
    """SHA-256 of the whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundled_styles() -> dict[str, Path]:
    """The trained styles that come with the package, by name."""
    here = Path(__file__).resolve().parent
    for folder in (here / "checkpoints", here.parent / "checkpoints"):
        if found := {path.stem: path for path in sorted(folder.glob("*.safetensors"))}:
            return found
    return {}


def find_style(style: str | Path) -> Path:
    """The file of a style given by its bundled name or as a path.

    Raises:
        CheckpointError: neither; names the nearest bundled style.
    """
    path, bundled = Path(style), bundled_styles()
    if str(style) in bundled:  # before a file or folder that happens to be called so
        return bundled[str(style)]
    if path.suffix == ".safetensors" or path.is_file():
        if not path.is_file():
            raise CheckpointError(f"there is no checkpoint at {path}")
        return path
    near = get_close_matches(str(style), bundled, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise CheckpointError(
        f"unknown style {str(style)!r}; {hint}bundled: {', '.join(bundled) or 'none'}; "
        "or give a .safetensors file"
    )

"""Trained networks' files, as far as they can be read without torch: where they are, and what they say.

Two kinds: styles, and networks that enlarge pictures. Their metadata has the one's network under another key
than the other's, so neither is taken for the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open

from fast_nst.config import NetworkConfig, UpscaleNetConfig
from fast_nst.errors import InputError, first_line
from fast_nst.serialization import from_dict

__all__ = [
    "FORMAT",
    "KEY",
    "CheckpointError",
    "bundled_styles",
    "bundled_upscalers",
    "file_digest",
    "find_style",
    "find_upscaler",
    "network_config",
    "read_metadata",
    "upscaler_config",
]

T = TypeVar("T")

FORMAT = 1
KEY = "fast_nst"
STYLE, UPSCALER = "network", "upscaler"  # where the metadata of each kind has its network


class CheckpointError(InputError):
    """A file that is no checkpoint of ours, is damaged, or does not fit."""


def read_metadata(path: Path) -> dict[str, Any]:
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


def network_config(path: Path, about: Mapping[str, Any]) -> NetworkConfig:
    """The network that a style file of ours is for.

    Args:
        about: its metadata, as `read_metadata` gives it.

    Raises:
        CheckpointError: a training state, a network that enlarges, or one of a later version.
    """
    if UPSCALER in about and STYLE not in about:
        raise CheckpointError(f"{path} enlarges pictures, it is no style: fast-nst upscale takes it")
    return _config_of(path, about, STYLE, NetworkConfig)


def upscaler_config(path: Path, about: Mapping[str, Any]) -> UpscaleNetConfig:
    """The network that a file of ours has for enlarging pictures; as `network_config`."""
    if STYLE in about and UPSCALER not in about:
        raise CheckpointError(f"{path} is a style, it does not enlarge pictures: stylize.py takes it")
    return _config_of(path, about, UPSCALER, UpscaleNetConfig)


def _config_of(path: Path, about: Mapping[str, Any], kind: str, config: type[T]) -> T:
    if kind not in about:
        what = "a style" if kind == STYLE else "a network that enlarges"
        raise CheckpointError(f"{path} holds a training state, not {what}; give the checkpoint beside it")
    try:
        return from_dict(config, about[kind])
    except InputError as error:
        raise CheckpointError(f"{path} describes a network this version does not know: {error}") from None


def file_digest(path: Path) -> str:
    """SHA-256 of the whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundled_styles() -> dict[str, Path]:
    """The trained styles that come with the package, by name."""
    return {name: path for name, path in _bundled().items() if not _enlarges(path)}


def bundled_upscalers() -> dict[str, Path]:
    """The networks for enlarging pictures that come with the package, by name."""
    return {name: path for name, path in _bundled().items() if _enlarges(path)}


def _bundled() -> dict[str, Path]:
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "checkpoints", here.parent / "checkpoints"):
        if found := {path.stem: path for path in sorted(folder.glob("*.safetensors"))}:
            return found
    return {}


def _enlarges(path: Path) -> bool:
    """Damaged files count as styles: whoever asks for one is told what is wrong with it."""
    try:
        return UPSCALER in read_metadata(path)
    except CheckpointError:
        return False


def find_style(style: str | Path) -> Path:
    """The file of a style given by its bundled name or as a path.

    Raises:
        CheckpointError: neither; names the nearest bundled style.
    """
    return _find(style, bundled_styles(), "style")


def find_upscaler(model: str | Path) -> Path:
    """The file of a network that enlarges pictures, by bundled name or path; as `find_style`."""
    return _find(model, bundled_upscalers(), "model")


def _find(name: str | Path, bundled: Mapping[str, Path], what: str) -> Path:
    path = Path(name)
    if str(name) in bundled:  # before a file or folder that happens to be called so
        return bundled[str(name)]
    if path.suffix == ".safetensors" or path.is_file():
        if not path.is_file():
            raise CheckpointError(f"there is no checkpoint at {path}")
        return path
    near = get_close_matches(str(name), bundled, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise CheckpointError(
        f"unknown {what} {str(name)!r}; {hint}bundled: {', '.join(bundled) or 'none'}; "
        "or give a .safetensors file"
    )

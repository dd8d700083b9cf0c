"""Model files without torch: where they are, and the metadata in them.

There are three kinds: styles, networks of many styles, and super-resolution models. Their metadata holds the
network's configuration under different keys, so none is taken for another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from fast_nst.config import NetworkConfig, UpscaleNetConfig
from fast_nst.errors import InputError, first_line, shown
from fast_nst.models.file_kinds import describe_file
from fast_nst.models.tensor_header import parse_json, read_header
from fast_nst.serialization import from_dict

__all__ = [
    "FORMAT",
    "KEY",
    "CheckpointError",
    "bundled_galleries",
    "bundled_loss_network",
    "bundled_networks",
    "bundled_style_image",
    "bundled_upscalers",
    "config_of",
    "file_digest",
    "find_gallery",
    "find_style",
    "find_upscaler",
    "metadata_digest",
    "model_name",
    "network_config",
    "predictor_of",
    "read_metadata",
    "upscaler_config",
]

T = TypeVar("T")

FORMAT = 1
KEY = "fast_nst"
ENDING = ".safetensors"
FOLDER_VARIABLE = "FAST_NST_CHECKPOINTS"
# The metadata key of each kind's network configuration.
STYLE, UPSCALER, GALLERY = "network", "upscaler", "gallery"
PREDICTOR = "style_predictor"
PREDICTS = "predicts_for"  # of a style predictor: the tensors' hash of the gallery whose rows it predicts
ADDED = "added_to"  # likewise of styles that are added to a gallery: the tensors' hash of that gallery
# Hash of the metadata, in it; files of before version 2 have that of their tensors alone.
CHECKSUM = "metadata_sha256"
_TYPES = {
    "rows": list,
    "added_to": str,
    "predicts_for": str,
    "sha256": str,
    "style": str,
    "recipe": dict,
    "training": dict,
    "imported": dict,
    "versions": dict,
}


class CheckpointError(InputError):
    """A file that is not a checkpoint of ours, is damaged, or does not fit."""


def metadata_digest(metadata: Mapping[str, Any]) -> str:
    """SHA-256 of the metadata as sorted JSON, without this hash itself."""
    rest = {key: value for key, value in metadata.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a file of ours, verified; of its tensors only the header is read.

    Raises:
        CheckpointError: not there, not ours, of a later format, or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        header = read_header(path)
    except (ValueError, OSError) as error:
        what = describe_file(path) or f"cannot be read as safetensors: {first_line(error)}"
        raise CheckpointError(f"{path} {what}") from None
    try:
        metadata: dict[str, Any] = parse_json(header.metadata[KEY])
        found = metadata["format"]
    except (KeyError, ValueError, TypeError):
        raise CheckpointError(
            f"{path} is not a fast-nst checkpoint: its metadata has no readable {KEY!r} entry; "
            "models of other projects go through `fast-nst import` first"
        ) from None
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has format {shown(found)}, this version reads {FORMAT}; update fast-nst"
        )
    if CHECKSUM in metadata and metadata[CHECKSUM] != metadata_digest(metadata):
        raise CheckpointError(f"{path} is damaged: its metadata does not match its checksum; get it again")
    if "sha256" not in metadata:
        raise CheckpointError(f"{path} is damaged: its metadata lacks the checksum; get it again")
    for key, kind in _TYPES.items():
        if key in metadata and not isinstance(metadata[key], kind):
            raise CheckpointError(f"{path} is damaged: {key!r} in its metadata is {shown(metadata[key])}")
    return metadata


def network_config(path: Path, metadata: Mapping[str, Any]) -> NetworkConfig:
    """The network configuration of a style file.

    Args:
        metadata: its metadata, as `read_metadata` returns it.

    Raises:
        CheckpointError: a training state, another kind of model, or a network of a later version.
    """
    return config_of(path, metadata, STYLE, NetworkConfig)


def upscaler_config(path: Path, metadata: Mapping[str, Any]) -> UpscaleNetConfig:
    """The network configuration of a super-resolution model; as `network_config`."""
    return config_of(path, metadata, UPSCALER, UpscaleNetConfig)


_KINDS = {
    STYLE: ("a style", "stylize.py takes it"),
    GALLERY: ("a gallery of styles", "stylize.py --style takes its styles by name"),
    ADDED: ("a style added to a gallery", "stylize.py --style takes it"),
    UPSCALER: ("a super-resolution model", "fast-nst upscale takes it"),
    PREDICTOR: ("a style predictor", "--style PAINTING.jpg uses it"),
}


def config_of(path: Path, metadata: Mapping[str, Any], kind: str, config: type[T]) -> T:
    """The network configuration under the key of a kind.

    Raises:
        CheckpointError: a training state, another kind of model, or a network of a later version.
    """
    if kind not in metadata:
        what = _KINDS[kind][0]
        for other, (name, taker) in _KINDS.items():
            if other in metadata:
                raise CheckpointError(f"{path} is {name}, not {what}: {taker}")
        raise CheckpointError(f"{path} holds a training state, not {what}; give the checkpoint beside it")
    try:
        return from_dict(config, metadata[kind])
    except InputError as error:
        reason = shown(str(error), 300)
        raise CheckpointError(f"{path} describes a network this version does not know: {reason}") from None


def model_name(path: str | Path) -> str:
    """A model file's name without its ending; other dots belong to the name: ``candy.v1.5``."""
    return Path(path).name.removesuffix(ENDING)


def file_digest(path: Path) -> str:
    """SHA-256 of the whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundled_networks() -> dict[str, Path]:
    """The networks of one style each that come with the package, by name."""
    return {name: path for name, path in _bundled().items() if _kind(path) == STYLE}


def bundled_upscalers() -> dict[str, Path]:
    """The super-resolution models that come with the package, by name."""
    return {name: path for name, path in _bundled().items() if _kind(path) == UPSCALER}


def bundled_galleries() -> dict[str, Path]:
    """The networks of many styles that come with the package, by name."""
    return {name: path for name, path in _bundled().items() if _kind(path) == GALLERY}


def bundled_style_image(network: Path, style: str | None = None) -> Path | None:
    """The copy of a bundled style's painting, short side 512 pixels; None if there is none.

    Args:
        network: the file of the style, as `find_style` returns it.
        style: which one, if the file is a gallery.
    """
    if network not in (*bundled_networks().values(), *bundled_galleries().values()):
        return None
    path = network.parent / "paintings" / f"{style or read_metadata(network).get('style')}.jpg"
    return path if path.is_file() else None


def bundled_loss_network() -> Path:
    """The file of the distilled loss network, which comes with the package.

    Raises:
        CheckpointError: it is not there.
    """
    files = [folder / "loss-network" / f"distilled-vgg19{ENDING}" for folder in _own_folders()]
    for file in files:
        if file.is_file():
            return file
    raise CheckpointError(f"the package is not complete: there is no {files[0]}; install it again")


def predictor_of(gallery: Path) -> Path | None:
    """The file of the style predictor that was trained for a gallery, in style-predictors/ beside it.

    Raises:
        CheckpointError: the gallery, or a file in that folder, cannot be used.
    """
    wanted = read_metadata(gallery)["sha256"]
    for file in sorted((gallery.parent / "style-predictors").glob(f"*{ENDING}")):
        if read_metadata(file).get(PREDICTS) == wanted:
            return file
    return None


def _own_folders() -> list[Path]:
    """Where the package's models lie: in the package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return [here / "checkpoints", here.parent / "checkpoints"]


def _bundled() -> dict[str, Path]:
    """From the folder that ``FAST_NST_CHECKPOINTS`` names, or else from that of the package or checkout."""
    given = os.environ.get(FOLDER_VARIABLE)
    for folder in [Path(given)] if given else _own_folders():
        if found := {model_name(path): path for path in sorted(folder.glob(f"*{ENDING}"))}:
            return found
    return {}


def _kind(path: Path) -> str:
    """Damaged files count as styles; loading one says what is wrong with it."""
    try:
        metadata = read_metadata(path)
    except CheckpointError:
        return STYLE
    return next((kind for kind in (UPSCALER, GALLERY) if kind in metadata), STYLE)


def find_style(style: str | Path) -> Path:
    """The file of a style given by its bundled name or as a path.

    Raises:
        CheckpointError: neither; names the nearest bundled style.
    """
    return _find(style, bundled_networks(), "style")


def find_upscaler(model: str | Path) -> Path:
    """The file of a super-resolution model, by bundled name or path; as `find_style`."""
    return _find(model, bundled_upscalers(), "model")


def find_gallery(gallery: str | Path) -> Path:
    """The file of a network of many styles, by bundled name or path; as `find_style`."""
    return _find(gallery, bundled_galleries(), "gallery")


def _find(name: str | Path, bundled: Mapping[str, Path], what: str) -> Path:
    path = Path(name)
    if str(name) in bundled:  # before a file or folder that happens to be called so
        return bundled[str(name)]
    if path.suffix == ENDING or path.is_file():
        if not path.is_file():
            raise CheckpointError(f"there is no checkpoint at {path}")
        return path
    near = get_close_matches(str(name), bundled, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise CheckpointError(
        f"unknown {what} {str(name)!r}; {hint}bundled: {', '.join(bundled) or 'none'}; "
        "or give a .safetensors file"
    )

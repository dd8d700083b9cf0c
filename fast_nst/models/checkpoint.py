"""Checkpoints: one safetensors file with the weights and their configuration; whole or absent, no code.

The metadata has exactly one key, sorted JSON: several keys would be written in a random order, and the same
training would give different bytes. Two hashes are checked on loading, one of the tensors and one of the
metadata, which holds the first: a flipped bit would load silently otherwise. `model_files` has what needs no
torch.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fast_nst.config import GalleryNetConfig, NetworkConfig, UpscaleNetConfig
from fast_nst.errors import first_line, shown
from fast_nst.io.files import write_atomically
from fast_nst.models.gallery_files import base_of, gallery_config, gallery_metadata
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import (
    ADDED,
    CHECKSUM,
    FORMAT,
    GALLERY,
    KEY,
    STYLE,
    UPSCALER,
    CheckpointError,
    find_style,
    find_upscaler,
    metadata_digest,
    network_config,
    read_metadata,
    upscaler_config,
)
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.upscale_net import BicubicBase, UpscaleNet
from fast_nst.serialization import to_dict

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "GalleryCheckpoint",
    "Network",
    "UpscalerCheckpoint",
    "fill_network",
    "find_style",
    "fresh_network",
    "load_checkpoint",
    "load_gallery",
    "load_trained",
    "load_upscaler",
    "read_tensors",
    "row_shapes",
    "save_checkpoint",
    "write_tensors",
    "write_weights",
]

Network = TransformNet | UpscaleNet | GalleryNet


@dataclass(frozen=True)
class Checkpoint:
    """A trained style: the network, ready for inference, and the metadata of its file."""

    network: TransformNet
    metadata: dict[str, Any]

    @property
    def style(self) -> str:
        return str(self.metadata.get("style", "unnamed"))


@dataclass(frozen=True)
class UpscalerCheckpoint:
    """A trained super-resolution model, ready for inference, and the metadata of its file."""

    network: UpscaleNet
    metadata: dict[str, Any]


@dataclass(frozen=True)
class GalleryCheckpoint:
    """A trained network of many styles, ready for inference, and the metadata of its file."""

    network: GalleryNet
    metadata: dict[str, Any]


def fresh_network(config: NetworkConfig | UpscaleNetConfig | GalleryNetConfig) -> Network:
    """A network of any kind with random weights."""
    if isinstance(config, GalleryNetConfig):
        return GalleryNet(config)
    return UpscaleNet(config) if isinstance(config, UpscaleNetConfig) else TransformNet(config)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write everything or nothing: a killed run or a full disk leaves the previous file intact.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full; nothing is left behind.
    """
    flat = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    header = {**metadata, "format": FORMAT, "sha256": digest(flat)}
    header[CHECKSUM] = metadata_digest(header)
    data = save(flat, metadata={KEY: json.dumps(header, sort_keys=True)})
    write_atomically(path, data, durable=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file of ours, verified.

    Raises:
        CheckpointError: not there, not ours, of a later format, or damaged.
    """
    metadata = read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {first_line(error)}") from None
    if metadata.get("sha256") != digest(tensors):
        raise CheckpointError(f"{path} is damaged: its contents do not match its checksum; get it again")
    return tensors, metadata


def save_checkpoint(path: Path, network: Network, metadata: Mapping[str, Any], *, half: bool = True) -> None:
    """Write what inference needs: the weights, in fp16 when ``half``, and the config that rebuilds them.

    Raises:
        OSError: as `write_tensors`.
        CheckpointError: a weight is not finite; nothing is written.
    """
    kinds = {UpscaleNet: UPSCALER, GalleryNet: GALLERY, TransformNet: STYLE}
    described = {kinds[type(network)]: to_dict(network.config)}
    tensors = dict(network.state_dict())
    if isinstance(network, GalleryNet) and ADDED in metadata:  # the convolutions are in the gallery's file
        names, described = row_shapes(network), {}
        tensors = {name: tensor for name, tensor in tensors.items() if name in names}
    write_weights(path, tensors, {**metadata, **described}, half=half)


def write_weights(
    path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, Any], *, half: bool = True
) -> None:
    """Write the weights of a network, in fp16 when ``half``, and the versions that made them.

    Raises:
        OSError, CheckpointError: as `save_checkpoint`.
    """
    tensors = dict(weights)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"the weights at {name} are not finite; {path} is not written")
        # What fp16 cannot hold, above 65504, stays as it is; the loader takes either.
        if half and tensor.is_floating_point() and torch.isfinite(halved := tensor.half()).all():
            tensors[name] = halved
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    write_tensors(path, tensors, {**metadata, "versions": versions})


def load_checkpoint(path: str | Path) -> Checkpoint:
    """A trained style from its file, in fp32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: the file is missing, damaged, not ours, not a style, or its tensors do not fit its
            own config.
    """
    tensors, metadata = read_tensors(Path(path))
    config = network_config(Path(path), metadata)
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        network = TransformNet(config)
    fill_network(network, tensors, path)
    return Checkpoint(network, metadata)


def load_upscaler(path: str | Path) -> UpscalerCheckpoint:
    """A super-resolution model from its file; as `load_checkpoint`."""
    tensors, metadata = read_tensors(Path(path))
    config = upscaler_config(Path(path), metadata)
    with torch.device("meta"):
        network = UpscaleNet(config)
    fill_network(network, tensors, path)
    if network.base is not None:  # its kernel is not in the file
        network.base = BicubicBase(config.factor)
    return UpscalerCheckpoint(network, metadata)


def load_gallery(path: str | Path) -> GalleryCheckpoint:
    """A network of many styles from its file; as `load_checkpoint`."""
    path = Path(path)
    tensors, own = read_tensors(path)
    metadata = gallery_metadata(path)
    config = gallery_config(path, metadata)
    with torch.device("meta"):
        network = GalleryNet(config)
    if ADDED in own:
        tensors = _added(read_tensors(base_of(path, own))[0], tensors, network, path)
    fill_network(network, tensors, path)
    return GalleryCheckpoint(network, metadata)


def _added(
    gallery: Mapping[str, Tensor], rows: Mapping[str, Tensor], network: GalleryNet, path: Path
) -> dict[str, Tensor]:
    """The tensors of a gallery with further rows."""
    together = dict(gallery)
    for name in row_shapes(network):
        if name not in rows or name not in gallery or rows[name].shape[1:] != gallery[name].shape[1:]:
            raise CheckpointError(f"{path} does not fit the gallery it was added to: {shown(name)}")
        together[name] = torch.cat([gallery[name].float(), rows[name].float()])
    return together


def row_shapes(network: GalleryNet) -> dict[str, torch.Size]:
    """The tensors that have the rows as their first dimension, by name, and their shapes without it."""
    own = {id(parameter) for parameter in network.row_parameters()}
    named = network.named_parameters()
    return {name: parameter.shape[1:] for name, parameter in named if id(parameter) in own}


def load_trained(name: str | Path, config: NetworkConfig | UpscaleNetConfig) -> TransformNet | UpscaleNet:
    """A trained network of one style or for super-resolution, as the config says, by bundled name or file.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    if isinstance(config, UpscaleNetConfig):
        return load_upscaler(find_upscaler(name)).network
    return load_checkpoint(find_style(name)).network


def fill_network(network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Replace the weights of a network on the meta device, and put it in evaluation mode.

    Args:
        path: of the file, for messages.

    Raises:
        CheckpointError: the tensors are not those of the network, or not finite.
    """
    wanted = network.state_dict()
    for name in sorted({*wanted, *tensors}):
        if name not in tensors or name not in wanted:
            what = "lacks" if name in wanted else "has an unknown"
            raise CheckpointError(f"{path} {what} tensor {shown(name)}")
        found, needed = tensors[name], wanted[name]
        if found.shape != needed.shape:
            shapes = f"{tuple(found.shape)}, its network needs {tuple(needed.shape)}"
            raise CheckpointError(f"{path}: {name} has shape {shapes}")
        if found.is_floating_point() != needed.is_floating_point():
            raise CheckpointError(f"{path}: {name} has type {found.dtype}, its network needs {needed.dtype}")
        if not torch.isfinite(found).all():
            raise CheckpointError(f"{path}: {name} is not finite; the training that wrote it went wrong")
        if name.endswith("running_var") and (found < 0).any():
            raise CheckpointError(f"{path}: {name} is a variance and has negative values")
    network.load_state_dict({name: t.to(wanted[name].dtype) for name, t in tensors.items()}, assign=True)
    network.eval().requires_grad_(False)

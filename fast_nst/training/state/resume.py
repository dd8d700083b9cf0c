"""The training state: weights, Adam's moments and the step in one safetensors file, no pickle.

The data order needs no state: it is a pure function of the seed and the step (``sampling.py``). So a
resumed run is the run that was never interrupted, bit for bit on a CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fast_nst.config import LossConfig, TaskConfig
from fast_nst.config.recipe import fixed_settings
from fast_nst.errors import InputError
from fast_nst.io.files import sync_folder
from fast_nst.models.checkpoint import CheckpointError, read_tensors, write_tensors
from fast_nst.models.model_files import read_metadata
from fast_nst.serialization import from_dict
from fast_nst.training.weight_average import WeightAverage

__all__ = ["TrainingState", "check_unchanged", "load_state", "remove_states", "save_state", "state_paths"]


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands, besides its tensors."""

    step: int
    """steps taken"""
    elapsed: float
    """seconds of training"""
    config: dict[str, Any]
    """the run's settings as a dictionary"""
    data: str
    """fingerprint of the photographs"""
    bad: dict[str, str] = field(default_factory=dict)
    """photographs that could not be read, with the reason"""
    memory: dict[str, float] = field(default_factory=dict)
    """running means and counters of the `TrainingStep`"""
    setbacks: int = 0
    """how often the run returned to an earlier state since it last saved a new one"""
    slowed: float = 1.0
    """factor of the learning rate, halved at each of them"""
    measured: dict[str, float] = field(default_factory=dict)
    """the last validation"""
    origin: dict[str, str] = field(default_factory=dict)
    """hashes of the style image and of the VGG weights"""
    compiled: bool = False
    """whether the run is compiled, which rounds differently"""
    precision: str = ""
    """of the convolutions; empty: saved before it was measured"""
    layout: str = ""
    """of tensors in memory, which rounds differently; empty: saved before it was measured, and before the
    style image was reduced in a first stage"""
    full_size_from: int | None = None
    """with --minutes and --start-size: the step at which the first stage ended"""


def save_state(
    path: Path,
    network: nn.Module,
    optimizer: Optimizer,
    average: WeightAverage,
    state: TrainingState,
) -> None:
    """Write the state whole, the previous one staying beside it as ``previous-NAME``.

    Raises:
        CheckpointError: a tensor is not finite; the file is left as it was.
        OSError: the disk is full or the folder cannot be written; likewise.
    """
    tensors = {f"network.{name}": t for name, t in network.state_dict().items()}
    tensors |= {f"average.{name}": t for name, t in average.network.state_dict().items()}
    tensors |= _moments(network, optimizer)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{name} is not finite at step {state.step}; {path} keeps its last good state"
            )
    fresh = path.with_name(f"fresh-{path.name}")
    write_tensors(fresh, tensors, {"training": vars(state)})
    if path.is_file():
        path.replace(path.with_name(f"previous-{path.name}"))
    fresh.replace(path)
    sync_folder(path.parent)


def _moments(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors under their parameters' names."""
    found: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            found[f"adam.{name}.{key}"] = torch.as_tensor(value)
    return found


def load_state(path: Path, network: nn.Module, optimizer: Optimizer, average: WeightAverage) -> TrainingState:
    """Put the weights and moments of a state file, or of the one before it, where they belong.

    Raises:
        CheckpointError: there is none, it is damaged, of another version, or of another network; nothing
            is changed then.
    """
    tensors, metadata = _newest(path)
    if "training" not in metadata:
        raise CheckpointError(f"{path} holds a style, not a training state")
    try:
        state = TrainingState(**metadata["training"])
        _check_types(state)
    except TypeError:
        raise CheckpointError(f"{path} was saved by another version of fast-nst; start a new --run") from None
    weights, averaged = (_part(tensors, prefix) for prefix in ("network.", "average."))
    wanted = {name: t.shape for name, t in network.state_dict().items()}
    # Compared first: a loading that fails half-way has changed half of the weights.
    if any({name: t.shape for name, t in found.items()} != wanted for found in (weights, averaged)):
        raise CheckpointError(f"{path} belongs to another network; give the --preset it was trained with")
    for name, parameter in network.named_parameters():
        for key, moment in _part(tensors, f"adam.{name}.").items():
            if moment.shape != (() if key == "step" else parameter.shape) or not torch.isfinite(moment).all():
                raise CheckpointError(f"{path} is damaged: adam.{name}.{key} does not fit its parameter")
    network.load_state_dict(weights)
    average.network.load_state_dict(averaged)
    optimizer.state.clear()
    for name, parameter in network.named_parameters():
        if found := _part(tensors, f"adam.{name}."):
            optimizer.state[parameter] = {key: _placed(key, t, parameter) for key, t in found.items()}
    return state


def _check_types(state: TrainingState) -> None:
    """Refuse values of other types than the fields have, which would fail anywhere later.

    Raises:
        TypeError: names the field.
    """
    types: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "dict": dict, "bool": bool}
    for f in dataclasses.fields(TrainingState):
        value: Any = getattr(state, f.name)
        kind, *optional = (part.partition("[")[0] for part in str(f.type).split(" | "))
        if value is None and "None" in optional:
            continue
        if not isinstance(value, types[kind]) or (kind in ("int", "float") and not 0 <= value < 1 << 62):
            raise TypeError(f.name)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _placed(key: str, tensor: Tensor, parameter: Tensor) -> Tensor:
    """A moment in its parameter's memory layout and device; Adam's step counter as it is."""
    if key == "step":
        return tensor.to(parameter.device)
    return torch.empty_like(parameter).copy_(tensor)


def check_unchanged(state: TrainingState, config: TaskConfig, origin: dict[str, str], data: str) -> None:
    """Refuse to resume with anything that would make it another run.

    Args:
        config, origin, data: of the run that is to be resumed, as in `TrainingState`.

    Raises:
        InputError: names each difference.
    """
    # Through the config and back, so that options a state is too old to know have their defaults; those that
    # change what a run does were off.
    off: dict[str, Any] = {"flat_share": 0.0, "zoom": 1.0, "border_weight": 0.0}
    if not state.layout and state.config.get("start_size") is not None:
        off["start_style_size"] = state.config.get("style_size")
    unknown = {name: value for name, value in off.items() if hasattr(config, name)}
    saved = from_dict(type(config), {**unknown, **state.config})
    before, now = _effective_settings(saved), _effective_settings(config)
    changed = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if changed:
        cure = "start a new --run instead"
        was, wanted = (getattr(getattr(c, "loss", None), "objective", None) for c in (saved, config))
        if was != wanted:
            cure = f"the run has --objective {was}: give it, or start a new --run"
        raise InputError(f"the run has other settings: {', '.join(changed)}; {cure}")
    for name, what in (("style_sha256", "style image"), ("vgg_sha256", "VGG weights")):
        if state.origin.get(name, origin.get(name)) != origin.get(name):
            raise InputError(f"the {what} changed since the run was saved; start a new --run instead")
    if state.data != data:
        raise InputError(f"the photographs of {config.dataset} changed since the run was saved")


def saved_form(path: Path) -> dict[str, str]:
    """The ``precision`` and ``layout`` of the last state that can be read, as far as they are recorded."""
    for candidate in state_paths(path):
        with suppress(CheckpointError, OSError):
            training = read_metadata(candidate).get("training", {})
            known = training if isinstance(training, dict) else {}
            return {name: str(known[name]) for name in ("precision", "layout") if name in known}
    return {}


def _effective_settings(config: TaskConfig) -> dict[str, Any]:
    """`fixed_settings`, with what the objective's name stands for in place of the name."""
    settings = fixed_settings(config)
    loss = getattr(config, "loss", None)
    if isinstance(loss, LossConfig):
        settings["loss.style_layers"] = list(loss.style_layers_for(config.loss_network))
        settings["loss.objective"] = "relative errors" if loss.preset.relative else "sums"
    return settings


def remove_states(path: Path) -> None:
    """Remove a state and its copies, so that a run that starts over cannot be resumed from an old one."""
    for candidate in state_paths(path):
        candidate.unlink(missing_ok=True)


def state_paths(path: Path) -> list[Path]:
    """Where a state may be, best first; a kill between two renames leaves only a ``fresh-`` one."""
    return [path, path.with_name(f"fresh-{path.name}"), path.with_name(f"previous-{path.name}")]


def _newest(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The last state; if it is damaged, the one before."""
    there = [candidate for candidate in state_paths(path) if candidate.is_file()]
    if not there:
        raise CheckpointError(f"nothing to resume: there is no {path}; start without it")
    for i, candidate in enumerate(there, start=1):
        try:
            return read_tensors(candidate)
        except CheckpointError:
            if i == len(there):
                raise
    raise AssertionError("unreachable")

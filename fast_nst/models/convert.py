"""Import trained networks of other projects (see `families`) as networks of ours with the same results.

A network is recognized by the names and shapes of its tensors; what a project does to pixels outside of its
network is multiplied into the first and the last convolution. Nothing is approximated: see `_convert`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError, shown
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.families import CONVS, FAMILIES, NORMS, Family
from fast_nst.models.model_files import file_digest
from fast_nst.models.torch_files import read_torch_file, tensor_problem
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.vgg import STATISTICS

__all__ = ["FAMILIES", "ModelImportError", "import_network"]


class ModelImportError(InputError):
    """A file that is not a network of a known project."""


def import_network(path: str | Path) -> tuple[TransformNet, dict[str, Any]]:
    """A network of another project as one of ours, and the metadata that its checkpoint should have.

    Its results are the original's to rounding. Where the original's result is a few pixels larger than the
    content image, as most are when a side is no multiple of 4, ours is cropped.

    Raises:
        ModelImportError: unreadable, already ours, or not recognized: names the nearest
            project and what differs.
    """
    path = Path(path)
    family, state = _recognized(_state_of(path), path)
    config = _config(family, state, path)
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        network = TransformNet(config)
    _check(family, state, network, path)
    network.load_state_dict(_convert(family, state, config), assign=True)
    imported = {"project": family.project, "file": path.name, "sha256": file_digest(path)}
    return network.eval().requires_grad_(False), {"imported": imported}


def _recognized(state: dict[str, Tensor], path: Path) -> tuple[Family, dict[str, Tensor]]:
    """The project a network is of, and its tensors without a prefix that all of their names share."""
    candidates = [state]
    prefix = next(iter(state), "").partition(".")[0] + "."
    if all(name.startswith(prefix) for name in state):  # of a wrapper: module., net., model.
        candidates.append({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    found = [(family, names, _differences(family, names)) for names in candidates for family in FAMILIES]
    family, names, differences = min(found, key=lambda one: len(one[2]))
    if differences:
        raise ModelImportError(f"{path} is not a known network; {_differs(family, differences, names)}")
    return family, names


def _state_of(path: Path) -> dict[str, Tensor]:
    """The tensors of the network, taken out of whatever dictionary they were saved in."""
    found: Mapping[Any, Any] = read_torch_file(path, "a style network", ModelImportError)
    inner = {name: value for name, value in found.items() if _is_state(value)}
    if not _is_state(found) and inner:
        if len(inner) > 1:
            names = shown(", ".join(map(str, inner)))
            raise ModelImportError(f"{path} holds several networks, {names}: save one of them by itself")
        (found,) = inner.values()
    # torch.compile puts a prefix before the module it wraps, at any depth.
    state = {
        str(name).replace("_orig_mod.", ""): value
        for name, value in found.items()
        if isinstance(value, Tensor)
    }
    state.pop("n_averaged", None)  # of torch.optim.swa_utils.AveragedModel
    while state and all(name.startswith("module.") for name in state):  # of DataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    if state and all(name.startswith("body.") for name in state):
        raise ModelImportError(f"{path} has fast-nst's own names already; give it to --style as it is")
    if tracked := [name for name in state if name.endswith("num_batches_tracked")]:
        raise ModelImportError(
            f"{path} normalizes with statistics of its training ({shown(tracked[0])}), not with each image's "
            "own: batch norm, or instance norm with track_running_stats; neither is known here"
        )
    # torch before 0.4 saved running statistics of instance norms, which nothing used.
    state = {name: t for name, t in state.items() if not name.endswith((".running_mean", ".running_var"))}
    for name, tensor in state.items():
        if difference := tensor_problem(tensor):
            raise ModelImportError(f"{path}: {shown(name)} {difference}; weights must be plain floats")
    return {name: tensor.detach() for name, tensor in state.items()}


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def _blocks(family: Family, state: Mapping[str, Tensor]) -> int:
    first, name = family.first_block, family.convs[3] + ".weight"
    count = 0
    while name.format(first + count) in state:
        count += 1
    return count


def _pairs(family: Family, blocks: int) -> tuple[dict[str, str], dict[str, str]]:
    """Our names to theirs, of the convolutions and of the norms."""

    def named(ours: tuple[str, ...], theirs: tuple[str, ...]) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for our, their in zip(ours, theirs, strict=True):
            for i in range(blocks) if "{}" in our else range(1):
                pairs[our.format(i + 1)] = their.format(family.first_block + i)
        return pairs

    return named(CONVS, family.convs), named(NORMS, family.norms)


def _differences(family: Family, state: Mapping[str, Tensor]) -> list[str]:
    """Differences between the names and those of the family; empty if it is of that project."""
    # Without any block the missing ones are to be reported as five.
    convs, norms = _pairs(family, _blocks(family, state) or 5)
    wanted = {f"{name}.weight" for name in (*convs.values(), *norms.values())}
    wanted |= {f"{name}.bias" for name in norms.values()} | {convs["conv4"] + ".bias"}
    optional = {f"{name}.bias" for name in convs.values()}
    differences = [f"lacks {name}" for name in sorted(wanted - state.keys())]
    return differences + [
        f"has {shown(name)} {tuple(state[name].shape)}" for name in sorted(state.keys() - wanted - optional)
    ]


def _differs(family: Family, differences: list[str], state: Mapping[str, Tensor]) -> str:
    known = ", ".join(f.project for f in FAMILIES)
    lacking = sum(difference.startswith("lacks") for difference in differences)
    if len(differences) - lacking == len(state):  # not one name in common
        first = next(iter(state), None)
        held = f"its tensors ({shown(first)} …) have" if first else "it holds no tensor and has"
        return f"{held} nothing in common with those of {known}"
    # One of each kind says more than two of one.
    named = [differences[0], *differences[lacking : lacking + 1]] if lacking else differences[:2]
    rest = len(differences) - len(named)
    more = f" and {rest} more" if rest > 0 else ""
    return f"nearest is {family.project}, from which it differs in that it {', '.join(named)}{more}"


def _config(family: Family, state: Mapping[str, Tensor], path: Path) -> NetworkConfig:
    shapes = [tuple(state[f"{name}.weight"].shape) for name in family.convs[:3]]
    if any(len(shape) != 4 for shape in shapes):
        raise ModelImportError(
            f"{path} is nearest to {family.project}, but its convolutions have shapes {shapes}"
        )
    first, second, third = (shape[0] for shape in shapes)
    blocks = _blocks(family, state)
    widths = first, second, third
    try:
        return NetworkConfig(widths=widths, blocks=blocks, upsample=family.upsample, alignment="crop")
    except InputError as error:
        raise ModelImportError(f"{path} is nearest to {family.project}, but its {error}") from None


def _check(family: Family, state: Mapping[str, Tensor], network: TransformNet, path: Path) -> None:
    """Every tensor has the shape that the widths call for, and is finite."""
    wanted = network.state_dict()
    convs, norms = _pairs(family, network.config.blocks)
    ours = {f"{their}.weight": f"body.{our}.conv.weight" for our, their in convs.items()}
    ours |= {
        f"{their}.{part}": f"body.{our}.{part}" for our, their in norms.items() for part in ("weight", "bias")
    }
    ours[convs["conv4"] + ".bias"] = "body.conv4.conv.bias"
    for their, our in ours.items():
        found, needed = tuple(state[their].shape), tuple(wanted[our].shape)
        if found != needed:
            shapes = f"{found} where its widths {network.config.widths} call for {needed}"
            raise ModelImportError(f"{path} is nearest to {family.project}, but {their} has shape {shapes}")
        if not torch.isfinite(state[their]).all():
            raise ModelImportError(f"{path}: {their} is not finite; the training that wrote it went wrong")


def _convert(family: Family, state: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    r"""The tensors under our names, for pictures in [0, 1], RGB.

    What a project does to a pixel before its network is a scale and a shift for each channel. The scale goes
    into the first convolution. The shift, like every bias before an instance norm, is a constant over the
    whole map, reflections included, and leaves with the mean. What is done after the network goes into the
    last convolution. All scales of the residual blocks are powers of 2, which floats take exactly.

    For a block :math:`x_n = s x_{n-1} + B_n(x_{n-1})` and :math:`z_n = x_n / s^n`, it is
    :math:`z_n = z_{n-1} + B_n(s^{n-1} z_{n-1}) / s^n`: an ordinary block with scaled weights.
    """
    convs, norms = _pairs(family, config.blocks)
    wide = {name: tensor.double() for name, tensor in state.items()}
    weights = {our: wide[f"{their}.weight"] for our, their in convs.items()}
    affine = {our: [wide[f"{their}.weight"], wide[f"{their}.bias"]] for our, their in norms.items()}
    scale, mean = torch.full((3,), 1.0 / MAX_LEVEL, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    if family.pixels == "imagenet":
        statistics = STATISTICS["IMAGENET1K_V1"]
        scale, mean = (torch.tensor(x, dtype=torch.float64) for x in (statistics.std, statistics.mean))
    last = wide[convs["conv4"] + ".bias"]
    if family.bgr:
        weights["conv1"], weights["conv4"] = weights["conv1"].flip(1), weights["conv4"].flip(0)
        last = last.flip(0)
    weights["conv1"] = weights["conv1"] / scale.view(1, 3, 1, 1)
    weights["conv4"] = weights["conv4"] * scale.view(3, 1, 1, 1)
    for i in range(1, config.blocks + 1):
        weights[f"block{i}.conv1"] = weights[f"block{i}.conv1"] * family.skip ** (i - 1)
        affine[f"block{i}.norm2"] = [part / family.skip**i for part in affine[f"block{i}.norm2"]]
    weights["up1"] = weights["up1"] * family.skip**config.blocks
    tensors = {"body.conv4.conv.bias": last * scale + mean}
    for name, weight in weights.items():
        tensors[f"body.{name}.conv.weight"] = weight
    for name, (weight, bias) in affine.items():
        tensors[f"body.{name}.weight"], tensors[f"body.{name}.bias"] = weight, bias
    return {name: tensor.float() for name, tensor in tensors.items()}

"""Trained networks of other projects, as networks of ours that paint the same.

The projects below share one architecture, that of Johnson et al. 2016 with instance norm and reflection at
every convolution, under different names and with different ideas of a pixel. A network is recognized by the
names and shapes of its tensors; what a project does to pixels outside of its network is multiplied into the
first and the last convolution. Nothing is approximated: see `_convert`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.torch_files import read_torch_file
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.vgg import STATISTICS

__all__ = ["FAMILIES", "Family", "ImportFault", "import_network"]

# Our names; {} stands for the number of a residual block.
_CONVS = ("conv1", "conv2", "conv3", "block{}.conv1", "block{}.conv2", "up1", "up2", "conv4")
_NORMS = ("conv1_norm", "conv2_norm", "conv3_norm", "block{}.norm1", "block{}.norm2", "up1_norm", "up2_norm")


class ImportFault(InputError):
    """A file that is no network we know."""


@dataclass(frozen=True)
class Family:
    """What one project calls the parts of its network, and what a pixel is to it."""

    project: str
    convs: tuple[str, ...]
    """its convolutions, in the order of `_CONVS`; {} stands for the number of a residual block"""
    norms: tuple[str, ...]
    """its norms, in the order of `_NORMS`"""
    pixels: Literal["levels", "imagenet"]
    """0 to 255, or normalized with the ImageNet mean and deviation, on the way in and out"""
    bgr: bool = False
    """blue first, in and out"""
    first_block: int = 1
    upsample: Literal["tied", "paper"] = "tied"
    skip: int = 1
    """times the identity that a residual block adds"""


def _plain(up: tuple[str, str, str]) -> tuple[str, ...]:
    """The convolutions of pytorch/examples and its children, who differ in the names of the last three."""
    res = ("res{}.conv1.conv2d", "res{}.conv2.conv2d")
    return ("conv1.conv2d", "conv2.conv2d", "conv3.conv2d", *res, *up)


_PLAIN_NORMS = ("in1", "in2", "in3", "res{}.in1", "res{}.in2", "in4", "in5")

FAMILIES = (
    Family(
        "pytorch/examples",
        _plain(("deconv1.conv2d", "deconv2.conv2d", "deconv3.conv2d")),
        _PLAIN_NORMS,
        pixels="levels",
    ),
    # Its blocks add the identity twice, in `out = out + residual` and again in what they return.
    Family(
        "yakhyo/fast-neural-style-transfer",
        _plain(("upsample_conv1.conv2d", "upsample_conv2.conv2d", "upsample_conv3.conv2d")),
        _PLAIN_NORMS,
        pixels="levels",
        skip=2,
    ),
    Family(
        "gordicaleksa/pytorch-neural-style-johnson",
        _plain(("up1.conv2d.conv2d", "up2.conv2d.conv2d", "up3.conv2d")),
        _PLAIN_NORMS,
        pixels="imagenet",
    ),
    # Read by OpenCV, so blue comes first. Its Tanh variant has the same names and cannot be told apart.
    Family(
        "rrmina/fast-neural-style-pytorch",
        (
            *(f"ConvBlock.{i}.conv_layer" for i in (0, 2, 4)),
            *(f"ResidualBlock.{{}}.conv{i}.conv_layer" for i in (1, 2)),
            "DeconvBlock.0.conv_transpose",
            "DeconvBlock.2.conv_transpose",
            "DeconvBlock.4.conv_layer",
        ),
        (
            *(f"ConvBlock.{i}.norm_layer" for i in (0, 2, 4)),
            *(f"ResidualBlock.{{}}.conv{i}.norm_layer" for i in (1, 2)),
            "DeconvBlock.0.norm_layer",
            "DeconvBlock.2.norm_layer",
        ),
        pixels="levels",
        bgr=True,
        first_block=0,
        upsample="paper",
    ),
    Family(
        "eriklindernoren/Fast-Neural-Style-Transfer",
        (
            *(f"model.{i}.block.1" for i in range(3)),
            *(f"model.{{}}.block.{i}.block.1" for i in range(2)),
            *(f"model.{i}.block.1" for i in (8, 9, 10)),
        ),
        (
            *(f"model.{i}.norm" for i in range(3)),
            *(f"model.{{}}.block.{i}.norm" for i in range(2)),
            *(f"model.{i}.norm" for i in (8, 9)),
        ),
        pixels="imagenet",
        first_block=3,
    ),
    Family(
        "igreat/fast-style-transfer",
        (
            *(f"layers.{i}.conv" for i in (0, 3, 6)),
            *(f"layers.{{}}.conv{i}.conv" for i in (1, 2)),
            *(f"layers.{i}.conv.conv" for i in (14, 17)),
            "layers.20.conv",
        ),
        (
            *(f"layers.{i}" for i in (1, 4, 7)),
            *(f"layers.{{}}.instance_norm{i}" for i in (1, 2)),
            *(f"layers.{i}" for i in (15, 18)),
        ),
        pixels="imagenet",
        first_block=9,
    ),
)


def import_network(path: str | Path) -> tuple[TransformNet, dict[str, Any]]:
    """A network of another project as one of ours, and what its checkpoint should say of it.

    Its pictures are the original's to rounding. Where the original makes a picture a few pixels larger than
    it was, as most do when a side is no multiple of 4, ours is cropped to the size it had.

    Raises:
        ImportFault: unreadable, ours already, or not recognized: names the nearest project and what differs.
    """
    path = Path(path)
    state = _state_of(path)
    family, faults = min(((f, _faults(f, state)) for f in FAMILIES), key=lambda found: len(found[1]))
    if faults:
        raise ImportFault(f"{path} is no network known here; {_differs(family, faults, state)}")
    config = _config(family, state, path)
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        network = TransformNet(config)
    _check(family, state, network, path)
    network.load_state_dict(_convert(family, state, config), assign=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    about = {"imported": {"project": family.project, "file": path.name, "sha256": digest}}
    return network.eval().requires_grad_(False), about


def _state_of(path: Path) -> dict[str, Tensor]:
    """The tensors of the network, taken out of whatever dictionary they were saved in."""
    found: Mapping[str, Any] = read_torch_file(path, "a style network", ImportFault)
    inner = {name: value for name, value in found.items() if _is_state(value)}
    if not _is_state(found) and inner:
        if len(inner) > 1:
            raise ImportFault(
                f"{path} holds several networks, {', '.join(inner)}: save one of them by itself"
            )
        (found,) = inner.values()
    state = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if all(name.startswith("body.") for name in state) and state:
        raise ImportFault(f"{path} has fast-nst's own names already; give it to --style as it is")
    if all(name.startswith("module.") for name in state):  # saved out of DataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    if tracked := [name for name in state if name.endswith("num_batches_tracked")]:
        raise ImportFault(
            f"{path} normalizes with statistics of its training ({tracked[0]}), not with each picture's own: "
            "batch norm, or instance norm with track_running_stats; neither is known here"
        )
    # torch before 0.4 saved running statistics of instance norms, which nothing used.
    return {name: t for name, t in state.items() if not name.endswith((".running_mean", ".running_var"))}


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

    return named(_CONVS, family.convs), named(_NORMS, family.norms)


def _faults(family: Family, state: Mapping[str, Tensor]) -> list[str]:
    """In what the names differ from those of the family; empty if it is one of them."""
    # Without any block the missing ones are to be reported as five.
    convs, norms = _pairs(family, _blocks(family, state) or 5)
    wanted = {f"{name}.weight" for name in (*convs.values(), *norms.values())}
    wanted |= {f"{name}.bias" for name in norms.values()} | {convs["conv4"] + ".bias"}
    spare = {f"{name}.bias" for name in convs.values()}
    faults = [f"lacks {name}" for name in sorted(wanted - state.keys())]
    return faults + [
        f"has {name} {tuple(state[name].shape)}" for name in sorted(state.keys() - wanted - spare)
    ]


def _differs(family: Family, faults: list[str], state: Mapping[str, Tensor]) -> str:
    known = ", ".join(f.project for f in FAMILIES)
    lacking = sum(fault.startswith("lacks") for fault in faults)
    if len(faults) - lacking == len(state):  # not one name in common
        first = next(iter(state), None)
        held = f"its tensors ({first} …) have" if first else "it holds no tensor and has"
        return f"{held} nothing in common with those of {known}"
    # One of each kind says more than two of one.
    shown = [faults[0], *faults[lacking : lacking + 1]] if lacking else faults[:2]
    rest = len(faults) - len(shown)
    more = f" and {rest} more" if rest > 0 else ""
    return f"nearest is {family.project}, from which it differs in that it {', '.join(shown)}{more}"


def _config(family: Family, state: Mapping[str, Tensor], path: Path) -> NetworkConfig:
    shapes = [tuple(state[f"{name}.weight"].shape) for name in family.convs[:3]]
    if any(len(shape) != 4 for shape in shapes):
        raise ImportFault(f"{path} is nearest to {family.project}, but its convolutions have shapes {shapes}")
    first, second, third = (shape[0] for shape in shapes)
    blocks = _blocks(family, state)
    widths = first, second, third
    return NetworkConfig(widths=widths, blocks=blocks, upsample=family.upsample, alignment="crop")


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
            raise ImportFault(f"{path} is nearest to {family.project}, but {their} has shape {shapes}")
        if not torch.isfinite(state[their]).all():
            raise ImportFault(f"{path}: {their} is not finite; the training that wrote it went wrong")


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

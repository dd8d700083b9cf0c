"""Frozen VGG-16 and VGG-19 features by layer name: the loss network.

Takes images in the package convention, RGB in [0, 1], and normalizes them itself, with the statistics that
belong to the weights in use. The ImageNet mean and standard deviation appear in this file and in no other.
The weights are Oxford's (Simonyan and Zisserman 2014), CC BY 4.0; so are those of ``distilled``, a VGG-19
with convolutions of low rank that comes with the package and needs no download (`LowRankConv`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from difflib import get_close_matches
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.low_rank import LOW_RANKS, LowRankConv
from fast_nst.models.max_pool import MaxPool
from fast_nst.models.model_files import bundled_loss_network, file_digest
from fast_nst.models.torch_files import read_torch_file, tensor_problem, unreadable_reason

__all__ = [
    "ARCHITECTURES",
    "STATISTICS",
    "VGGFeatures",
    "WeightsError",
    "layer_names",
    "load_vgg",
]

Pooling = Literal["max", "average"]

# Channels of the convolutions of each block: Simonyan and Zisserman 2014, table 1, columns D and E.
_BLOCKS: dict[str, tuple[tuple[int, ...], ...]] = {
    "vgg16": ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
    "distilled": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,)),
}
ARCHITECTURES = tuple(_BLOCKS)


_Triple = tuple[float, float, float]


class _Statistics(NamedTuple):
    """What was subtracted from and divided out of RGB in [0, 1] when the weights were trained."""

    mean: _Triple
    std: _Triple


# torchvision's own training recipe, and the Caffe weights that Gatys et al. and Johnson et al. used: those
# take mean-subtracted values on a scale of 0 to 255, hence that deviation.
STATISTICS = {
    "IMAGENET1K_V1": _Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "IMAGENET1K_FEATURES": _Statistics((0.48235, 0.45882, 0.40784), (1 / MAX_LEVEL,) * 3),
}
# torchvision publishes the original weights for VGG-16 alone. The hash is the start of the file's SHA-256.
_DOWNLOADS = {
    ("vgg16", "IMAGENET1K_V1"): "vgg16-397923af.pth",
    ("vgg16", "IMAGENET1K_FEATURES"): "vgg16_features-amdegroot-88682ab5.pth",
    ("vgg19", "IMAGENET1K_V1"): "vgg19-dcbb9e9d.pth",
}
WEIGHTS_URL = "https://download.pytorch.org/models/"


class WeightsError(InputError):
    """VGG weights that cannot be found, read or used; the message says what to do."""


def layer_names(arch: str) -> list[str]:
    """Every layer of a VGG in order: ``conv1_1``, …, ``pool5``; of the distilled one to ``relu5_1``."""
    if arch not in _BLOCKS:
        raise InputError(f"unknown loss network {arch!r}; there are {', '.join(_BLOCKS)}")
    names: list[str] = []
    for block, widths in enumerate(_BLOCKS[arch], start=1):
        for i in range(1, len(widths) + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return names[:-1] if arch == "distilled" else names


def _build(arch: str, depth: int, pooling: Pooling) -> nn.Sequential:
    """The first ``depth`` layers."""
    body, channels = nn.Sequential(), 3
    widths = chain.from_iterable(_BLOCKS[arch])
    for name in layer_names(arch)[:depth]:
        module: nn.Module
        if name.startswith("conv"):
            inputs, channels = channels, next(widths)
            if arch == "distilled" and name in LOW_RANKS:
                module = LowRankConv(inputs, channels, LOW_RANKS[name])
            else:
                module = nn.Conv2d(inputs, channels, 3, padding=1)
        elif name.startswith("relu"):
            # Out of place: an in-place ReLU would overwrite a `conv` activation someone asked for.
            module = nn.ReLU()
        else:
            module = MaxPool() if pooling == "max" else nn.AvgPool2d(2)
        body.add_module(name, module)
    return body


def _check_layers(arch: str, wanted: Iterable[str]) -> list[str]:
    known = layer_names(arch)
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=9)
            # Of similar names one of the same block: relu2_2 rather than relu5_3 for relu2_3.
            near.sort(key=lambda other: other[:5] != name[:5])
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"{arch} has no layer {name!r}; {hint}")
    return known


class VGGFeatures(nn.Module):
    """Activations of a VGG at named layers, no deeper than the deepest of them.

    Args:
        arch: ``vgg16``, ``vgg19`` or ``distilled``, which ends at ``relu5_1``.
        layers: names such as ``relu2_2``, ``conv4_2``, ``pool3``.
        pooling: ``max`` as trained, or ``average`` as Gatys et al. 2016 prefer for synthesis.
        statistics: which weights' normalization to apply, ``IMAGENET1K_V1`` or ``IMAGENET1K_FEATURES``.

    The parameters are frozen and random until loaded; `load_vgg` is the usual way to get one.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        arch: str,
        layers: Iterable[str],
        *,
        pooling: Pooling = "max",
        statistics: str = "IMAGENET1K_V1",
    ) -> None:
        super().__init__()
        self.arch = arch
        self.layers = tuple(dict.fromkeys(layers))
        known = _check_layers(arch, self.layers)
        depth = max((known.index(name) for name in self.layers), default=-1) + 1
        self.body = _build(arch, depth, pooling)
        # Not persistent: they are constants of the weights, not state to be saved.
        chosen = STATISTICS[statistics]
        self.register_buffer("mean", torch.tensor(chosen.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(chosen.std).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Activations by name.

        Args:
            images: ``(B, 3, H, W)``, RGB, nominally in [0, 1].
            layers: a subset of the layers this was built for; the pass goes only as deep as they need.

        Returns:
            One ``(B, C_l, H_l, W_l)`` tensor for each layer.
        """
        wanted = set(self.layers if layers is None else layers)
        found: dict[str, Tensor] = {}
        x = (images - self.mean) / self.std
        for name, module in self.body.named_children():
            if len(found) == len(wanted):
                break
            x = module(x)
            if name in wanted:
                found[name] = x
        if missing := wanted - found.keys():
            raise InputError(f"these layers were not asked for when the network was built: {sorted(missing)}")
        return found


def _read(file: Path) -> Mapping[str, Tensor]:
    if not file.exists():
        raise WeightsError(f"no VGG weights at {file}; give --vgg-weights the path of an existing file")
    return read_torch_file(file, "VGG weights", WeightsError)


def _key_of(arch: str, layer: str) -> str:
    """torchvision's name of a convolution: its index in ``features``; the distilled network has names."""
    return layer if arch == "distilled" else f"features.{layer_names(arch).index(layer)}"


def _load_strictly(network: VGGFeatures, tensors: Mapping[str, Tensor], source: str) -> None:
    """Fill every convolution of the network, or say which one the file lacks."""
    # The body ends with the deepest layer asked for, in whatever order they were named.
    deepest = next(reversed([name for name, _ in network.body.named_children()]), "")
    for name, module in network.body.named_children():
        if not isinstance(module, nn.Conv2d | LowRankConv):
            continue
        for part, parameter in module.named_parameters():
            key = f"{_key_of(network.arch, name)}.{part}"
            if key not in tensors:
                raise WeightsError(
                    f"{source} lacks {name} of {network.arch} ({key}), which {deepest} needs; "
                    f"give a file that goes that deep, or ask for layers before {name}"
                )
            tensor = tensors[key]
            if not isinstance(tensor, Tensor) or tensor.shape != parameter.shape:
                found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise WeightsError(
                    f"{source}: {name} ({key}) has shape {found}, {network.arch} needs "
                    f"{tuple(parameter.shape)}; is it another network's file?"
                )
            if problem := tensor_problem(tensor):
                raise WeightsError(f"{source}: {name} ({key}) {problem}; weights must be plain floats")
            if not torch.isfinite(tensor).all():
                raise WeightsError(f"{source}: {name} ({key}) is not finite; the file is damaged")
            parameter.data.copy_(tensor)


def _download(arch: str, weights: str) -> tuple[Mapping[str, Tensor], str]:
    """torchvision's published weights, from its cache when they are there; their hash is checked always."""
    file = _DOWNLOADS.get((arch, weights))
    if file is None:
        have = sorted(w for a, w in _DOWNLOADS if a == arch)
        raise WeightsError(f"there are no {weights} weights of {arch}; there are {', '.join(have)}")
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file
    if was_there := cached.is_file():
        expected, found = cached.stem.rpartition("-")[2], file_digest(cached)
        if not found.startswith(expected):
            raise WeightsError(
                f"{cached} is damaged: its SHA-256 begins with {found[:8]}, not with {expected}; "
                "delete it to download it again"
            )
    try:
        with redirect_stdout(sys.stderr):  # the loader announces the download on stdout, which is for data
            # weights_only: the loader's own default still unpickles whatever the file says.
            tensors = torch.hub.load_state_dict_from_url(
                WEIGHTS_URL + file,
                map_location="cpu",
                progress=sys.stderr.isatty(),
                check_hash=True,
                weights_only=True,
            )
    except Exception as error:  # whatever the network, the disk, zipfile and pickle raise
        reason = unreadable_reason(error)
        if was_there:
            raise WeightsError(
                f"{cached} cannot be read ({reason}); delete it to download it again"
            ) from None
        raise WeightsError(
            f"could not download the {arch} weights ({reason}); get {WEIGHTS_URL}{file} elsewhere and "
            f"put it at {cached}, or give any copy with --vgg-weights FILE"
        ) from None
    return tensors, str(cached)


def load_vgg(
    arch: str,
    layers: Iterable[str],
    *,
    file: str | Path | None = None,
    weights: str = "IMAGENET1K_V1",
    pooling: Pooling = "max",
) -> VGGFeatures:
    """A `VGGFeatures` with trained weights.

    Args:
        arch: ``vgg16``, ``vgg19`` or ``distilled``.
        layers: the layers wanted; only they and what lies before them is read.
        file: .safetensors or .pth with torchvision's key names (``features.0.weight`` …); None downloads,
            except for ``distilled``, which comes with the package.
        weights: ``IMAGENET1K_V1`` (torchvision's) or ``IMAGENET1K_FEATURES`` (the original Caffe weights);
            decides the normalization also when ``file`` is given.
        pooling: ``max`` or ``average``.

    Raises:
        InputError: an unknown network or layer.
        WeightsError: no file, an unreadable one, or one that lacks a layer.
    """
    if weights not in STATISTICS:
        raise InputError(f"unknown VGG weights {weights!r}; there are {' and '.join(STATISTICS)}")
    if arch == "distilled" and (pooling, weights) != ("max", "IMAGENET1K_V1"):
        raise InputError(
            f"the distilled loss network is made for max pooling and IMAGENET1K_V1, got {pooling} and "
            f"{weights}; --loss-network vgg19 takes both"
        )
    network = VGGFeatures(arch, layers, pooling=pooling, statistics=weights)
    if file is None and arch == "distilled":
        file = bundled_loss_network()
    if file is None:
        tensors, source = _download(arch, weights)
    else:
        tensors, source = _read(Path(file)), str(file)
    _load_strictly(network, tensors, source)
    return network


def weights_digest(network: VGGFeatures) -> str:
    """SHA-256 of the weights in use, so that a checkpoint can say what it was trained against."""
    digest = sha256(network.arch.encode())
    for name, parameter in network.body.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

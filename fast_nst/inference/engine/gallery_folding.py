"""The plan of a network of many styles, see `folding`: with its rows mixed it is a network of one style."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fast_nst.config import GalleryNetConfig
from fast_nst.inference.engine.folding import as_fp32, as_fp64, check_finite, upsampling_layer, weight_of
from fast_nst.inference.engine.plan import Array, Layer, Plan

__all__ = ["fold_gallery", "norms_by_layer"]


def fold_gallery(
    config: GalleryNetConfig, tensors: Mapping[str, NDArray[np.generic]], mixture: Array, content: float = 0.0
) -> Plan:
    """The plan of a network of many styles with its rows mixed: as fast as that of a single style.

    The rows of every norm are summed by their weights, and the color matrix is multiplied into the last
    convolution.

    Args:
        tensors: as `fold_weights`, named as in `GalleryNet`.
        mixture: ``(R,)``, the weight of each row.
        content: share of the content image in the result, from 0 to 1; it is added as it is, and the
            network's part is reduced to what is left.

    Raises:
        InputError: as `fold_weights`.
    """
    check_finite(tensors)
    base = None
    if content:
        base = Layer("base", content * np.eye(3, dtype=np.float32)[..., None, None], None, "zero", (0, 0))
    return Plan(tuple(_mixed_layers(config, tensors, mixture, 1 - content)), config, base)


def norms_by_layer(config: GalleryNetConfig) -> dict[str, str]:
    """Where the norm of each layer of the plan stands in the network: its name in the state dict."""
    names = {f"down{i + 1}": f"down.{i}.norm" for i in range(len(config.widths))}
    names |= {f"up{i + 1}": f"up.{i}.norm" for i in range(len(config.widths) - 1)}
    for part in (1, 2):
        names |= {f"block{i + 1}_{part}": f"blocks.{i}.norm{part}" for i in range(config.blocks)}
    return names


def _mixed_layers(
    config: GalleryNetConfig, tensors: Mapping[str, NDArray[np.generic]], mixture: Array, share: float
) -> Iterator[Layer]:
    """The layers, their norms mixed, and the color matrix and offset in the last one."""
    norms = {
        layer: tuple(mixture @ as_fp32(tensors, f"{stem}.{part}") for part in ("weight", "bias"))
        for layer, stem in norms_by_layer(config).items()
    }
    for layer in _shared_layers(config, tensors):
        scale, shift = norms[layer.name]
        yield replace(layer, norm=(scale, shift))
    color = share * np.einsum("r,roc->oc", mixture, as_fp64(tensors["color"]))
    weight = np.einsum("oc,cihw->oihw", color, weight_of(tensors, "out")).astype(np.float32)
    offset = (share * mixture @ as_fp64(tensors["offset"])).astype(np.float32)
    yield replace(upsampling_layer("out", "tied", weight, offset, None), relu=False)


def _shared_layers(config: GalleryNetConfig, tensors: Mapping[str, NDArray[np.generic]]) -> Iterator[Layer]:
    """The convolutions that all styles share, without their norms."""

    def residual(stem: str, name: str) -> Iterator[Layer]:
        first, second = (weight_of(tensors, f"{stem}.conv{half}") for half in (1, 2))
        yield Layer(f"{name}_1", first, None, "reflect", (1, 1), relu=True)
        yield Layer(f"{name}_2", second, None, "reflect", (1, 1), skip=0)

    for i in range(len(config.widths)):
        weight = weight_of(tensors, f"down.{i}.conv")
        half = weight.shape[-1] // 2
        yield Layer(f"down{i + 1}", weight, None, "reflect", (half, half), 2, relu=True)
    for i in range(config.blocks):
        yield from residual(f"blocks.{i}", f"block{i + 1}")
    for i in range(len(config.widths) - 1):
        yield upsampling_layer(f"up{i + 1}", "tied", weight_of(tensors, f"up.{i}.conv"), None, None)

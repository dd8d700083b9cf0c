"""Folded networks paint what the networks they were made from paint, to the gray level and to 110 dB."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fast_nst.config import PRESETS, NetworkConfig
from fast_nst.inference.engine.folded_net import FoldedNet, fold
from fast_nst.io.images import MAX_LEVEL, load_image, to_uint8
from fast_nst.models.checkpoint import load_checkpoint
from fast_nst.models.convert import import_network
from fast_nst.models.model_files import bundled_networks
from fast_nst.models.transform_net import TransformNet

NARROW = {"widths": (8, 12, 16), "blocks": 2}
VARIANTS = list(
    product(("tied", "free", "paper"), ("instance", "batch"), ("reflect", "paper"), ("linear", "tanh"))
)
SIZES = [(1, 1), (1, 9), (7, 5), (8, 8), (21, 34), (40, 40)]
DECIBELS = 110  # of the error against float64, over a range of 1


def network(seed: int = 0, **options: Any) -> TransformNet:
    """Random weights, and statistics that a batch norm could have met."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TransformNet(replace(NetworkConfig(), **{**NARROW, **options})).eval().requires_grad_(False)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
    return net


def picture(*size: int, seed: int = 0) -> Tensor:
    return torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(seed))


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10((a.double() - b.double()).square().mean().item() + 1e-30)


def assert_equal(folded: FoldedNet, net: TransformNet, images: Tensor) -> None:
    """Against the network in float64, so that only the folded one's rounding counts.

    In a picture of a few pixels whole maps are nearly constant, and their norms magnify rounding errors up to
    300 times: there the network's own error in float32 is the measure.
    """
    expected = net.double()(images.double())
    own = psnr(net.float()(images), expected)
    out = folded(images)
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert psnr(out, expected) > min(DECIBELS, own - 10)
    if own < DECIBELS:
        return
    for mine, theirs in zip(out, expected, strict=True):
        assert np.abs(to_uint8(mine).astype(int) - to_uint8(theirs)).max() <= 1


@pytest.mark.parametrize(("upsample", "norm", "padding", "output"), VARIANTS)
def test_every_variant_folds_to_its_equal(upsample: Any, norm: Any, padding: Any, output: Any) -> None:
    net = network(upsample=upsample, norm=norm, padding=padding, output=output)
    folded = fold(net)
    for height, width in SIZES:
        assert_equal(folded, net, picture(height, width))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_folds_to_its_equal(preset: Any) -> None:
    net = network(**{**vars(PRESETS[preset]), **NARROW})
    assert_equal(fold(net), net, picture(35, 50))


FOLDED = fold(network())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 45), st.integers(1, 45))
def test_pictures_of_every_size_are_stylized_equally(height: int, width: int) -> None:
    assert_equal(FOLDED, network(), picture(height, width, seed=height))


@pytest.mark.parametrize("name", sorted(bundled_networks()))
def test_the_bundled_styles_fold_to_their_equals(name: str) -> None:
    net = load_checkpoint(bundled_networks()[name]).network
    folded = fold(net)
    for height, width in ((48, 64), (37, 51)):
        smooth = nn.functional.interpolate(picture(9, 9)[:1], size=(height, width), mode="bicubic").clamp(
            0, 1
        )
        assert_equal(folded, net, smooth)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["candy", "mosaic"])
@pytest.mark.parametrize("size", [(64, 96), (37, 51), (130, 127)])
def test_a_network_trained_elsewhere_folds_to_its_equal(
    name: str, size: tuple[int, int], shared: Path
) -> None:
    (path,) = (shared / "peers").glob(f"{name}_*.model")
    net, _ = import_network(path)
    smooth = nn.functional.interpolate(picture(9, 9), size=size, mode="bicubic").clamp(0, 1)
    assert_equal(fold(net), net, smooth)


@pytest.mark.parametrize("blocks", [0, 1])
def test_any_number_of_blocks_folds(blocks: int) -> None:
    net = network(blocks=blocks)
    assert_equal(fold(net), net, picture(19, 22))


def test_a_bias_that_an_instance_norm_subtracts_is_dropped() -> None:
    net = network()
    stem = net.body.conv1.conv
    stem.bias = nn.Parameter(torch.randn(8), requires_grad=False)
    folded = fold(net)
    assert folded.plan.layers[0].bias is None
    assert_equal(folded, net, picture(20, 24))


def test_a_batch_norm_leaves_nothing_but_convolutions() -> None:
    plan = fold(network(norm="batch")).plan
    assert all(layer.norm is None for layer in plan.layers)


def test_folding_changes_neither_the_network_nor_the_picture() -> None:
    net, images = network(), picture(13, 18)
    weights = {name: t.clone() for name, t in net.state_dict().items()}
    before = images.clone()
    fold(net)(images)
    assert torch.equal(images, before)
    assert all(torch.equal(t, weights[name]) for name, t in net.state_dict().items())


def test_a_layer_s_steps_can_be_taken_apart_with_statistics_from_outside() -> None:
    """What streaming rests on: strips share the statistics of the whole map."""
    layer = fold(network()).layers[0]
    whole = layer.convolve(layer.border(picture(16, 16)))
    statistics = tuple(reversed(torch.var_mean(whole, dim=(2, 3), correction=0, keepdim=True)))
    top, bottom = (layer.finish(part.clone(), statistics) for part in whole.split([5, 11], dim=2))
    torch.testing.assert_close(torch.cat([top, bottom], 2), layer(picture(16, 16)))


@pytest.mark.parametrize(("dtype", "worst"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_half_precision_stays_near(dtype: torch.dtype, worst: float) -> None:
    net = network()
    half = FoldedNet(fold(net).plan, dtype)
    out = half(picture(32, 28))
    assert out.dtype == torch.float32
    assert (out - net(picture(32, 28))).square().mean().sqrt() < worst


def test_levels_lose_nothing_on_their_way_into_bf16() -> None:
    half, seen = FoldedNet(fold(network()).plan, torch.bfloat16), []
    half.layers[0].register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    levels = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    half.run_padded(levels / MAX_LEVEL)
    assert torch.equal(seen[0].float(), levels)


def kept_in_bf16(name: str, images: Tensor) -> float:
    """Decibels between what a bundled style paints in fp32 and in bf16."""
    folded = fold(load_checkpoint(bundled_networks()[name]).network)
    painted, half = (net(images).clamp(0, 1) for net in (folded, FoldedNet(folded.plan, torch.bfloat16)))
    return psnr(half, painted)


@pytest.mark.parametrize("name", sorted(bundled_networks()))
def test_the_bundled_styles_keep_45_decibels_in_bf16_and_40_of_noise(name: str) -> None:
    """Medians: of one so small a bold network keeps anything from 24 to 58, as strokes happen to fall."""
    noise = [picture(48, 66, seed=seed)[:1] for seed in range(5)]
    coarse = [picture(6, 8, seed=seed)[:1] for seed in range(5)]
    smooth = [F.interpolate(image, size=(48, 66), mode="bicubic").clamp(0, 1) for image in coarse]
    assert statistics.median(kept_in_bf16(name, image) for image in noise) > 40
    assert statistics.median(kept_in_bf16(name, image) for image in smooth) > 45


@pytest.mark.weights
@pytest.mark.parametrize("name", sorted(bundled_networks()))
@pytest.mark.parametrize("size", [256, 512])
def test_bf16_changes_a_photograph_less_than_the_noise_of_a_camera(
    name: str, size: int, shared: Path
) -> None:
    """Bold networks paint strokes into smooth skies, where any small difference moves them."""
    photo = load_image(shared / "data" / "content" / "chicago.jpg", short_side=size)[None]
    folded = fold(load_checkpoint(bundled_networks()[name]).network)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0)) * 2 / 255
    painted, noisy = (folded(image).clamp(0, 1) for image in (photo, (photo + noise).clamp(0, 1)))
    assert kept_in_bf16(name, photo) > max(psnr(noisy, painted), 25)

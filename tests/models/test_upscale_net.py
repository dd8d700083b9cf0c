"""The super-resolution network: sizes, the paper's layers, and where it starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from fast_nst.config import UPSCALE_PRESETS, UpscaleNetConfig
from fast_nst.errors import InputError
from fast_nst.models.resampling import upsampling_matrix
from fast_nst.models.upscale_net import BicubicBase, UpscaleNet

NARROW = UpscaleNetConfig(width=4, blocks=1)
MODERN = replace(UPSCALE_PRESETS["modern"], width=8, blocks=1)
VARIANTS = [NARROW, replace(NARROW, factor=8), MODERN, replace(MODERN, upsample="shuffle", factor=2)]


def trained(config: UpscaleNetConfig) -> UpscaleNet:
    """One whose last convolution does something."""
    torch.manual_seed(0)
    network = UpscaleNet(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("config", VARIANTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 8), (13, 11)])
def test_pictures_of_any_size_become_larger_by_the_factor(config: Any, size: tuple[int, int]) -> None:
    with torch.no_grad():
        made = trained(config)(torch.rand(2, 3, *size))
    assert made.shape == (2, 3, *(config.factor * side for side in size))
    assert torch.isfinite(made).all()


@pytest.mark.parametrize(("preset", "stages"), [("x4", 2), ("x8", 3)])
def test_the_papers_presets_are_its_table(preset: str, stages: int) -> None:
    network = UpscaleNet(UPSCALE_PRESETS[preset])
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    kinds = [(type(m) is nn.ConvTranspose2d, m.kernel_size[0], m.out_channels) for m in convs]
    trunk = [(False, 9, 64), *[(False, 3, 64)] * 8]
    assert kinds == [*trunk, *[(True, 3, 64)] * stages, (False, 9, 3)]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 1 + 8 + stages


def test_the_papers_result_stays_within_its_scaled_tanh() -> None:
    network = trained(NARROW)
    with torch.no_grad():
        made = network(100 * torch.rand(1, 3, 8, 8))
    assert (made - 0.5).abs().max() <= 0.588 + 1e-6


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_an_untrained_modern_network_is_the_bicubic_enlargement(factor: int) -> None:
    picture = torch.rand(1, 3, 12, 9, dtype=torch.float64)
    down, across = (torch.tensor(upsampling_matrix(side, factor), dtype=torch.float64) for side in (12, 9))
    edge = 2 * factor
    made = UpscaleNet(replace(MODERN, factor=factor)).double()(picture)
    inside = (..., slice(edge, -edge), slice(edge, -edge))
    torch.testing.assert_close(made[inside], (down @ picture @ across.T)[inside], atol=1e-6, rtol=0)


def test_the_bicubic_base_is_computed_in_fp32_under_autocast() -> None:
    picture, base = torch.rand(1, 3, 8, 8), BicubicBase(4)
    with torch.autocast("cpu", torch.bfloat16):
        made = base(picture)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, base(picture), atol=0, rtol=0)


@pytest.mark.parametrize(("factor", "widths"), [(2, [64, 32]), (4, [64, 32, 16]), (8, [64, 32, 16, 8])])
def test_maps_of_a_modern_network_narrow_as_they_grow(factor: int, widths: list[int]) -> None:
    body = UpscaleNet(replace(UPSCALE_PRESETS["modern"], factor=factor)).body
    ups = [body.get_submodule(f"up{i + 1}.conv") for i in range(len(widths) - 1)]
    assert [ups[0].in_channels, *(up.out_channels for up in ups)] == widths


def test_every_modern_network_fits_into_a_small_file() -> None:
    for factor in (4, 8):
        network = UpscaleNet(replace(UPSCALE_PRESETS["modern"], factor=factor))
        assert 2 * sum(parameter.numel() for parameter in network.parameters()) < 4e6


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"factor": 3}, "--factor must be 2, 4 or 8, got 3"),
        ({"width": 0}, "width must lie between 1 and 4096, got 0"),
        ({"width": 4, "factor": 8, "narrowing": True}, "width must be at least the factor to narrow, got 4"),
        ({"blocks": -1}, "--blocks must lie between 0 and 100, got -1"),
        ({"kernel": 4}, "kernel must be 3, 5, 7 or 9, got 4"),
        ({"tanh_scale": 0.0}, "tanh_scale must be a finite number above 0, got 0.0"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        UpscaleNetConfig(**values)
    assert reason in str(caught.value)

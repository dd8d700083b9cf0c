"""Convolutions that walk down a map, and moments of strips, against the whole map."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_nst.inference.windows import Moments, kernel_of, slide
from fast_nst.transform_net import PaddedConv, Upsample


def modules() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    convs = {
        "9x9": PaddedConv(2, 3, 9, bias=True),
        "3x3": PaddedConv(2, 3, 3, bias=False),
        "stride-2": PaddedConv(2, 3, 3, 2, bias=False),
    }
    return convs | {kind: Upsample(2, 3, kind, bias=False) for kind in ("tied", "free", "paper")}


MODULES = modules()


@pytest.mark.parametrize("name", MODULES)
@given(height=st.integers(1, 20), width=st.integers(1, 9), strips=st.lists(st.integers(1, 9), min_size=24))
@settings(max_examples=12, deadline=None, derandomize=True)
@torch.no_grad()
def test_a_walking_convolution_is_the_convolution_of_the_whole_map(name, height, width, strips):
    x = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(height))
    walked = list(slide(iter(x.split(cut(strips, height), 2)), height, kernel_of(MODULES[name])))
    torch.testing.assert_close(torch.cat(walked, 2), MODULES[name](x), rtol=0, atol=1e-5)


def cut(strips: list[int], height: int) -> list[int]:
    """The strips' heights as they add up to the map's."""
    heights = []
    while (left := height - sum(heights)) > 0:
        heights.append(min(left, strips[len(heights)]))
    return heights


def test_a_walking_convolution_holds_only_what_its_kernel_reaches():
    kernel = kernel_of(MODULES["9x9"])
    seen: list[int] = []
    watched = kernel._replace(apply=lambda window: seen.append(window.shape[2]) or kernel.apply(window))
    with torch.no_grad():
        list(slide((torch.rand(1, 2, 2, 5) for _ in range(50)), 100, watched))
    assert max(seen) <= 4 + 2 + 2 * 4  # at the end, the rows that came and those beyond the map


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_moments_of_strips_are_those_of_the_map(shift):
    x = (
        torch.randn(1, 4, 33, 17, dtype=torch.float64) * torch.tensor([0.1, 1, 5, 30]).view(1, 4, 1, 1)
        + shift
    )
    moments = Moments()
    for strip in x.split([1, 5, 2, 25], 2):
        moments.add(strip)
    torch.testing.assert_close(moments.mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(moments.var, x.var((0, 2, 3), correction=0))
    assert moments.count == 33 * 17

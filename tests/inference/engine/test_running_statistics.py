"""Mean and variance of maps, from strips and pieces, against fp64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_nst.inference.engine import running_statistics as module
from fast_nst.inference.engine.running_statistics import RunningStatistics, in_pieces, statistics


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_statistics_of_bands_are_those_of_the_map(shift: float) -> None:
    spread = torch.tensor([0.1, 1, 5, 30]).view(1, 4, 1, 1)
    x = torch.randn(2, 4, 33, 17, dtype=torch.float64) * spread + shift
    moments = RunningStatistics()
    for strip in x.split([1, 5, 2, 25], 2):
        moments.add(strip)
    torch.testing.assert_close(moments.mean, x.mean((2, 3)))
    torch.testing.assert_close(moments.var, x.var((2, 3), correction=0))
    assert moments.count == 33 * 17


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_statistics_far_from_zero_lose_nothing_to_the_precision_of_sums(dtype: torch.dtype) -> None:
    x = (torch.randn(2, 3, 300, 200) + 100).to(dtype)
    mean, var = statistics(x)
    assert mean.shape == var.shape == (2, 3, 1, 1)
    assert mean.dtype == torch.float32
    wide = x.double()
    torch.testing.assert_close(mean.double(), wide.mean((2, 3), keepdim=True), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        var.double(), wide.var((2, 3), correction=0, keepdim=True), rtol=1e-3, atol=1e-6
    )


@given(height=st.integers(1, 9), width=st.integers(1, 9), size=st.integers(1, 400))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_pieces_of_any_size_are_the_map_and_give_its_moments(height: int, width: int, size: int) -> None:
    x = torch.randn(1, 3, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", size)
        assert torch.equal(torch.cat(list(in_pieces(x)), 2), x)
        mean, var = statistics(x)
    torch.testing.assert_close(mean, x.mean((2, 3), keepdim=True))
    torch.testing.assert_close(var, x.var((2, 3), correction=0, keepdim=True), rtol=1e-4, atol=1e-6)

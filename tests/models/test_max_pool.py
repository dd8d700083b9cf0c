"""Max pooling by comparisons against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.models.max_pool import MaxPool, larger_of_four

SHAPES = [(1, 1, 2, 2), (2, 3, 8, 6), (1, 5, 7, 9), (2, 4, 3, 2)]


def levels(*shape: int, seed: int = 0) -> Tensor:
    """Few different values, so that many neighbors are equal."""
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed)).float()


def value_and_gradient(pool: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    found = pool(x)
    weights = 1 + torch.arange(found.numel(), dtype=x.dtype).view(found.shape)
    return found.detach(), torch.autograd.grad((found * weights).sum(), x)[0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_torch_also_of_equal_neighbors(shape: Any, layout: Any) -> None:
    x = levels(*shape).contiguous(memory_format=layout)
    theirs = value_and_gradient(lambda t: F.max_pool2d(t, 2), x)
    for pool in (MaxPool(), larger_of_four):
        for found, wanted in zip(value_and_gradient(pool, x), theirs, strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("where", range(4))
def test_a_value_that_is_no_number_is_never_dropped(where: int) -> None:
    x = torch.ones(1, 1, 2, 2)
    x.view(-1)[where] = torch.nan
    assert larger_of_four(x).isnan().all()


def test_compiled_it_gives_the_same() -> None:
    x = levels(1, 8, 6, 10)
    compiled = torch.compile(MaxPool(), backend="aot_eager")
    for found, wanted in zip(value_and_gradient(compiled, x), value_and_gradient(MaxPool(), x), strict=True):
        assert torch.equal(found, wanted)

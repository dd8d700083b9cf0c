"""Gram matrices against their definition, and their gradient against autograd's own."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from fast_nst.models.gram import gram_matrix

SHAPES = [(1, 1, 1, 1), (1, 3, 5, 7), (2, 4, 1, 6), (3, 5, 4, 3)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gram_by_definition(features: NDArray[Any]) -> NDArray[Any]:
    """Equation 3."""
    b, c, h, w = features.shape
    out = np.zeros((b, c, c))
    for n, i, j, y, x in itertools.product(range(b), range(c), range(c), range(h), range(w)):
        out[n, i, j] += features[n, i, y, x] * features[n, j, y, x]
    return out / (c * h * w)


@pytest.mark.parametrize("shape", SHAPES)
def test_gram_matrix_is_equation_3(shape: tuple[int, int, int, int]) -> None:
    f = normal(*shape)
    np.testing.assert_allclose(gram_matrix(f).numpy(), gram_by_definition(f.numpy()), rtol=1e-12)


def test_gram_matrix_ignores_where_things_are() -> None:
    f = normal(1, 8, 6, 6)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gram_matrix(f.flatten(2)[:, :, order].view_as(f)), gram_matrix(f))


def test_gram_matrix_of_a_tiled_texture_does_not_depend_on_its_size() -> None:
    f = normal(1, 8, 6, 5)
    torch.testing.assert_close(gram_matrix(f.repeat(1, 1, 3, 2)), gram_matrix(f))


def test_gram_matrix_is_symmetric_and_has_no_negative_direction() -> None:
    gram = gram_matrix(normal(2, 7, 3, 3))
    torch.testing.assert_close(gram, gram.mT)
    assert torch.linalg.eigvalsh(gram).min() > -1e-12


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gram_matrix_has_the_gradient_of_its_value_and_the_gradient_of_that(layout: Any) -> None:
    f = normal(2, 3, 4, 5).contiguous(memory_format=layout).requires_grad_()
    assert gradcheck(gram_matrix, (f,))
    assert gradgradcheck(gram_matrix, (f,))


def products(features: Tensor) -> Tensor:
    """The same by autograd's own gradient."""
    _, c, h, w = features.shape
    rows = features.float().flatten(2)
    return rows @ rows.mT / (c * h * w)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.float32, 1e-5), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)]
)
def test_the_gradient_is_as_exact_as_the_features(dtype: torch.dtype, most: float, layout: Any) -> None:
    f = normal(2, 16, 24, 20).contiguous(memory_format=layout).to(dtype).requires_grad_()
    weights = normal(2, 16, 16, seed=1, dtype=torch.float32)  # no symmetric one
    found, wanted = (torch.autograd.grad((g(f) * weights).sum(), f)[0] for g in (gram_matrix, products))
    assert found.dtype == dtype
    difference = (found.double() - wanted.double()).norm() / wanted.double().norm()
    assert difference < most


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_matrix_of_16_bit_features_is_summed_in_fp32(dtype: torch.dtype, layout: Any) -> None:
    f = normal(1, 8, 60, 70).abs().to(dtype).contiguous(memory_format=layout)
    gram = gram_matrix(f)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, products(f.double()), check_dtype=False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_lies_in_memory_as_the_features_do(layout: Any) -> None:
    f = normal(2, 4, 6, 5).contiguous(memory_format=layout).requires_grad_()
    (gradient,) = torch.autograd.grad(gram_matrix(f).square().sum(), f)
    assert gradient.is_contiguous(memory_format=layout)


def test_a_gradient_that_fp16_cannot_hold_on_its_way_is_still_right() -> None:
    f = normal(1, 4, 200, 200).half().requires_grad_()
    (gradient,) = torch.autograd.grad(1e5 * gram_matrix(f).square().sum(), f)
    wide = f.detach().float().requires_grad_()
    (wanted,) = torch.autograd.grad(1e5 * products(wide).square().sum(), wide)
    torch.testing.assert_close(gradient.float(), wanted, rtol=2e-3, atol=1e-4)

"""The gradient's norm is limited relative to its own past."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fast_nst.training.gradient_limit import GradientLimit


def parameter_with_gradient(norm: float) -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), norm / 2)
    return parameter


def test_the_first_gradient_passes_whatever_its_size() -> None:
    parameter = parameter_with_gradient(1000.0)
    GradientLimit([parameter])()
    assert parameter.grad.norm().item() == pytest.approx(1000.0)


def test_a_spike_is_scaled_down_to_the_factor_times_the_mean() -> None:
    parameter = parameter_with_gradient(2.0)
    limit = GradientLimit([parameter], factor=3.0)
    limit()
    parameter.grad = torch.tensor([0.0, 500.0, 0.0, 0.0])
    limit()
    assert parameter.grad.tolist() == pytest.approx([0.0, 6.0, 0.0, 0.0])


def test_usual_gradients_are_left_alone() -> None:
    parameter = parameter_with_gradient(2.0)
    limit = GradientLimit([parameter])
    for norm in (2.0, 3.0, 1.0, 5.0):
        parameter.grad = torch.full((4,), norm / 2)
        limit()
        assert parameter.grad.norm().item() == pytest.approx(norm)


def test_the_mean_follows_slowly_and_is_not_carried_away_by_a_spike() -> None:
    parameter = parameter_with_gradient(1.0)
    limit = GradientLimit([parameter], factor=3.0)
    limit()
    parameter.grad = torch.full((4,), 1e6)
    limit()
    assert limit.mean.item() == pytest.approx(0.99 * 1.0 + 0.01 * 3.0)


def test_parameters_without_a_gradient_are_passed_over() -> None:
    frozen = nn.Parameter(torch.zeros(2))
    parameter = parameter_with_gradient(1.0)
    GradientLimit([frozen, parameter])()
    assert frozen.grad is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_reported_and_does_not_touch_the_mean(bad: Any) -> None:
    parameter = parameter_with_gradient(2.0)
    limit = GradientLimit([parameter])
    assert limit().item() == 0
    parameter.grad = torch.tensor([bad, 0.0, 0.0, 0.0])
    assert limit().item() == 1
    assert limit.mean.item() == pytest.approx(2.0)


def test_a_step_with_such_a_gradient_changes_neither_weights_nor_moments() -> None:
    parameter = parameter_with_gradient(2.0)
    optimizer = torch.optim.Adam([parameter], fused=True)
    limit = GradientLimit([parameter])
    optimizer.found_inf = limit()
    optimizer.step()
    before = [parameter.detach().clone(), *(t.clone() for t in optimizer.state[parameter].values())]
    parameter.grad = torch.full((4,), float("nan"))
    optimizer.found_inf = limit()
    optimizer.step()
    after = [parameter.detach(), *optimizer.state[parameter].values()]
    assert all(torch.equal(b, a) for b, a in zip(before, after, strict=True))

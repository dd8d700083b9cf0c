"""A bad step is told from a good one, and nothing of it is remembered."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fast_nst.training.loss_monitor import LossMonitor, LossScale

CPU = torch.device("cpu")


def tell(
    monitor: LossMonitor, *losses: float, broken: float = 0.0, forgiven: bool | None = None
) -> list[bool]:
    """Whether each step is bad."""
    pardon = None if forgiven is None else torch.tensor(forgiven)
    return [bool(monitor(torch.tensor(loss), torch.tensor(broken), pardon)) for loss in losses]


def settled() -> LossMonitor:
    monitor = LossMonitor(CPU)
    tell(monitor, *[2.0] * LossMonitor.SETTLED)
    return monitor


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_bad_from_the_first_step_on(loss: Any) -> None:
    assert tell(LossMonitor(CPU), loss, 1.0, loss) == [True, False, True]


def test_a_gradient_that_is_not_finite_is_bad_whatever_the_loss() -> None:
    assert tell(LossMonitor(CPU), 1.0, broken=1.0) == [True]


@given(st.lists(st.floats(0.5, 2.5), min_size=1, max_size=60))
def test_a_loss_that_varies_as_those_of_photographs_do_is_good(losses: Any) -> None:
    monitor = settled()
    assert not any(tell(monitor, *losses))
    assert monitor.in_a_row == monitor.skipped == 0


def test_a_loss_far_above_the_usual_is_bad_once_there_is_a_usual() -> None:
    assert tell(LossMonitor(CPU), 1.0, 50.0) == [False, False]
    assert tell(settled(), 7.9) == [False]
    assert tell(settled(), 8.1, 1e6) == [True, True]


def test_bad_steps_leave_the_usual_loss_as_it_was() -> None:
    monitor = settled()
    before = monitor.mean.item(), monitor.seen.item()
    assert all(tell(monitor, math.nan, math.inf, 1e9))
    assert (monitor.mean.item(), monitor.seen.item()) == before


def test_bad_steps_are_counted_in_all_and_in_a_row() -> None:
    monitor = settled()
    tell(monitor, math.nan, math.nan, 2.0, math.nan)
    assert (monitor.in_a_row, monitor.skipped) == (1, 3)


def test_an_overflow_by_the_loss_scale_is_skipped_but_no_sign_of_a_lost_run() -> None:
    monitor = settled()
    assert tell(monitor, *[2.0] * 5, broken=1.0, forgiven=True) == [True] * 5
    assert (monitor.in_a_row, monitor.skipped) == (0, 5)
    assert tell(monitor, math.nan, broken=1.0, forgiven=True) == [True]
    assert tell(monitor, 2.0, broken=1.0, forgiven=False) == [True]
    assert monitor.in_a_row == 2


def test_the_first_losses_count_alike_and_old_ones_are_forgotten() -> None:
    monitor = LossMonitor(CPU)
    tell(monitor, 1.0, 2.0, 3.0, 4.0)
    assert monitor.mean.item() == pytest.approx(2.5)
    tell(monitor, *[5.0] * 400)
    assert monitor.mean.item() == pytest.approx(5.0, rel=1e-3)


def test_a_reset_starts_over_but_keeps_the_number_of_skipped_steps() -> None:
    monitor = settled()
    tell(monitor, math.nan)
    monitor.reset()
    assert (monitor.mean, monitor.seen, monitor.in_a_row, monitor.skipped) == (0, 0, 0, 1)
    assert tell(monitor, 100.0) == [False]


def follow(scale: LossScale, *bad: float) -> list[float]:
    seen = []
    for step in bad:
        scale.update(torch.tensor(step))
        seen.append(float(scale.scale))
    return seen


def test_the_scale_halves_after_each_overflow_and_doubles_after_two_hundred_good_steps() -> None:
    scale = LossScale(CPU)
    assert follow(scale, 1, 1) == [512, 256]
    good = follow(scale, *[0] * 400)
    assert good[198:200] == [256, 512]
    assert good[398:] == [512, 1024]


def test_an_overflow_starts_the_count_of_good_steps_again() -> None:
    scale = LossScale(CPU)
    assert follow(scale, *[0] * 199, 1, *[0] * 199)[-1] == 512
    assert follow(scale, 0) == [1024]


@pytest.mark.parametrize(("bad", "end"), [(1.0, LossScale.LEAST), (0.0, LossScale.MOST)])
def test_the_scale_has_limits(bad: float, end: Any) -> None:
    scale = LossScale(CPU)
    assert follow(scale, *[bad] * 2000)[-1] == end


def test_judging_never_asks_the_device_for_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, scale = LossMonitor(CPU), LossScale(CPU)
    for name in ("item", "__bool__", "__float__", "tolist"):
        monkeypatch.setattr(Tensor, name, lambda *_: pytest.fail("waits for the device"))
    scale.update(monitor(torch.tensor(1.0), torch.tensor(0.0)))

"""Stages and learning rates are pure functions of the config."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from fast_nst.config import TrainConfig
from fast_nst.training.schedule import learning_rate_at, stage_at


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig(style=Path("painting.jpg"), dataset="photos")


def test_every_step_belongs_to_one_of_the_two_stages(config: TrainConfig) -> None:
    config = replace(config, steps=10, start_steps=4, start_size=64)
    found = [stage_at(config, step) for step in range(10)]
    assert [stage.image_size for stage in found] == [64] * 4 + [256] * 6
    assert all(stage.first <= step < stage.end for step, stage in enumerate(found))
    assert {(stage.first, stage.end) for stage in found} == {(0, 4), (4, 10)}


def test_the_full_size_is_taken_at_a_lower_rate_only_after_a_first_stage(config: TrainConfig) -> None:
    two = replace(config, steps=10, start_steps=4, start_size=64)
    assert stage_at(two, 4).rate < stage_at(two, 0).rate == two.learning_rate
    one = stage_at(replace(config, steps=10), 0)
    assert (one.first, one.end, one.image_size, one.rate) == (0, 10, 256, two.learning_rate)


def test_the_learning_rate_rises_then_falls_to_zero(config: TrainConfig) -> None:
    config = replace(config, steps=100, warmup=10, learning_rate=1e-3)
    rates = [learning_rate_at(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4, rel=1e-2)
    assert max(rates) <= 1e-3
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_each_stage_has_its_own_rise_and_fall_and_the_second_is_lower(config: TrainConfig) -> None:
    stages = {"start_steps": 60, "start_size": 32, "image_size": 64}
    config = replace(config, steps=100, warmup=5, learning_rate=1e-3, **stages)
    rates = [learning_rate_at(config, step) for step in range(100)]
    assert rates[59] < 2e-6
    assert max(rates[60:]) < 3.1e-4
    assert rates[99] < 2e-6


def test_time_moves_the_learning_rate_where_minutes_are_given(config: TrainConfig) -> None:
    config = replace(config, steps=1000, minutes=1.0, warmup=0)
    assert learning_rate_at(config, 10, elapsed=30.0) == pytest.approx(0.5e-3)
    assert math.isclose(learning_rate_at(config, 10, elapsed=60.0), 0, abs_tol=1e-9)

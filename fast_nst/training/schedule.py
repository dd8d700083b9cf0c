"""How a run goes: its stages, and the learning rate of each step. Pure functions of the config."""

from __future__ import annotations

import math
from typing import NamedTuple

from fast_nst.config import RunConfig

__all__ = ["Stage", "learning_rate_at", "seconds_left", "stage_at"]

# Peak learning rate of the full-size stage after a stage on small crops, as a share of --learning-rate.
FINE_TUNING_RATE = 0.3


class Stage(NamedTuple):
    """Steps of a run that take crops of one size; the learning rate rises and falls once in each."""

    first: int
    end: int
    image_size: int
    rate: float
    """peak learning rate"""


def stage_at(config: RunConfig, step: int) -> Stage:
    """The stage that a step (from 0) belongs to."""
    c = config
    if c.start_steps is None or c.start_size is None:
        return Stage(0, c.steps, c.image_size, c.learning_rate)
    if step < c.start_steps:
        return Stage(0, c.start_steps, c.start_size, c.learning_rate)
    # A trained network is not hit with the rate that suits a random one: 1e-3 can make it diverge.
    return Stage(c.start_steps, c.steps, c.image_size, FINE_TUNING_RATE * c.learning_rate)


def learning_rate_at(config: RunConfig, step: int, elapsed: float = 0.0) -> float:
    """The learning rate of a step (from 0): a linear warm-up, then a cosine to zero at the end of the run.

    Args:
        elapsed: seconds so far; with ``--minutes`` the run ends with whichever limit comes first.
    """
    stage = stage_at(config, step)
    warm = min(1.0, (step - stage.first + 1) / config.warmup) if config.warmup else 1.0
    if config.decay == "constant":
        return stage.rate * warm
    done = (step - stage.first) / (stage.end - stage.first)
    if config.minutes is not None:
        done = max(done, elapsed / (60 * config.minutes))
    return stage.rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def seconds_left(config: RunConfig, step: int, elapsed: float, speed: float) -> float:
    """Seconds to the end of the run after `step` steps, at `speed` photographs a second in this stage."""
    c = config
    stage = stage_at(c, step - 1)
    # In steps of the present stage: one on larger crops takes as much longer as it has more pixels.
    larger = (c.image_size / stage.image_size) ** 2
    left = ((stage.end - step) + larger * (c.steps - stage.end)) * c.batch_size / speed
    return left if c.minutes is None else min(left, max(0.0, 60 * c.minutes - elapsed))

"""The stages of a run and the learning rate of each step. Pure functions of the config and the progress."""

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
    begins: float = 0.0
    """with a time limit: seconds of the run at which the stage begins"""
    limit: float = math.inf
    """likewise, at which it ends"""


def stage_at(config: RunConfig, step: int, full_size_from: int | None = None) -> Stage:
    """The stage that a step (from 0) belongs to.

    Args:
        full_size_from: with a time limit, the step at which the first stage ended; None while it lasts.
    """
    c = config
    limit = math.inf if c.minutes is None else 60 * c.minutes
    if c.start_size is None:
        return Stage(0, c.steps, c.image_size, c.learning_rate, 0.0, limit)
    switch = math.inf if c.minutes is None else c.start_share * limit
    first_end = c.first_stage_steps if full_size_from is None else full_size_from
    if step < first_end:
        return Stage(0, first_end, c.start_size, c.learning_rate, 0.0, switch)
    # A trained network is not given the rate that suits a random one: 1e-3 can make it diverge.
    rate = FINE_TUNING_RATE * c.learning_rate
    return Stage(first_end, c.steps, c.image_size, rate, 0.0 if c.minutes is None else switch, limit)


def learning_rate_at(
    config: RunConfig, step: int, elapsed: float = 0.0, full_size_from: int | None = None
) -> float:
    """The learning rate of a step (from 0): a linear warm-up, then a cosine to zero at the end of its stage.

    Args:
        elapsed: seconds so far; with ``--minutes`` a stage ends with whichever limit comes first.
        full_size_from: as in `stage_at`.
    """
    stage = stage_at(config, step, full_size_from)
    warm = min(1.0, (step - stage.first + 1) / config.warmup) if config.warmup else 1.0
    if config.decay == "constant":
        return stage.rate * warm
    done = (step - stage.first) / (stage.end - stage.first)
    if config.minutes is not None:
        done = max(done, (elapsed - stage.begins) / (stage.limit - stage.begins))
    return stage.rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def seconds_left(
    config: RunConfig, step: int, elapsed: float, speed: float, full_size_from: int | None = None
) -> float:
    """Seconds to the end of the run after `step` steps, at `speed` images per second in this stage."""
    c = config
    stage = stage_at(c, step - 1, full_size_from)
    # In steps of the present stage: one on larger crops takes as much longer as it has more pixels.
    larger = (c.image_size / stage.image_size) ** 2
    left = ((stage.end - step) + larger * (c.steps - stage.end)) * c.batch_size / speed
    return left if c.minutes is None else min(left, max(0.0, 60 * c.minutes - elapsed))

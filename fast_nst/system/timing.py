"""Timing of calls, several of them in turn: after a warm-up, synchronized with the device, with a spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

__all__ = ["Timing", "fastest", "measure_in_turn"]

GAIN = 0.95  # what rounds more, or is less usual, must save so much


class Timing(NamedTuple):
    """Milliseconds a call."""

    median: float
    p95: float
    calls: int


def measure_in_turn(
    what: Mapping[str, Callable[[], object]],
    *,
    calls: int,
    warmup: int,
    settle: int = 0,
    device: torch.device | None = None,
) -> dict[str, Timing]:
    """Time each of several calls, one after the other in every round, so that other load affects them all.

    Args:
        calls: rounds that count.
        warmup: rounds before, which do not.
        settle: calls before each that counts: the threads of another engine may still spin, which makes the
            first call after it take twice as long.
        device: waited for before each reading of the clock; None: the processor.
    """
    spent: dict[str, list[float]] = {name: [] for name in what}
    for turn in range(warmup + calls):
        for name, call in what.items():
            for _ in range(settle):
                call()
            _wait(device)
            start = time.perf_counter()
            call()
            _wait(device)
            if turn >= warmup:
                spent[name].append(1e3 * (time.perf_counter() - start))
    return {name: Timing(statistics.median(ms), _p95(ms), calls) for name, ms in spent.items()}


def fastest(times: Mapping[str, float]) -> str:
    """The name of the first time, or one further down where that is clearly less.

    Args:
        times: of what could be chosen, what is preferred first.
    """
    best, *others = times
    for name in others:
        best = name if times[name] < GAIN * times[best] else best
    return best


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type != "cpu":
        import torch

        torch.accelerator.synchronize(device)


def _p95(values: list[float]) -> float:
    return values[0] if len(values) == 1 else statistics.quantiles(values, n=20, method="inclusive")[-1]

"""Timings: what is counted, and in which order."""

from __future__ import annotations

import torch

from fast_nst.system.timing import fastest, measure_in_turn

CPU = torch.device("cpu")


def test_calls_are_made_in_turn_and_the_warm_up_does_not_count() -> None:
    seen = []
    found = measure_in_turn(
        {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, calls=3, warmup=2, device=CPU
    )
    assert seen == ["a", "b"] * 5
    assert {timing.calls for timing in found.values()} == {3}


def test_each_turn_begins_with_calls_that_do_not_count() -> None:
    """The first call after another engine is slow: the threads of that one still spin."""
    seen = []
    found = measure_in_turn(
        {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, calls=2, warmup=1, settle=2
    )
    assert seen == ["a", "a", "a", "b", "b", "b"] * 3
    assert {timing.calls for timing in found.values()} == {2}


def test_the_tail_is_no_shorter_than_the_middle_and_one_call_is_enough() -> None:
    for calls in (1, 2, 7):
        timing = measure_in_turn({"a": lambda: None}, calls=calls, warmup=0, device=CPU)["a"]
        assert 0 <= timing.median <= timing.p95


def test_what_is_less_usual_must_be_clearly_faster() -> None:
    assert fastest({"fp32": 100.0, "bf16": 60.0}) == "bf16"
    assert fastest({"fp32": 100.0, "bf16": 99.0}) == "fp32"
    assert fastest({"fp32": 100.0, "bf16": 150.0}) == "fp32"
    assert fastest({"first": 100.0, "second": 60.0, "third": 59.0}) == "second"

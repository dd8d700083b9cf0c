"""Stages that overlap: order, bounds, errors and endings."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_nst.inference.video.queues import BackgroundWriter, prefetch


def ours() -> int:
    return sum(thread.name in ("fast-nst prefetch", "fast-nst writer") for thread in threading.enumerate())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(), max_size=20), st.integers(1, 4))
def test_what_is_read_ahead_is_the_same_in_the_same_order(items: Any, depth: int) -> None:
    assert list(prefetch(iter(items), depth)) == items
    taken: list[int] = []
    writer = BackgroundWriter(taken.append, lambda: taken.append(-1), lambda: taken.append(-2), depth)
    for item in items:
        writer.put(item)
    writer.close()
    assert taken == [*items, -1]


def test_no_more_is_read_ahead_than_asked_for() -> None:
    begun = []

    def source() -> Iterator[int]:
        for i in range(100):
            begun.append(i)
            yield i

    items = prefetch(source(), 2)
    next(items)
    time.sleep(0.3)
    assert len(begun) <= 1 + 2 + 1  # taken, waiting, in work
    items.close()
    assert ours() == 0


def test_an_error_of_the_source_comes_after_what_it_gave() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("cut off")

    items = prefetch(source(), 3)
    assert next(items) == 1
    with pytest.raises(OSError, match="cut off"):
        next(items)
    assert ours() == 0


def test_an_error_of_the_writer_reaches_the_producer_and_drops_what_was_done() -> None:
    ends: list[str] = []

    def take(item: int) -> None:
        raise OSError("the disk is full")

    writer = BackgroundWriter(take, lambda: ends.append("done"), lambda: ends.append("dropped"), 1)
    with pytest.raises(OSError, match="the disk is full"):
        deque(map(writer.put, range(100)), 0)  # nor does it wait for ever at the full queue
    with pytest.raises(OSError, match="the disk is full"):
        writer.close()
    assert ends == ["dropped"]
    assert ours() == 0
    assert writer.finished


def test_what_a_full_writer_is_offered_is_left_out() -> None:
    go = threading.Event()
    writer: BackgroundWriter[int] = BackgroundWriter(lambda _: go.wait(10), lambda: None, lambda: None, 2)
    accepted = [writer.offer(i) for i in range(10)]
    assert accepted.count(True) in (2, 3)
    go.set()
    writer.close()

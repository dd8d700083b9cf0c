"""Times that are measured once: remembered, and measured again where the entry is damaged."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fast_nst.io.measured import recall_times, remember_times, remembered_times
from fast_nst.system.folders import private_folder

NAMES = ("one", "two")


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, float]]:
    """Finds other times at every call; the cache is empty."""
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    number = itertools.count(1)
    return lambda: {"one": float(next(number)), "two": 5.0}


def test_a_measurement_is_taken_once_for_a_key(measure: Callable[[], dict[str, float]]) -> None:
    assert recall_times("key", NAMES) is None
    assert remembered_times("key", NAMES, measure) == {"one": 1.0, "two": 5.0}
    assert remembered_times("key", NAMES, measure) == {"one": 1.0, "two": 5.0}
    assert remembered_times("another", NAMES, measure) == {"one": 2.0, "two": 5.0}
    assert recall_times("key", NAMES) == {"one": 1.0, "two": 5.0}


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{}", '{"key": "x", "times": {"one": 1, "two": 2}}', '{"key": "key", "times": {"one": 1}}']
    + [json.dumps({"key": "key", "times": {"one": value, "two": 2}}) for value in (-1, 0, None, "fast")],
)
def test_a_damaged_entry_is_measured_again(measure: Callable[[], dict[str, float]], damage: str) -> None:
    remembered_times("key", NAMES, measure)
    (file,) = private_folder("measured").iterdir()
    file.write_text(damage)
    assert remembered_times("key", NAMES, measure) == {"one": 2.0, "two": 5.0}
    assert json.loads(file.read_text())["times"] == {"one": 2.0, "two": 5.0}


def test_without_a_cache_folder_it_is_measured_every_time(
    measure: Callable[[], dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "file" / "below"))
    assert remembered_times("key", NAMES, measure)["one"] == 1.0
    assert remembered_times("key", NAMES, measure)["one"] == 2.0
    remember_times("key", {"one": 1.0})

"""Times that were measured once on this machine and are kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from fast_nst.io.files import write_atomically
from fast_nst.system.folders import UnusableFolderError, private_folder

__all__ = ["recall_times", "remember_times", "remembered_times"]


def remembered_times(
    key: str,
    names: Collection[str],
    measure: Callable[[], dict[str, float]],
    *,
    kept: Callable[[dict[str, float]], bool] = bool,
) -> dict[str, float]:
    """What a measurement found, from the cache where it is known; measured again where that is damaged.

    Args:
        key: everything that the times depend on: the processor, versions, shapes.
        names: of what is measured.
        measure: measures it, milliseconds by name.
        kept: whether times that were measured are to be kept; all are by default.
    """
    if (known := recall_times(key, names)) is not None:
        return known
    times = measure()
    if kept(times):
        remember_times(key, times)
    return times


def remember_times(key: str, times: dict[str, float]) -> None:
    """Keep what a measurement found; where there is no cache folder, nothing is kept."""
    with suppress(UnusableFolderError, OSError):
        write_atomically(_file(key), json.dumps({"key": key, "times": times}).encode())


def recall_times(key: str, names: Collection[str]) -> dict[str, float] | None:
    """The times of an entry; None where there is none, or one that is damaged or of another key."""
    try:
        file = _file(key)
    except (UnusableFolderError, OSError):
        return None
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        times = {name: float(entry["times"][name]) for name in names}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    whole = entry.get("key") == key and all(0 < time < float("inf") for time in times.values())
    return times if whole else None


def _file(key: str) -> Path:
    return private_folder("measured") / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

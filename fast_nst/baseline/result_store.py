"""A result store: each result of a long computation is written to disk when done and reused afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fast_nst.errors import InputError
from fast_nst.io.files import write_atomically

__all__ = ["ProgressReport", "ResultStore"]


class ProgressReport(NamedTuple):
    """One of several results is done."""

    done: int
    total: int
    line: str


class ResultStore:
    """Named results, one JSON file each in a folder.

    Args:
        folder: created if missing.
        settings: everything the results depend on, as plain JSON values.
        overwrite: delete results that were computed with other settings.

    Raises:
        InputError: the folder has results of other settings and ``overwrite`` is False.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        self.folder = folder
        there = folder / "settings.json"
        wanted = json.loads(json.dumps(settings))
        found = _read(there)
        if there.exists() and found != wanted:
            if not overwrite:
                keys = sorted(
                    k for k in wanted.keys() | (found or {}).keys() if wanted.get(k) != (found or {}).get(k)
                )
                raise InputError(
                    f"{folder} contains results of other settings ({', '.join(keys)} differ); "
                    "give --overwrite to delete them, or another --out"
                )
            for old in (*folder.glob("*.json"), *folder.glob("*.png")):
                old.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(there, json.dumps(wanted).encode())

    def get(self, name: str) -> dict[str, Any] | None:
        """A result, or None if it does not exist yet."""
        return _read(self.folder / f"{name}.json")

    def put(self, name: str, result: Mapping[str, Any]) -> None:
        """Store a result atomically."""
        write_atomically(self.folder / f"{name}.json", json.dumps(result).encode())

    def picture(self, name: str) -> Path:
        """Path of the image of a result; write it before `put`."""
        return self.folder / f"{name}.png"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

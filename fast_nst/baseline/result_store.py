"""Long work in pieces: each piece's result is on disk when it is done, and is not done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fast_nst.errors import InputError
from fast_nst.io.files import write_atomically

__all__ = ["ProgressReport", "ResultStore"]


class ProgressReport(NamedTuple):
    """A piece of a longer work is done."""

    done: int
    total: int
    line: str


class ResultStore:
    """The results of pieces of work, by name, one JSON file each in a folder.

    Args:
        folder: made if it is not there.
        settings: what the results depend on, as plain JSON values.
        overwrite: drop results that were made with other settings.

    Raises:
        InputError: there are such results, and they are not to be dropped.
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
                    f"{folder} holds results of other settings ({', '.join(keys)} differ); "
                    "give --overwrite to drop them, or another --out"
                )
            for old in (*folder.glob("*.json"), *folder.glob("*.png")):
                old.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(there, json.dumps(wanted).encode())

    def get(self, name: str) -> dict[str, Any] | None:
        """The result of a piece, or None while it is not done."""
        return _read(self.folder / f"{name}.json")

    def put(self, name: str, result: Mapping[str, Any]) -> None:
        """A piece is done: written whole or not at all."""
        write_atomically(self.folder / f"{name}.json", json.dumps(result).encode())

    def picture(self, name: str) -> Path:
        """Where the picture of a piece lies; it is to be written before `put`."""
        return self.folder / f"{name}.png"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

"""JSON-lines files, read: one record a line, and what a killed writer left of a line is skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["parse_record", "read_records"]


def parse_record(text: str | bytes) -> dict[str, Any] | None:
    """A line of a JSON-lines file; None for what a kill left of one."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file, none if it is not there; a line cut short by a kill is left out."""
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from (record for record in map(parse_record, lines) if record is not None)

"""Lists of bundled files: the commands ``styles`` and ``models`` are two tables of one kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fast_nst.cli.common import DONE, FAILED, put, say
from fast_nst.errors import InputError, one_line

__all__ = ["list_files"]


def list_files(
    files: Mapping[str, Path],
    kind: str,
    read: Callable[[Path], dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
    *,
    as_json: bool,
    nothing: str,
) -> int:
    """Print a line for each file, or a JSON record with its metadata; returns the exit code.

    Args:
        files: by name.
        kind: key of the name in a record.
        read: the metadata of a file, which is all of it that is looked at.
        describe: what matters of the metadata.
        nothing: the message when there are no files.
    """
    if not files:
        say(nothing)
    code = DONE
    for name, path in files.items():
        try:
            metadata = read(path)
        except InputError as error:
            say(f"error: {one_line(error)}")
            code = FAILED
            continue
        if as_json:
            put(json.dumps({kind: name, "file": str(path), **metadata}))
        else:
            size = path.stat().st_size / 1e6
            put(f"{name:<21} {describe(metadata):<10} {metadata['steps']:>6} steps  {size:.1f} MB")
    return code

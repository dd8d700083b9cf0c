"""What is kept between runs: models made ready for an engine, by what they were made from.

A file that is damaged, or cannot be written, costs the time it would have saved and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fast_nst.io.files import remove_stale_partials, write_atomically

__all__ = ["cache_folder", "kept"]

MOST_FILES = 32  # of about 7 MB; the oldest go first
_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """``FAST_NST_CACHE``, else the place this system has for such files."""
    if folder := os.environ.get("FAST_NST_CACHE"):
        return Path(folder)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fast_nst"


def kept(key: str | None, make: Callable[[], bytes]) -> bytes:
    """The bytes kept under a key, else those that ``make`` gives, which are kept from now on.

    Args:
        key: of everything that the bytes depend on; None: nothing is kept.
    """
    if key is None:
        return make()
    try:
        path = cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.model"
        found = path.read_bytes()
        if hashlib.sha256(found[_DIGEST:]).digest() == found[:_DIGEST]:
            return found[_DIGEST:]
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        pass
    data = make()
    with suppress(OSError, RuntimeError):
        _keep(cache_folder(), path.name, data)
    return data


def _keep(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale_partials([folder])
    write_atomically(folder / name, hashlib.sha256(data).digest() + data)
    files = sorted(folder.glob("*.model"), key=lambda path: path.stat().st_mtime)
    for old in files[:-MOST_FILES]:
        old.unlink(missing_ok=True)

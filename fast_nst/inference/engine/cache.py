"""Compiled models on disk, for the next run: by a key of everything they depend on.

Reading compiled code runs it, so an entry must be this user's own and belong to its key. An entry that is
damaged, foreign, or that the engine cannot load is made again; a folder that cannot be used costs the time
it would have saved and nothing else.

    FOLDER/                                   mode 0700, owned by this user, not writable by others
        <32 hex digits of SHA-256(key)>.model     mode 0600:  SHA-256(key, data) | data
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fast_nst.errors import first_line
from fast_nst.io.files import AtomicFile, remove_stale_partials
from fast_nst.system.folders import UnusableFolderError, is_own, private_folder

__all__ = ["load_or_make"]

T = TypeVar("T")

MAX_FILES = 32  # of about 7 MB; the oldest are removed first
MAX_BYTES = 1 << 28  # of an entry; no folded network compiles to more
_DIGEST = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


def load_or_make(key: str | None, make: Callable[[], tuple[T, bytes]], load: Callable[[bytes], T]) -> T:
    """A compiled model from the cache; if it is not there or does not load, a new one, which is stored.

    Args:
        key: of everything the model depends on; None: nothing is read or stored.
        make: compiles the model; returns it and the bytes that `load` takes.
        load: the model from such bytes; whatever it raises, the model is made again.
    """
    if key is None:
        return make()[0]
    try:
        folder = private_folder()
    except (UnusableFolderError, OSError) as error:
        _log.warning("no models are cached: %s", first_line(error))
        return make()[0]
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.model"
    with suppress(UnusableFolderError, OSError):
        data = _read(path, key)
        try:
            return load(data)
        except Exception as error:  # each engine has exceptions of its own
            _log.info("%s does not load (%s); it is made again", path, first_line(error))
    model, data = make()
    with suppress(OSError):
        _write(path, key, data)
    return model


def _digest(key: str, data: bytes) -> bytes:
    """Over both: an entry that was copied to the name of another key is not valid there."""
    sha = hashlib.sha256(hashlib.sha256(key.encode()).digest())
    sha.update(data)
    return sha.digest()


def _read(path: Path, key: str) -> bytes:
    """The data of an entry.

    Raises:
        UnusableFolderError: not a regular file of this user's, too large, damaged, or of another key.
        OSError: not there, unreadable, or a symbolic link.
    """
    # Not blocking: opening a FIFO would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or not is_own(found) or found.st_size > MAX_BYTES:
            raise UnusableFolderError(f"{path} is not an entry of this user's")
        if os.name == "posix" and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UnusableFolderError(f"others can write to {path}")
        whole = file.read(MAX_BYTES + 1)
    data = whole[_DIGEST:]
    if len(whole) > MAX_BYTES or _digest(key, data) != whole[:_DIGEST]:
        raise UnusableFolderError(f"{path} is damaged or belongs to another key")
    return data


def _write(path: Path, key: str, data: bytes) -> None:
    if _DIGEST + len(data) > MAX_BYTES:
        return
    remove_stale_partials([path.parent])
    with AtomicFile(path, mode=0o600) as whole:
        whole.file.write(_digest(key, data) + data)
    files = sorted(path.parent.glob("*.model"), key=lambda file: file.lstat().st_mtime)
    for old in files[:-MAX_FILES]:
        old.unlink(missing_ok=True)

"""The cache folder, and folders that hold code: private to the user, or not used.

Compiled code that is loaded from a folder runs, so nobody else may be able to write there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs

__all__ = ["UnusableFolderError", "cache_folder", "is_own", "private_folder", "user_cache_folder"]


class UnusableFolderError(Exception):
    """A folder or a file in it that must not be used."""


def user_cache_folder() -> Path:
    """The user's cache folder for this program on this system."""
    return platformdirs.user_cache_path("fast_nst", appauthor=False)


def cache_folder() -> Path:
    """``FAST_NST_CACHE``, else the user's cache folder on this system."""
    if folder := os.environ.get("FAST_NST_CACHE"):
        return Path(folder)
    return user_cache_folder()


def is_own(found: os.stat_result) -> bool:
    """Whether a file is this user's."""
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def private_folder(name: str = "") -> Path:
    """The cache folder or a folder in it, created with mode 0700 whatever the umask.

    Raises:
        UnusableFolderError: it belongs to someone else, or everyone can write to it.
        OSError: it cannot be created.
    """
    if not name:
        return _made_private(cache_folder())
    return _made_private(private_folder() / name)


def _made_private(folder: Path) -> Path:
    if not folder.is_absolute() and "FAST_NST_CACHE" not in os.environ:
        raise UnusableFolderError("this user has no home folder; set FAST_NST_CACHE to a folder")
    for missing in reversed([part for part in (folder, *folder.parents) if not part.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
        missing.chmod(0o700)  # the umask may have taken more
    found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise UnusableFolderError(f"{folder} is not a folder; set FAST_NST_CACHE to another")
    if os.name != "posix":
        return folder
    if not is_own(found):
        raise UnusableFolderError(
            f"{folder} belongs to another user; set FAST_NST_CACHE to a folder of your own"
        )
    if found.st_mode & stat.S_IWOTH:
        raise UnusableFolderError(f"every user can write to {folder}; run: chmod 700 {folder}")
    if found.st_mode & stat.S_IWGRP:  # as a umask of 002 leaves it
        folder.chmod(0o700)
    return folder

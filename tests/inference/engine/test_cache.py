"""The cache of compiled models: entries are this user's own, whole, and of their key, or made again."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fast_nst.inference.engine import cache
from fast_nst.system.folders import cache_folder

posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners of POSIX")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def store(key: str, data: bytes = b"model") -> str:
    """Whether the model was made or loaded, and of which data; a new one is made of ``data``."""
    return cache.load_or_make(
        key, lambda: (f"made {data.decode()}", data), lambda found: f"loaded {found.decode()}"
    )


def entry(folder: Path) -> Path:
    (file,) = folder.glob("*.model")
    return file


def test_a_model_is_made_once_and_loaded_afterwards(folder: Path) -> None:
    assert [store("key") for _ in range(3)] == ["made model", "loaded model", "loaded model"]
    assert store("other key", b"other") == "made other"
    assert len(list(folder.iterdir())) == 2


def test_without_a_key_nothing_is_stored(folder: Path) -> None:
    assert cache.load_or_make(None, lambda: (1, b"model"), lambda _: 2) == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    "change", [lambda d: b"", lambda d: b"short", lambda d: d[:-1] + b"?", lambda d: d[1:]]
)
def test_a_damaged_entry_is_made_again(folder: Path, change: Callable[..., Any]) -> None:
    store("key")
    entry(folder).write_bytes(change(entry(folder).read_bytes()))
    assert [store("key", b"again"), store("key", b"never")] == ["made again", "loaded again"]


def test_an_entry_under_the_name_of_another_key_is_made_again(folder: Path) -> None:
    store("one style", b"one")
    one = entry(folder)
    data = one.read_bytes()
    one.unlink()
    store("another", b"another")
    entry(folder).write_bytes(data)
    assert [store("another", b"again"), store("another", b"never")] == ["made again", "loaded again"]


def test_an_entry_of_an_older_version_whose_digest_leaves_out_the_key_is_made_again(folder: Path) -> None:
    store("key")
    entry(folder).write_bytes(hashlib.sha256(b"old").digest() + b"old")
    assert store("key", b"again") == "made again"


def test_whatever_loading_raises_the_model_is_made_again_and_replaces_the_entry(folder: Path) -> None:
    class EngineSpecificError(Exception):
        pass

    def load(data: bytes) -> str:
        if data == b"bad":
            raise EngineSpecificError("not a model")
        return "loaded"

    cache.load_or_make("key", lambda: ("made", b"bad"), load)
    assert cache.load_or_make("key", lambda: ("made again", b"good"), load) == "made again"
    assert cache.load_or_make("key", lambda: ("never", b""), load) == "loaded"


@posix
@pytest.mark.parametrize(
    "kind", ["fifo", "link to /dev/zero", "link to a valid entry", "folder", "sparse", "writable"]
)
def test_what_is_not_a_regular_private_file_is_not_read(folder: Path, tmp_path: Path, kind: str) -> None:
    store("key")
    file = entry(folder)
    valid = file.read_bytes()
    if kind == "writable":
        file.chmod(0o666)
    else:
        file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "link to /dev/zero":
        file.symlink_to("/dev/zero")
    elif kind == "link to a valid entry":
        (tmp_path / "elsewhere").write_bytes(valid)
        file.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        file.mkdir()
    elif kind == "sparse":
        with file.open("wb") as sparse:
            sparse.truncate(1 << 40)
    start = time.monotonic()
    assert store("key", b"again") == "made again"
    assert time.monotonic() - start < 30  # and does not wait for ever
    if kind != "folder":
        assert store("key", b"never") == "loaded again"


@posix
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_folder_and_the_entries_are_private_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    code = f"""
import os
os.umask({umask})
from fast_nst.inference.engine.cache import load_or_make
for _ in range(2):
    print(load_or_make("key", lambda: ("made", b"x"), lambda data: "loaded"))
"""
    folder = tmp_path / "deep" / "cache"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FAST_NST_CACHE": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["made", "loaded"]
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(folder).stat().st_mode) == 0o600


@posix
def test_a_folder_that_everyone_can_write_to_is_not_used(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store("key")
    folder.chmod(0o777)
    assert [store("key", b"again") for _ in range(2)] == ["made again"] * 2
    assert f"every user can write to {folder}; run: chmod 700" in caplog.text


@posix
def test_a_folder_that_the_group_can_write_to_becomes_private(folder: Path) -> None:
    store("key")
    folder.chmod(0o775)
    assert store("key", b"never") == "loaded model"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("whose", ["folder", "entry"])
def test_what_belongs_to_another_user_is_not_used(folder: Path, whose: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    store("key")
    os.chown(folder if whose == "folder" else entry(folder), 12345, -1)
    assert store("key", b"again") == "made again"


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_cannot_be_used_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / name))
    assert store("key") == "made model"


def test_the_oldest_files_are_removed_first(folder: Path) -> None:
    for age in range(cache.MAX_FILES + 2):
        store(f"key {age}", b"%d" % age)
        for file in folder.iterdir():
            if file.stat().st_mtime > 1000:  # the new one
                os.utime(file, (age, age))
    kept = {int(file.read_bytes()[32:]) for file in folder.iterdir()}
    assert kept == set(range(2, cache.MAX_FILES + 2))


def test_the_default_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FAST_NST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().is_absolute()
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "fast_nst"

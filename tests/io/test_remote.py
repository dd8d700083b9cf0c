"""Pictures at an address, on fsspec's file systems in memory and of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fast_nst.errors import InputError
from fast_nst.io import remote


@pytest.fixture(params=["memory", "local"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty address."""
    if request.param == "local":
        return f"local://{tmp_path}/store"
    return f"memory://{tmp_path.name}/store"


@pytest.mark.parametrize(
    ("name", "is_remote"),
    [("s3://a/b.png", True), ("gs://a", True), ("file:///a", False), ("a/b.png", False), ("C:/a", False)],
)
def test_an_address_is_reported_from_a_path(name: str, is_remote: bool) -> None:
    assert remote.is_remote(name) is is_remote


def test_file_addresses_are_paths() -> None:
    assert remote.local("file:///a/b.png") == "/a/b.png"
    assert remote.local("s3://a/b.png") == "s3://a/b.png"
    assert remote.join("s3://a/", Path("b/c.png")) == "s3://a/b/c.png"
    assert remote.join("a/", "b.png") == "a/b.png"


def test_bytes_come_back_and_can_be_replaced(root: str) -> None:
    name = f"{root}/deep/a.png"
    assert not remote.exists(name)
    for data in (b"one", b"two"):
        remote.write_bytes(name, data)
        assert remote.exists(name)
        assert remote.read_bytes(name) == data


def test_the_pictures_below_an_address_are_listed_without_hidden_ones(root: str) -> None:
    for name in ("b.jpg", "a/c.PNG", "a/notes.txt", ".hidden/d.jpg", "a/.e.jpg"):
        remote.write_bytes(f"{root}/{name}", b"x")
    wanted = [(f"{root}/a/c.PNG", "a/c.PNG"), (f"{root}/b.jpg", "b.jpg")]
    assert remote.list_pictures(root) == remote.list_pictures(root) == wanted
    assert remote.list_pictures(f"{root}/b.jpg") is None


def test_what_is_not_there_is_named(root: str) -> None:
    with pytest.raises(InputError, match=r"gone\.png: no such file$"):
        remote.read_bytes(f"{root}/gone.png")


def test_an_unknown_kind_of_address_is_named() -> None:
    with pytest.raises(InputError, match=r"qq://x/a\.png cannot be reached: Protocol not known: qq"):
        remote.read_bytes("qq://x/a.png")


def test_a_missing_package_of_a_service_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"s3://none/a.png cannot be reached: Install s3fs"):
        remote.read_bytes("s3://none/a.png")


def test_what_a_web_address_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    with pytest.raises(InputError, match=r"needs the package aiohttp: pip install 'fsspec\[http\]'"):
        remote.read_bytes("https://example.com/a.png")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "a.png/b").touch()
    with pytest.raises(InputError, match="is a folder"):
        remote.write_bytes(f"local://{tmp_path}/a.png", b"x")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.png", "b"]

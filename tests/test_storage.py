"""Pictures at an address, on fsspec's file system in memory and on pyarrow's of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fast_nst import storage
from fast_nst.errors import InputError


@pytest.fixture(params=["memory", "local"])
def root(request, tmp_path):
    """An empty address."""
    pytest.importorskip("pyarrow")
    if request.param == "local":
        return f"local://{tmp_path}/store"
    return f"memory://{tmp_path.name}/store"


@pytest.mark.parametrize(
    ("name", "remote"),
    [("s3://a/b.png", True), ("gs://a", True), ("file:///a", False), ("a/b.png", False), ("C:/a", False)],
)
def test_an_address_is_told_from_a_path(name, remote):
    assert storage.is_remote(name) is remote


def test_file_addresses_are_paths():
    assert storage.local("file:///a/b.png") == "/a/b.png"
    assert storage.local("s3://a/b.png") == "s3://a/b.png"
    assert storage.join("s3://a/", Path("b/c.png")) == "s3://a/b/c.png"
    assert storage.join("a/", "b.png") == "a/b.png"


def test_bytes_come_back_and_can_be_replaced(root):
    name = f"{root}/deep/a.png"
    assert not storage.exists(name)
    for data in (b"one", b"two"):
        storage.write_bytes(name, data)
        assert storage.exists(name)
        assert storage.read_bytes(name) == data


def test_the_pictures_below_an_address_are_listed_without_hidden_ones(root):
    for name in ("b.jpg", "a/c.PNG", "a/notes.txt", ".hidden/d.jpg", "a/.e.jpg"):
        storage.write_bytes(f"{root}/{name}", b"x")
    wanted = [(f"{root}/a/c.PNG", "a/c.PNG"), (f"{root}/b.jpg", "b.jpg")]
    assert storage.list_pictures(root) == storage.list_pictures(root) == wanted
    assert storage.list_pictures(f"{root}/b.jpg") is None


def test_what_is_not_there_is_named(root):
    with pytest.raises(InputError, match=r"gone\.png: no such file$"):
        storage.read_bytes(f"{root}/gone.png")


def test_an_unknown_kind_of_address_is_named():
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="qq://x/ cannot be reached: Protocol not known: qq"):
        storage.read_bytes("qq://x/a.png")


def test_without_pyarrow_the_cure_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"s3://none/ is an address, .* pip install 'fast-nst\[cluster\]'"):
        storage.read_bytes("s3://none/a.png")

"""The page is written once, and again when what it is made of has changed."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from fast_nst.errors import InputError
from fast_nst.web import page_cache
from fast_nst.web.page_cache import cached_page


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))


def test_the_page_is_written_once_for_what_it_is_made_of() -> None:
    told: list[str] = []

    for name in ("one", "one", "two", "one", "two", "three", "four"):

        def write(folder: Path, text: str = name) -> None:
            (folder / "index.html").write_text(text)

        folder = cached_page(write, tell=functools.partial(told.append, name), key=name)
        assert (folder / "index.html").read_text() == name
    assert told == ["one", "two", "three", "four"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["four", "three", "two"]


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "index.html").touch()
        raise InputError("no network")

    with pytest.raises(InputError, match="no network"):
        cached_page(fail, tell=lambda: None, key="one")
    assert list((tmp_path / "cache" / "pages").iterdir()) == []


def test_the_key_changes_with_a_file_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "app.js"
    monkeypatch.setattr(page_cache, "page_files", lambda: [file])
    keys = set()
    for text in ("a", "b", "a"):
        file.write_text(text)
        keys.add(page_cache.page_key())
    assert len(keys) == 2

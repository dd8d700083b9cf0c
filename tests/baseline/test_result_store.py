"""Pieces of long work: what is done stays done, and results of other settings are never mixed in."""

from __future__ import annotations

from pathlib import Path

import pytest

from fast_nst.baseline.result_store import ResultStore
from fast_nst.errors import InputError


def test_a_result_is_there_for_the_next_run_of_the_same_settings(tmp_path: Path) -> None:
    ResultStore(tmp_path / "runs", {"size": 64}, overwrite=False).put("one", {"loss": [1.0, 0.5]})
    again = ResultStore(tmp_path / "runs", {"size": 64}, overwrite=False)
    assert again.get("one") == {"loss": [1.0, 0.5]}
    assert again.get("two") is None


def test_results_of_other_settings_are_refused_by_name_or_dropped_when_asked(tmp_path: Path) -> None:
    ResultStore(tmp_path, {"size": 64, "steps": 3}, overwrite=False).put("one", {})
    with pytest.raises(InputError, match=r"other settings \(size differ\); give --overwrite to delete them"):
        ResultStore(tmp_path, {"size": 32, "steps": 3}, overwrite=False)
    assert ResultStore(tmp_path, {"size": 32, "steps": 3}, overwrite=True).get("one") is None


def test_the_same_settings_are_kept_also_with_overwrite(tmp_path: Path) -> None:
    ResultStore(tmp_path, {"size": 64}, overwrite=False).put("one", {"a": 1})
    assert ResultStore(tmp_path, {"size": 64}, overwrite=True).get("one") == {"a": 1}


def test_a_file_cut_short_is_a_piece_not_done(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, {}, overwrite=False)
    (tmp_path / "one.json").write_text('{"loss": [1.0, ')
    assert store.get("one") is None

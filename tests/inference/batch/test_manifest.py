"""The manifest: one record a picture, none twice, and none in a file of another kind."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fast_nst.errors import InputError
from fast_nst.inference.batch.jobs import Job
from fast_nst.inference.batch.manifest import Manifest, record
from fast_nst.inference.batch.results import Result

JOBS = [Job("in/a.png", "out/a.png"), Job("in/b.png", "out/b.png")]


def told(job: Job, **what: Any) -> dict[str, object]:
    return record(Result(job, ms={"read": 1.0, "run": 2.5}, **what), "dots", "abc")


def fill(path: Path, *lines: dict[str, object], alone: bool = True) -> list[dict[str, object]]:
    manifest = Manifest(path, JOBS, alone=alone)
    for line in lines:
        manifest.add(line)
    manifest.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_says_what_became_of_a_picture() -> None:
    good = told(JOBS[0], width=3, height=4)
    assert (good["input"], good["output"], good["ok"], good["error"]) == ("in/a.png", "out/a.png", True, None)
    assert (good["width"], good["height"], good["seconds"]) == (3, 4, 0.0035)
    assert (good["style"], good["checkpoint"]) == ("dots", "abc")
    bad = told(JOBS[0], error="broken")
    assert (bad["output"], bad["ok"], bad["width"], bad["error"]) == (None, False, None, "broken")


def test_what_is_known_is_not_recorded_again_for_being_skipped_or_failing_alike(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    painted, failed = told(JOBS[0]), told(JOBS[1], error="broken")
    first = fill(path, painted, failed)
    assert first == [painted, failed]
    again = [told(JOBS[0], skipped=True), failed]
    assert fill(path, *again) == first
    assert fill(path, *again, told(JOBS[1], error="gone"))[2:] == [told(JOBS[1], error="gone")]


def test_a_picture_whose_record_was_lost_gets_one_when_it_is_skipped(tmp_path: Path) -> None:
    path, skipped = tmp_path / "m.jsonl", told(JOBS[0], skipped=True)
    assert fill(path, skipped, skipped) == [skipped]
    assert fill(path, skipped) == [skipped]


def test_a_picture_stylized_again_is_recorded_again(tmp_path: Path) -> None:
    path, painted = tmp_path / "m.jsonl", told(JOBS[0])
    assert [*fill(path, painted), painted] == fill(path, painted)


def test_a_torn_record_is_cut_off_and_made_up_for(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    painted = told(JOBS[0])
    fill(path, painted, told(JOBS[1]))
    path.write_bytes(path.read_bytes()[:-40])
    late = told(JOBS[1], skipped=True)
    assert fill(path, told(JOBS[0], skipped=True), late) == [painted, late]
    path.write_bytes(b'{"inp')  # killed in the first record of all
    assert fill(path, painted) == [painted]


@pytest.mark.parametrize("text", ["Dear diary", '{"inn": 1}', "\n"])
def test_another_kind_of_file_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "diary"
    path.write_text(text)
    with pytest.raises(InputError, match="diary holds something else; give a new file"):
        Manifest(path, JOBS, alone=True)
    assert path.read_text() == text


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file/m.jsonl"):
        with pytest.raises(InputError, match=r"^--manifest .*; give a file that can be written$"):
            Manifest(place, JOBS, alone=True)


def test_shards_do_not_share_a_file_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", no_locks)
    with pytest.raises(InputError, match="no locks, so shards cannot share a file; give each shard one"):
        Manifest(tmp_path / "m.jsonl", JOBS, alone=False)
    assert fill(tmp_path / "n.jsonl", told(JOBS[0])) == [told(JOBS[0])]

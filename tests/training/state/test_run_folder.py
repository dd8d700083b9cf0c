"""A run folder is found wanting before the first step, and a disk that fails later ends no run."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fast_nst.config import TrainConfig
from fast_nst.errors import InputError
from fast_nst.training.state.run_folder import RunFolder


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def folder(config: TrainConfig) -> RunFolder:
    folder = RunFolder(config, pauses=(0, 0))
    folder.path.mkdir()
    return folder


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_results_are_named_after_the_style_image_unless_told_otherwise(config: TrainConfig) -> None:
    plain = RunFolder(replace(config, out=None, run=None))
    assert (plain.out, plain.path) == (Path("the-waves.safetensors"), Path("runs/the-waves"))
    assert (RunFolder(config).out, RunFolder(config).path) == (config.out, config.run)


@pytest.mark.parametrize("name", ["style.safetensors", "run/last.safetensors", "run/fresh-last.safetensors"])
def test_existing_files_are_only_replaced_or_resumed_from_when_asked(
    config: TrainConfig, folder: RunFolder, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=f"{name} exists; give --overwrite .* or --resume"):
        folder.check(config)
    assert not folder.check(replace(config, overwrite=True))
    if name.startswith("run"):
        assert folder.check(replace(config, resume=True))


def test_a_folder_that_cannot_be_made_is_refused_by_name(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for changed in ({"run": tmp_path / "file" / "run"}, {"out": tmp_path / "file" / "a.safetensors"}):
        wrong = replace(config, **changed)
        with pytest.raises(InputError, match=r"cannot write to the folder .*file is a file"):
            RunFolder(wrong).check(wrong)


def test_a_new_run_forgets_the_states_of_an_earlier_one_and_a_resumed_one_keeps_them(
    config: TrainConfig, folder: RunFolder
) -> None:
    folder.state.touch()
    folder.begin(replace(config, resume=True))
    assert folder.state.exists()
    folder.begin(config)
    assert not folder.state.exists()


def test_what_a_killed_run_left_half_written_is_removed_and_nothing_else(
    config: TrainConfig, folder: RunFolder, tmp_path: Path
) -> None:
    half = f".{'0' * 32}.partial"
    litter = [folder.path / half, tmp_path / half]
    others = [tmp_path / ".mine.partial", folder.path / "notes.partial"]
    for path in litter + others:
        path.touch()
    folder.begin(config)
    assert [path.exists() for path in litter + others] == [False, False, True, True]


def test_settings_that_cannot_be_written_stop_a_new_run_but_no_resumed_one(
    config: TrainConfig, folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    resource = pytest.importorskip("resource")
    folder.begin(config)
    before = (folder.path / "config.toml").read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as on a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.begin(config)
        folder.begin(replace(config, resume=True, workers=0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder.path / "config.toml").read_text() == before
    assert warnings(caplog) == ["config.toml cannot be written: File too large"]


def test_a_failed_save_is_said_once_an_outage_and_tried_again(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    for save in (full, full, full, lambda: None, full):
        folder.try_to_save(save)
        assert folder.behind == (save is full)
    said = "the state cannot be saved, keeping the last one, trying again: No space left on device"
    assert warnings(caplog) == [said, said]


def test_a_run_folder_that_somebody_removed_is_made_again(folder: RunFolder) -> None:
    folder.path.rmdir()
    folder.try_to_save(folder.state.touch)
    assert folder.state.exists() and not folder.behind


def failing(times: int, error: OSError) -> Callable[[], None]:
    """A save that fails so often."""
    left = iter([error] * times)

    def save() -> None:
        for problem in left:
            raise problem

    return save


def test_the_last_save_waits_for_room_on_the_disk(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.save_with_retries(failing(2, OSError(errno.ENOSPC, "No space left on device")))
    assert len(warnings(caplog)) == 2


@pytest.mark.parametrize(("code", "attempts"), [(errno.ENOSPC, 2), (errno.EROFS, 0)])
def test_a_last_save_that_stays_impossible_is_one_line_with_the_cure(
    folder: RunFolder, caplog: pytest.LogCaptureFixture, code: Any, attempts: int
) -> None:
    with pytest.raises(OSError, match=r"the last saved state is kept: make room and give --resume") as caught:
        folder.save_with_retries(failing(99, OSError(code, os.strerror(code))))
    assert caught.value.filename == str(folder.state)
    assert caught.value.errno == code
    assert len(warnings(caplog)) == attempts

"""Maps kept in memory or in a file: the same rows come back, and nothing is left behind."""

from __future__ import annotations

import resource
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_nst.errors import InputError
from fast_nst.inference.spill import Spill, spill_folder


@pytest.mark.parametrize("memory", [None, 0])
@given(channels=st.integers(1, 3), width=st.integers(1, 5), cuts=st.lists(st.integers(1, 4), min_size=1))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_what_is_written_in_strips_is_read_in_any_strips(memory, channels, width, cuts):
    wanted = torch.rand(1, channels, sum(cuts), width)
    with Spill(memory) as spill:
        kept = spill.map(channels, sum(cuts), width)
        assert kept.on_disk == (memory == 0)
        top = 0
        for strip in wanted.split(cuts, 2):
            kept.write(top, strip)
            top += strip.shape[2]
        for step in (1, 3, sum(cuts)):
            rows = range(0, sum(cuts), step)
            found = torch.cat([kept.read(row, min(row + step, sum(cuts))) for row in rows], 2)
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("memory", [None, 0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 3), (3, 1, 2)])
def test_what_is_read_may_be_changed(memory, shape):
    with Spill(memory) as spill:
        kept = spill.map(*shape)
        kept.write(0, torch.ones(1, *shape))
        kept.read(0, shape[1]).zero_()
        assert kept.read(0, shape[1]).min() == 1


def test_maps_stay_in_memory_as_long_as_they_fit_and_make_room_again():
    with Spill(1000) as spill:
        first, second, third = (spill.map(1, 10, 10) for _ in range(3))
        assert [kept.on_disk for kept in (first, second, third)] == [False, False, True]
        spill.free(third)
        assert spill.map(1, 10, 10).on_disk
        spill.free(first)
        assert not spill.map(1, 10, 10).on_disk


def test_the_file_lies_where_TMPDIR_says_and_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert spill_folder() == tmp_path
    with Spill(0) as spill:
        spill.map(1, 4, 4).write(0, torch.ones(1, 1, 4, 4))
        assert list(tmp_path.iterdir()) == []


def test_without_TMPDIR_it_lies_on_a_disk(monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    assert spill_folder() == Path("/var/tmp")


def test_a_disk_without_room_is_told_before_the_work(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 5, 5))
    with (
        Spill(0) as spill,
        pytest.raises(InputError, match=r"12\.8 GB more are needed, .* are free; set TMPDIR"),
    ):
        spill.map(128, 5000, 5000)


def test_a_disk_that_fills_up_is_told_in_one_line():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Spill(0) as spill:
            kept = spill.map(1, 100, 1000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
            with pytest.raises(InputError, match="the disk is full; set TMPDIR") as caught:
                kept.write(0, torch.ones(1, 1, 100, 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(caught.value)

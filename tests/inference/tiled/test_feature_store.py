"""Maps kept in memory or in a file: the same rows come back, and nothing is left behind."""

from __future__ import annotations

import resource
import shutil
import signal
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_nst.errors import InputError
from fast_nst.inference.tiled.feature_store import FeatureStore, feature_store_folder


@pytest.mark.parametrize("memory", [None, 0])
@given(channels=st.integers(1, 3), width=st.integers(1, 5), cuts=st.lists(st.integers(1, 4), min_size=1))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_what_is_written_in_bands_is_read_in_any_bands(
    memory: int | None, channels: int, width: int, cuts: Any
) -> None:
    wanted = torch.rand(1, channels, sum(cuts), width)
    with FeatureStore(memory) as store:
        kept = store.map(channels, sum(cuts), width)
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
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_come_back_as_they_were_and_take_their_own_size(
    memory: int | None, dtype: torch.dtype
) -> None:
    wanted = torch.randn(1, 3, 5, 4).to(dtype)
    with FeatureStore(memory) as store:
        kept = store.map(3, 5, 4, dtype)
        assert kept.size == 3 * 5 * 4 * dtype.itemsize
        for top in (0, 2, 4):
            kept.write(top, wanted[:, :, top : top + 2])
        assert torch.equal(kept.read(0, 5), wanted)


def test_a_band_that_is_the_whole_map_is_not_copied() -> None:
    whole = torch.rand(1, 3, 5, 4)
    with FeatureStore() as store:
        kept = store.map(3, 5, 4)
        kept.write(0, whole)
        assert kept.read(0, 5).data_ptr() == whole.data_ptr()


def test_large_maps_are_zero_pages_of_their_own_and_work_like_small_ones() -> None:
    with FeatureStore() as store:
        kept = store.map(8, 512, 512)  # 8 MiB
        kept.write(100, torch.full((1, 8, 3, 512), 7.0))
        assert kept.read(100, 103).unique().tolist() == [7]
        assert kept.read(0, 100).count_nonzero() == 0


def test_spare_memory_is_taken_by_the_next_map_of_that_size_and_by_no_other() -> None:
    spare: dict[int, list[torch.Tensor]] = {}
    with FeatureStore(None, spare) as store:
        first = store.map(2, 6, 6)
        place = first.held.data_ptr()
        store.free(first)
        other, same, third = store.map(1, 6, 6), store.map(6, 6, 2), store.map(2, 6, 6)
        assert same.held.data_ptr() == place
        assert place not in (other.held.data_ptr(), third.held.data_ptr())
    assert sorted(size for size, blocks in spare.items() for _ in blocks) == [144, 288, 288]
    places = {block.data_ptr() for block in spare[288]}
    with FeatureStore(None, spare) as store:
        assert store.map(2, 6, 6).held.data_ptr() in places


def test_spare_memory_is_given_back_when_something_goes_wrong() -> None:
    spare: dict[int, list[torch.Tensor]] = {}
    with FeatureStore(None, spare) as store:
        store.free(store.map(2, 6, 6))
        assert spare
        with pytest.raises(RuntimeError), store:
            store.map(1, 3, 1).write(2, torch.ones(1, 1, 2, 1))
        assert not spare


def test_only_the_maps_that_are_wanted_are_kept() -> None:
    with FeatureStore(400) as store:
        first, second = store.map(1, 10, 10), store.map(1, 10, 10)
        assert second.on_disk
        store.keep_only(second, None)
        assert store.fits(400)
        assert not store.fits(401)
        second.write(0, torch.ones(1, 1, 10, 10))
        assert second.read(0, 10).min() == 1
    assert first.held is None


def test_maps_stay_in_memory_as_long_as_they_fit_and_make_room_again() -> None:
    with FeatureStore(1000) as store:
        first, second, third = (store.map(1, 10, 10) for _ in range(3))
        assert [kept.on_disk for kept in (first, second, third)] == [False, False, True]
        store.free(third)
        assert store.map(1, 10, 10).on_disk
        store.free(first)
        assert not store.map(1, 10, 10).on_disk


def test_the_file_lies_where_TMPDIR_says_and_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert feature_store_folder() == tmp_path
    with FeatureStore(0) as store:
        store.map(1, 4, 4).write(0, torch.ones(1, 1, 4, 4))
        assert list(tmp_path.iterdir()) == []


def test_without_TMPDIR_it_lies_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    assert feature_store_folder() == Path("/var/tmp")


def test_a_disk_without_room_is_reported_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 5, 5))
    with (
        FeatureStore(0) as store,
        pytest.raises(InputError, match=r"12\.8 GB more are needed, .* are free; set TMPDIR"),
    ):
        store.map(128, 5000, 5000)


def test_a_disk_that_fills_up_is_reported_in_one_line() -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with FeatureStore(0) as store:
            kept = store.map(1, 100, 1000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
            with pytest.raises(InputError, match="the disk is full; set TMPDIR") as caught:
                kept.write(0, torch.ones(1, 1, 100, 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(caught.value)

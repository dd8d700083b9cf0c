"""Same seed, same crops: whatever the threads, the cache, the first step, or the broken files between."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fast_nst.errors import InputError
from fast_nst.io.images import ImageReadError
from fast_nst.training.data.crops import center_crops, load_photo
from fast_nst.training.data.loader import THREAD_NAME, Batch, PhotoBatches
from fast_nst.training.data.photos import DatasetError, hold_out, open_photos
from fast_nst.training.data.sampling import batch_indices, crop_of, sample_order, window_side

SIZE = 32


def picture(seed: int, width: int = 60, height: int = 48) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """23 photographs, wide and tall, some in a sub-folder."""
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for i in range(23):
        size = (60, 48) if i % 2 else (48, 90)
        picture(i, *size).save(root / ("sub" if i % 3 == 0 else ".") / f"{i:02}.{'png' if i % 5 else 'jpg'}")
    return root


def take(folder: Path, steps: int, **options: Any) -> list[Batch]:
    settings: dict[str, object] = {"batch_size": 4, "image_size": SIZE, "seed": 7, "workers": 0}
    with PhotoBatches(open_photos(folder), **({"cache_bytes": 0} | settings | options)) as batches:
        return list(islice(batches, steps))


def digest(batches: list[Batch]) -> str:
    data = b"".join(bytes(f"{b.step}{b.names}", "utf-8") + b.images.numpy().tobytes() for b in batches)
    return hashlib.sha256(data).hexdigest()


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


# --------------------------------------------------------------------------------------------------- sampling


@given(st.integers(0, 2**64), st.integers(0, 10**6), st.integers(1, 300))
def test_an_epoch_takes_every_photograph_once(seed: int, epoch: int, count: int) -> None:
    assert sorted(sample_order(seed, epoch, count)) == list(range(count))


@given(st.integers(1, 40), st.integers(1, 17))
def test_batches_run_through_the_epochs_without_dropping_a_tail(count: int, batch_size: int) -> None:
    steps = -(-3 * count // batch_size)
    stream = [sample for step in range(steps) for sample in batch_indices(3, step, batch_size, count)]
    for epoch in range(3):
        part = stream[epoch * count : (epoch + 1) * count]
        assert {sample.epoch for sample in part} == {epoch}
        assert sorted(sample.index for sample in part) == list(range(count))


def test_the_order_is_the_same_on_every_machine_and_for_ever() -> None:
    assert sample_order(0, 0, 10).tolist() == [7, 6, 8, 3, 2, 4, 1, 5, 0, 9]
    assert crop_of(0, 0, 0, 500, 400, 256) == (134, 58, True)


def test_seeds_and_epochs_give_other_orders() -> None:
    orders = {tuple(sample_order(seed, epoch, 50)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_sampling_neither_reads_nor_changes_the_global_generators() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    before = sample_order.__wrapped__(5, 1, 20).tolist(), crop_of(5, 1, 2, 60, 60, 32)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    torch.rand(3)
    np.random.rand(3)
    assert before == (sample_order.__wrapped__(5, 1, 20).tolist(), crop_of(5, 1, 2, 60, 60, 32))
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 200), st.integers(0, 200))
def test_a_crop_lies_inside_its_photograph(epoch: int, index: int, more_height: int, more_width: int) -> None:
    crop = crop_of(1, epoch, index, SIZE + more_height, SIZE + more_width, SIZE)
    assert 0 <= crop.top <= more_height
    assert 0 <= crop.left <= more_width


def test_crops_reach_every_place_and_half_of_them_are_mirrored() -> None:
    crops = [crop_of(1, 0, index, 34, 35, 32) for index in range(600)]
    assert {crop.top for crop in crops} == {0, 1, 2}
    assert {crop.left for crop in crops} == {0, 1, 2, 3}
    assert 240 < sum(crop.flip for crop in crops) < 360


@given(st.integers(0, 999), st.integers(0, 99), st.integers(SIZE, 400), st.floats(1, 8))
def test_a_zoomed_crop_shows_a_scene_at_most_and_a_zoom_less_at_least(
    epoch: int, index: int, short: int, zoom: float
) -> None:
    side = window_side(1, epoch, index, short, size=SIZE, photo_size=36, zoom=zoom)
    scene = SIZE * max(1, short / 36)
    assert scene / zoom - 1 <= side <= min(short, scene + 1)
    assert window_side(1, epoch, index, short, size=SIZE, photo_size=36, zoom=1) == SIZE


def test_zooms_spread_evenly_over_the_logarithm() -> None:
    sides = [window_side(1, 0, index, 288, size=32, photo_size=36, zoom=4) for index in range(900)]
    thirds = np.histogram(np.log(sides), np.log([64, 64 * 4 ** (1 / 3), 64 * 4 ** (2 / 3), 256.01]))[0]
    assert sum(thirds) >= 890
    assert min(thirds) > 240


# ---------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("cache_bytes", [0, 10**8, 40_000, "auto"])
def test_threads_and_cache_change_no_byte(folder: Path, workers: int, cache_bytes: int | str) -> None:
    plain = digest(take(folder, 15))
    assert digest(take(folder, 15, workers=workers, cache_bytes=cache_bytes)) == plain


@pytest.mark.parametrize("start", [1, 5, 6, 17])
def test_a_run_from_step_k_is_the_rest_of_the_whole_run(folder: Path, start: int) -> None:
    whole = take(folder, 20)
    assert digest(take(folder, 20 - start, start_step=start, workers=2)) == digest(whole[start:])


def test_ranks_together_see_what_one_alone_sees(folder: Path) -> None:
    whole = take(folder, 8)
    group = [take(folder, 8, rank=rank, world_size=2) for rank in range(2)]
    for one, first, second in zip(whole, *group, strict=True):
        assert torch.equal(one.images, torch.cat([first.images, second.images]))
        assert one.names == first.names + second.names


def test_a_batch_that_ranks_cannot_share_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="--batch-size 5 cannot be split among 3; take 6"):
        take(folder, 1, batch_size=5, world_size=3)


def test_a_batch_larger_than_the_folder_goes_on_into_the_next_epoch(folder: Path) -> None:
    (batch,) = take(folder, 1, batch_size=50)
    assert batch.images.shape == (50, 3, SIZE, SIZE)
    assert sorted(batch.indices[:23]) == sorted(batch.indices[23:46]) == list(range(23))


def test_a_batch_is_pixels_of_its_photographs_in_rgb(tmp_path: Path) -> None:
    colors = {"a.png": (200, 10, 30), "b.png": (0, 90, 250)}
    for name, color in colors.items():  # with white stripes: a crop of one color would get grain
        striped = np.full((40, 52, 3), 255, np.uint8)
        striped[:, ::4] = striped[:, 1::4] = color
        Image.fromarray(striped).save(tmp_path / name)
    (batch,) = take(tmp_path, 1, photo_size=40)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous()
    for image, name in zip(batch.images, batch.names, strict=True):
        assert image.flatten(1).unique(dim=1).tolist() == [[value, 255] for value in colors[name]]


def test_a_crop_is_a_piece_of_the_photograph_possibly_mirrored(folder: Path) -> None:
    source = open_photos(folder)
    batch = take(folder, 1)[0]
    for image, index in zip(batch.images, batch.indices, strict=True):
        height, width = load_photo(source, index, SIZE).shape[:2]
        crop = crop_of(7, 0, index, height, width, SIZE)
        piece = load_photo(source, index, SIZE)[crop.top : crop.top + SIZE, crop.left : crop.left + SIZE]
        piece = piece[:, ::-1] if crop.flip else piece
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), piece)


def test_transparent_photographs_lie_on_white(tmp_path: Path) -> None:
    striped = np.full((40, 40, 4), (10, 20, 30, 0), np.uint8)
    striped[:, ::2] = (0, 0, 0, 255)  # a crop of one color would get grain
    Image.fromarray(striped).save(tmp_path / "a.png")
    images = take(tmp_path, 1, photo_size=40)[0].images
    assert images.transpose(0, 1).flatten(1).unique(dim=1).tolist() == [[0, 255]] * 3


@pytest.mark.parametrize(
    ("before", "after"),
    [((200, 100), (72, 36)), ((34, 100), (34, 100)), ((32, 512), (32, 512)), ((40, 80), (36, 72))],
)
def test_photographs_are_reduced_to_nine_eighths_of_the_crop(
    tmp_path: Path, before: tuple[int, int], after: tuple[int, int]
) -> None:
    picture(1, *before).save(tmp_path / "a.png")
    height, width = load_photo(open_photos(tmp_path), 0, SIZE).shape[:2]
    assert (width, height) == after


def test_small_photographs_are_enlarged_to_the_crop(tmp_path: Path) -> None:
    picture(1, 40, 50).save(tmp_path / "a.png")
    assert load_photo(open_photos(tmp_path), 0, 64).shape == (80, 64, 3)
    assert take(tmp_path, 1, image_size=64)[0].images.shape == (4, 3, 64, 64)


def test_the_size_photographs_are_reduced_to_can_be_chosen(tmp_path: Path) -> None:
    picture(1, 200, 100).save(tmp_path / "a.png")
    assert load_photo(open_photos(tmp_path), 0, SIZE, 64).shape == (64, 128, 3)
    with pytest.raises(InputError, match="--photo-size 31 is less than the crops' --image-size 32"):
        take(tmp_path, 1, photo_size=31)


# --------------------------------------------------------------------------------------------- cache, threads


class Counting:
    """A source that keeps which photographs were read."""

    def __init__(self, folder: Path) -> None:
        self._source = open_photos(folder)
        self.where, self.names, self.fingerprint = self._source.where, self._source.names, ""
        self.asked: list[int] = []

    def read(self, index: int) -> bytes:
        self.asked.append(index)
        return self._source.read(index)


def counted(folder: Path, steps: int, **options: int) -> list[int]:
    """The photographs that so many batches of four read from the disk."""
    source = Counting(folder)
    with PhotoBatches(source, batch_size=4, image_size=SIZE, seed=1, **options) as batches:
        list(islice(batches, steps))
    return source.asked


def test_a_set_that_fits_is_read_once(folder: Path) -> None:
    # One thread: two may happen on one photograph at a time.
    assert sorted(counted(folder, 30, workers=1, cache_bytes=10**8)) == list(range(23))


def test_a_set_that_does_not_fit_is_not_kept(folder: Path) -> None:
    assert len(counted(folder, 30, workers=0, cache_bytes=100_000)) == 30 * 4


def test_no_thread_is_left_after_close(folder: Path) -> None:
    batches = PhotoBatches(open_photos(folder), batch_size=4, image_size=SIZE, seed=1, workers=4)
    next(batches)
    assert len(our_threads()) == 4
    batches.close()
    batches.close()
    assert our_threads() == []
    assert list(batches) == []


def test_no_thread_outlives_batches_that_nobody_holds(folder: Path) -> None:
    batches = PhotoBatches(open_photos(folder), batch_size=4, image_size=SIZE, seed=1, workers=2)
    next(batches)
    del batches
    gc.collect()
    assert our_threads() == []


def test_no_more_is_prepared_than_asked_for(folder: Path) -> None:
    source = Counting(folder)
    with PhotoBatches(source, batch_size=4, image_size=SIZE, seed=1, prefetch=2) as batches:
        next(batches)
        time.sleep(0.1)
        assert len(source.asked) <= 2 * 4


@pytest.mark.skipif(os.name != "posix", reason="a signal does not end the wait of a thread elsewhere")
def test_an_interrupted_wait_loses_no_step(folder: Path) -> None:
    whole = take(folder, 3)
    source = Slow(folder, hangs=1, index=whole[1].indices[0])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs us aside
    try:
        with PhotoBatches(source, batch_size=4, image_size=SIZE, seed=7) as batches:
            first = next(batches)
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                next(batches)
            source.release.set()
            assert batches.step == 1
            assert digest([first, *islice(batches, 2)]) == digest(whole)
    finally:
        signal.signal(signal.SIGINT, before)


class Slow:
    """A source of which one photograph does not answer the first so many times."""

    def __init__(self, folder: Path, hangs: int, index: int = 5) -> None:
        self._source, self._hangs, self.release = open_photos(folder), hangs, threading.Event()
        self.where, self.names, self.fingerprint, self._index = "slow", self._source.names, "", index

    def read(self, index: int) -> bytes:
        if index == self._index and self._hangs:
            self._hangs -= 1
            self.release.wait(20)
        return self._source.read(index)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_read_that_hangs_is_tried_again_in_another_thread(folder: Path, workers: int) -> None:
    plain = digest(take(folder, 8))
    source = Slow(folder, hangs=3)
    with PhotoBatches(source, batch_size=4, image_size=SIZE, seed=7, workers=workers, timeout=0.2) as batches:
        assert digest(list(islice(batches, 8))) == plain
        source.release.set()
        wait_for(lambda: len(our_threads()) == workers)  # those given up end when they get their answer
    assert our_threads() == []


def test_a_read_that_always_hangs_ends_the_run_and_is_named(folder: Path) -> None:
    source = Slow(folder, hangs=99)
    text = f"slow: {source.names[5]} was not read within 0.05 s, 4 times in a row"
    with PhotoBatches(source, batch_size=4, image_size=SIZE, seed=7, timeout=0.05) as batches:
        with pytest.raises(DatasetError, match=text):
            list(islice(batches, 8))
        source.release.set()
    wait_for(lambda: our_threads() == [])


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_defect_of_ours_is_not_taken_for_a_bad_picture(folder: Path) -> None:
    def defect(crop: NDArray[Any]) -> NDArray[Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take(folder, 1, workers=2, network_input=defect)


# -------------------------------------------------------------------------------------------------- bad files


def header_of_a_png(width: int, height: int) -> bytes:
    data = bytearray(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return bytes(data + struct.pack(">I", zlib.crc32(data[12:])) + b"\0\0\0\0IDAT")


def spoil(folder: Path) -> dict[str, str]:
    """Adds files that are bad in twelve ways, and some that only look it; words of each one's reason."""
    good = (folder / "sub" / "00.jpg").read_bytes()
    (folder / "b-zero.jpg").touch()
    (folder / "b-cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "b-page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    (folder / "b-text.png").write_text("hello")
    (folder / "b-noise.jpg").write_bytes(np.random.default_rng(0).bytes(999))
    (folder / "b-huge.png").write_bytes(header_of_a_png(9000, 9000))
    os.mkfifo(folder / "b-pipe.jpg")
    (folder / "b-circle.jpg").symlink_to(folder / "b-circle.jpg")
    (folder / "b-nowhere.jpg").symlink_to(folder / "none.jpg")
    picture(0, 1, 1).save(folder / "b-one.png")
    picture(0, 20000, 1).save(folder / "b-strip.png")
    picture(0, 700, 40).save(folder / "b-long.png")
    (folder / "a-folder.jpg").mkdir()
    (folder / "a-link.jpg").symlink_to(folder / "sub" / "00.jpg")
    (folder / ".hidden.jpg").touch()
    (folder / "notes.txt").touch()
    picture(1).convert("CMYK").save(folder / "a-cmyk.jpg")
    Image.fromarray(np.arange(2500, dtype=np.uint16).reshape(50, 50) * 26).save(folder / "a-deep.png")
    picture(2).convert("P").save(folder / "a-palette.gif")
    return {
        "b-zero.jpg": "empty",
        "b-cut.jpg": "truncated",
        "b-page.jpg": "HTML",
        "b-text.png": "text",
        "b-noise.jpg": "not a picture",
        "b-huge.png": "over the limit of 40,000,000",
        "b-pipe.jpg": "pipe",
        "b-circle.jpg": "broken link",
        "b-nowhere.jpg": "broken link",
        "b-one.png": "too small: short side 1 px, at least 32 needed",
        "b-strip.png": "too small",
        "b-long.png": "too elongated: 700 x 40, at most 16:1",
    }


@pytest.mark.parametrize("workers", [0, 3])
def test_exactly_the_bad_files_are_listed_and_the_run_goes_on(folder: Path, workers: int) -> None:
    reasons = spoil(folder)
    with PhotoBatches(
        open_photos(folder), batch_size=4, image_size=SIZE, seed=7, workers=workers, max_bad=0.4
    ) as batches:
        seen = {name for batch in islice(batches, 20) for name in batch.names}
    assert sorted(batches.bad) == sorted(reasons)
    for name, part in reasons.items():
        assert part in batches.bad[name]
        assert "--max-pixels" not in batches.bad[name]  # no option of training
    assert seen == set(batches.source.names) - set(reasons)
    assert {"a-cmyk.jpg", "a-deep.png", "a-palette.gif", "a-link.jpg"} <= seen


def test_bad_files_change_nothing_about_threads_cache_and_resuming(folder: Path) -> None:
    spoil(folder)
    whole = take(folder, 20, max_bad=0.5)
    assert digest(take(folder, 20, max_bad=0.5, workers=3, cache_bytes="auto")) == digest(whole)
    assert digest(take(folder, 13, max_bad=0.5, workers=2, start_step=7)) == digest(whole[7:])


def test_the_list_of_bad_files_depends_on_the_steps_taken_only(folder: Path) -> None:
    for name in ("01.png", "05.jpg", "08.png", "sub/06.png", "sub/15.jpg"):
        (folder / name).write_text("no")
    source = open_photos(folder)

    def bad_after(steps: int, **options: Any) -> dict[str, str]:
        settings: dict[str, object] = {"batch_size": 4, "image_size": SIZE, "seed": 7, "max_bad": 0.5}
        with PhotoBatches(source, **(settings | options)) as batches:
            list(islice(batches, steps))
            return batches.bad

    some = bad_after(3, workers=0)
    assert 0 < len(some) < 5
    assert bad_after(3, workers=3, prefetch=9) == some
    resumed = bad_after(7, workers=2, start_step=3, bad=some)
    assert resumed == bad_after(10)
    assert len(resumed) == 5


def test_a_bad_photograph_is_replaced_by_the_next_good_one(tmp_path: Path) -> None:
    for i in range(6):
        picture(i).save(tmp_path / f"{i}.png")
    for i in (2, 3, 5):
        (tmp_path / f"{i}.png").write_text("no")
    stand_ins = {0: 0, 1: 1, 2: 4, 3: 4, 4: 4, 5: 0}
    for batch in take(tmp_path, 9, max_bad=1.0):
        assert batch.indices == [stand_ins[s.index] for s in batch_indices(7, batch.step, 4, 6)]


def test_one_bad_file_in_a_small_folder_is_tolerated_by_default(folder: Path) -> None:
    (folder / "bad.jpg").touch()
    assert len(take(folder, 12)) == 12


def test_more_bad_files_than_allowed_end_the_run_with_their_names(folder: Path) -> None:
    for i in range(5):
        (folder / f"bad{i}.jpg").touch()
    text = r"\d of 28 photographs in .*photos cannot be read, allowed are 2: bad"
    with pytest.raises(DatasetError, match=text) as caught:
        take(folder, 20, max_bad=0.05)
    assert "(the file is empty)" in str(caught.value)
    assert "raise --max-bad" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_bad_file_is_tolerated_if_none_is_allowed(folder: Path) -> None:
    (folder / "bad.jpg").touch()
    with pytest.raises(DatasetError, match="allowed are 0"):
        take(folder, 12, max_bad=0)


@pytest.mark.parametrize("max_bad", [0.01, 1.0])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_with_only_bad_pictures_ends_the_run(tmp_path: Path, max_bad: float, workers: int) -> None:
    for i in range(9):
        (tmp_path / f"{i}.jpg").touch()
    with pytest.raises(DatasetError, match=r"photographs in .* cannot be read"):
        take(tmp_path, 9, max_bad=max_bad, workers=workers)
    assert our_threads() == []


# ---------------------------------------------------------------------------------------------------- sources


def zipped(folder: Path, target: Path, prefix: str = "", method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("prefix", ["", "train2017/"])
def test_a_zip_is_the_folder_it_was_made_from(folder: Path, tmp_path: Path, prefix: str, method: Any) -> None:
    archive = zipped(folder, tmp_path / "photos.zip", prefix, method)
    one, other = open_photos(folder), open_photos(archive)
    assert list(one.names) == list(other.names)
    assert one.fingerprint == other.fingerprint
    assert digest(take(archive, 12, workers=4)) == digest(take(folder, 12))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "photos.zip"]


def test_a_zip_names_may_lead_anywhere_since_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    data = (folder / "sub" / "00.jpg").read_bytes()
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ["../../out.jpg", "/etc/x.jpg", "C:\\x.jpg"]:
            archive.writestr(name, data)
        for name in ["__MACOSX/._a.jpg", ".git/a.jpg", "read.me", "d.jpg/"]:
            archive.writestr(name, data)
    source = open_photos(tmp_path / "evil.zip")
    assert len(source.names) == 3
    assert len(take(tmp_path / "evil.zip", 3)) == 3
    assert not (tmp_path.parent / "out.jpg").exists()


def test_damaged_and_oversized_zip_members_are_bad_photographs(folder: Path, tmp_path: Path) -> None:
    archive = zipped(folder, tmp_path / "a.zip")
    with (
        zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as more,
        more.open("bomb.jpg", "w") as bomb,
    ):
        for _ in range(257):  # a quarter of a megabyte in the zip
            bomb.write(bytes(2**20))
    with zipfile.ZipFile(archive) as listing:
        info = listing.getinfo("01.png")
        place = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    data = bytearray(archive.read_bytes())
    data[place] ^= 1
    archive.write_bytes(data)
    with PhotoBatches(open_photos(archive), batch_size=4, image_size=SIZE, seed=1, max_bad=0.1) as batches:
        list(islice(batches, 12))
    assert sorted(batches.bad) == ["01.png", "bomb.jpg"]
    assert "CRC" in batches.bad["01.png"]
    assert batches.bad["bomb.jpg"] == "269,484,032 bytes are over the limit of 268,435,456"


def test_a_part_of_the_photographs_is_spread_evenly_and_always_the_same(folder: Path) -> None:
    names = open_photos(folder).names
    part = open_photos(folder, max_images=5)
    assert part.names == [names[i] for i in (0, 4, 9, 13, 18)]
    assert part.read(1) == (folder / names[4]).read_bytes()
    assert open_photos(folder, max_images=99).names == names


def test_the_fingerprint_tells_names_and_sizes(folder: Path) -> None:
    before = open_photos(folder).fingerprint
    assert before == open_photos(folder).fingerprint
    with open(folder / "01.png", "ab") as file:
        file.write(b"x")
    after = open_photos(folder).fingerprint
    (folder / "01.png").rename(folder / "01x.png")
    assert len({before, after, open_photos(folder).fingerprint}) == 3


def test_links_to_folders_are_not_followed_but_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = open_photos(folder).names
    (folder / "sub" / "round").symlink_to(folder)
    assert open_photos(folder).names == before
    assert f"{folder / 'sub' / 'round'} is a link to a folder" in caplog.text


def test_a_file_that_disappears_is_a_bad_photograph(folder: Path) -> None:
    source = open_photos(folder)
    (folder / source.names[3]).unlink()
    with pytest.raises(ImageReadError, match="is gone"):
        load_photo(source, 3, SIZE)


def test_data_sets_that_are_none_are_refused_in_one_line_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_NST_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "empty").mkdir()
    (tmp_path / "around").mkdir()
    with zipfile.ZipFile(tmp_path / "around" / "train.zip", "w") as archive:
        archive.writestr("a.txt", "")
    (tmp_path / "a.jpg").write_text("no zip")
    os.mkfifo(tmp_path / "pipe")
    for dataset, message in {
        "missing": "there is no missing; --dataset takes a folder of photographs, a zip of them, or the",
        "empty": "empty holds no pictures, nor do its sub-folders; it takes .*jpg",
        "around": "around holds no pictures.*name the zip itself: around/train.zip",
        "around/train.zip": "around/train.zip holds no pictures",
        "a.jpg": "a.jpg is not a zip that can be read .*--dataset takes",
        "pipe": "pipe is neither a folder nor a file",
        "coco": r"COCO is not in .*add --download, or run: curl .*train2017\.zip",
    }.items():
        with pytest.raises(DatasetError, match=message) as caught:
            open_photos(dataset)
        assert "\n" not in str(caught.value)


def test_the_word_coco_finds_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coco").mkdir()
    folder.rename(tmp_path / "coco" / "val2017")
    monkeypatch.setenv("FAST_NST_DATA", str(tmp_path))
    assert open_photos("coco").where == str(tmp_path / "coco" / "val2017")


# ----------------------------------------------------------------------------------------------- center crops


def test_centre_crops_are_the_middles_of_evenly_spread_photographs(folder: Path) -> None:
    source = open_photos(folder)
    crops = center_crops(source, 5, SIZE)
    assert crops.shape == (5, 3, SIZE, SIZE)
    assert crops.dtype == torch.uint8
    photo = load_photo(source, 4, SIZE)
    top, left = (photo.shape[0] - SIZE) // 2, (photo.shape[1] - SIZE) // 2
    np.testing.assert_array_equal(
        crops[1].permute(1, 2, 0).numpy(), photo[top : top + SIZE, left : left + SIZE]
    )


def test_centre_crops_pass_over_bad_photographs_and_repeat_none(folder: Path) -> None:
    spoil(folder)
    crops = center_crops(open_photos(folder), 12, SIZE)
    assert len(crops) == 12
    assert len({crop.numpy().tobytes() for crop in crops}) >= 11  # a-link.jpg is a link to another


def test_there_are_no_more_centre_crops_than_photographs(folder: Path) -> None:
    assert len(center_crops(open_photos(folder), 99, SIZE)) == 23


def test_centre_crops_name_the_photographs_they_passed_over(folder: Path) -> None:
    spoil(folder)
    bad: dict[str, str] = {}
    center_crops(open_photos(folder), 99, SIZE, bad)
    assert len(bad) == 12
    assert bad["b-zero.jpg"] == "the file is empty"


# ---------------------------------------------------------------------------------------------- kept apart


@given(st.integers(1, 400), st.integers(0, 40))
def test_the_validation_set_and_the_training_set_are_all_of_them(total: int, count: int) -> None:
    source = SimpleNamespace(where="here", names=[f"{i:03}" for i in range(total)], fingerprint="abc")
    train, held = hold_out(source, count)
    kept = [] if held is None else list(held.names)
    assert len(kept) == min(count, total // 10)
    assert sorted([*train.names, *kept]) == source.names
    gaps = [int(b) - int(a) for a, b in pairwise(kept)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_a_part_reads_its_own_photographs_and_has_a_fingerprint_of_its_own(folder: Path) -> None:
    source = open_photos(folder)
    train, held = hold_out(source, 2)
    for part in (train, held):
        for index, name in enumerate(part.names):
            assert part.read(index) == (folder / name).read_bytes()
    assert len({source.fingerprint, train.fingerprint, held.fingerprint}) == 3
    again, _ = hold_out(open_photos(folder), 2)
    assert again.fingerprint == train.fingerprint
    with open(folder / held.names[0], "ab") as file:
        file.write(b"x")
    changed, _ = hold_out(open_photos(folder), 2)
    assert changed.fingerprint != train.fingerprint


def test_there_is_no_validation_set_when_none_is_wanted_or_there_are_few(folder: Path) -> None:
    source = open_photos(folder)
    assert hold_out(source, 0) == (source, None)
    few = open_photos(folder, max_images=9)
    assert hold_out(few, 5) == (few, None)


def test_centre_crops_of_nothing_but_bad_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DatasetError, match=r"none of the 1 pictures in .* can be read"):
        center_crops(open_photos(tmp_path), 4, SIZE)


def test_zoomed_crops_are_the_same_with_any_number_of_threads_and_no_zoom_changes_nothing(
    folder: Path,
) -> None:
    zoomed = take(folder, 6, zoom=3.0)
    assert all(batch.images.shape == (4, 3, SIZE, SIZE) for batch in zoomed)
    assert digest(zoomed) == digest(take(folder, 6, zoom=3.0, workers=3, cache_bytes="auto"))
    assert digest(zoomed) != digest(take(folder, 6))
    assert [batch.names for batch in zoomed] == [batch.names for batch in take(folder, 6)]


def test_a_zoomed_crop_is_smoother_than_a_scene(folder: Path) -> None:
    def detail(batches: list[Batch]) -> float:
        levels = torch.cat([batch.images for batch in batches]).float()
        return float(levels.diff(dim=-1).abs().mean())

    assert detail(take(folder, 6, zoom=4.0)) < 0.9 * detail(take(folder, 6))

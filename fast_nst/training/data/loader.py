"""Batches of random crops, prefetched by threads, reproducible from the seed and the step.

Crops are ``(B, 3, S, S)`` uint8, RGB; the trainer scales them on its device, a quarter of the bytes to send.
A photograph that cannot be read is replaced by the next one that can, and listed.

Ours and not torch's DataLoader, which over the same sampler resumes as exactly: threads share one cache of
decoded photographs and one list of unreadable ones, and a read that hangs is repeated. They are also faster,
1.2 times while photographs are decoded and 3 times from the cache (`benchmarks/data_loading.py`, 2 cores).
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL, ImageReadError, Levels
from fast_nst.system.device import to_device
from fast_nst.system.memory import free_memory
from fast_nst.training.data.crops import SCENE, cut, load_photo
from fast_nst.training.data.flat_crops import flat_crop, with_grain
from fast_nst.training.data.photos import DatasetError, PhotoSource
from fast_nst.training.data.sampling import Sample, batch_indices, crop_of, window_side
from fast_nst.training.data.worker_pool import THREAD_NAME, WorkerPool, WorkItem

__all__ = ["THREAD_NAME", "Batch", "PhotoBatches", "as_images"]

_log = logging.getLogger("fast_nst")


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step trains on.

    Attributes:
        step: counted from 0, over the whole run.
        images: ``(B, 3, S, S)`` uint8, contiguous: this rank's share of the global batch.
        indices, names: the photographs they were cut from, after replacement of bad ones.
        inputs: ``(B, 3, H, W)`` uint8, what the network gets, where that is not the images themselves.
    """

    step: int
    images: Tensor
    indices: list[int]
    names: list[str]
    inputs: Tensor | None = None


def as_images(crops: Tensor, device: torch.device) -> Tensor:
    """``(B, 3, S, S)`` uint8 as floats in [0, 1], channels last, on the device."""
    # To the device first: a quarter of the bytes.
    return (to_device(crops, device).float() / MAX_LEVEL).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class _Cut:
    """A crop, its photograph, and the unreadable ones skipped before it. No crop: all were unreadable."""

    crop: Levels | None
    index: int
    skipped: Mapping[int, str]
    network_input: Levels | None = None


@dataclass
class _Reader:
    """Reads photographs and cuts crops from them; used by all threads at once."""

    source: PhotoSource
    image_size: int
    photo_size: int | None
    seed: int
    max_skips: int  # more in a row than the run may have in all: no use in looking further
    cache_bytes: int
    network_input: Callable[[Levels], Levels] | None
    flat_share: float = 0.0
    zoom: float = 1.0
    bad: dict[int, str] = field(default_factory=dict)  # so that a bad file is read once, not once an epoch
    cache: dict[int, Levels] = field(default_factory=dict)
    held: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, sample: Sample) -> _Cut:
        count = len(self.source.names)
        skipped: dict[int, str] = {}
        for index in ((sample.index + n) % count for n in range(count)):
            if index not in self.bad:
                try:
                    photo = self.photo(index)
                    crop = self.crop(photo, sample.epoch, index)
                    flat = flat_crop(self.seed, sample.epoch, index, self.image_size, self.flat_share)
                    crop = crop if flat is None else flat
                    if self.network_input is not None:  # a network without instance norms
                        return _Cut(crop, index, skipped, self.network_input(crop))
                    return _Cut(with_grain(crop, self.seed, sample.epoch, index), index, skipped)
                except ImageReadError as error:
                    self.bad[index] = error.reason
            skipped[index] = self.bad[index]
            if len(skipped) > self.max_skips:
                break
        return _Cut(None, sample.index, skipped)

    def crop(self, photo: Levels, epoch: int, index: int) -> Levels:
        height, width = photo.shape[:2]
        side = window_side(
            self.seed,
            epoch,
            index,
            min(height, width),
            size=self.image_size,
            photo_size=self.scene_size,
            zoom=self.zoom,
        )
        place = crop_of(self.seed, epoch, index, height, width, side)
        return cut(photo, place, side, self.image_size)

    @property
    def scene_size(self) -> int:
        return self.photo_size or round(self.image_size * SCENE)

    def photo(self, index: int) -> Levels:
        photo = self.cache.get(index)
        if photo is None:
            photo = load_photo(self.source, index, self.image_size, round(self.scene_size * self.zoom))
            if self.cache_bytes:
                self._keep(index, photo)
        return photo

    def _keep(self, index: int, photo: Levels) -> None:
        """Cache it, unless the whole set will not fit: a part would only take memory from the disk cache."""
        with self.lock:
            if index in self.cache or not self.cache_bytes:
                return
            self.cache[index] = photo
            self.held += photo.nbytes
            # Judged by the mean of those seen, and not by the first few, one of which may be a panorama.
            expected = self.held * len(self.source.names) / len(self.cache)
            if self.held > self.cache_bytes or (len(self.cache) >= 16 and expected > self.cache_bytes):
                self.cache_bytes = self.held = 0
                self.cache.clear()


class PhotoBatches(Iterator[Batch]):
    """Endless batches, prefetched by threads.

    Threads, since decoding releases the interpreter's lock: no shared memory, no fork, nothing to kill.

    Args:
        batch_size: of all ranks together; each takes an equal, contiguous share.
        image_size, photo_size: side of the crops, and short side of what they are cut from (`load_photo`).
        start_step: the step the first batch belongs to; any step costs the same.
        workers: threads. 0 reads where the batch is asked for, and then `timeout` has no effect.
        cache_bytes: memory for reduced photographs, used if all fit; "auto" is a quarter of what is free.
        max_bad: end with a `DatasetError` once more than this fraction of the files is bad.
        bad: from an earlier part of the same run; photographs of the same dataset that are not in `source`
            count too.
        timeout: seconds a photograph may take before it is read again in another thread, up to three times.
        prefetch: batches prepared in advance.
        network_input: makes the network's input from a ``(3, S, S)`` crop, in the threads.
        flat_share: of the crops that are replaced by flat pictures, see `flat_crop`.
        zoom: how many times less than a scene a crop may show, see `window_side`.

    Attributes:
        step: of the next batch.
        bad: name and reason of every file skipped so far. It depends on the steps taken only, not on threads.
    """

    RETRIES = 3

    def __init__(
        self,
        source: PhotoSource,
        *,
        batch_size: int,
        image_size: int,
        photo_size: int | None = None,
        seed: int,
        start_step: int = 0,
        workers: int = 2,
        cache_bytes: int | Literal["auto"] = "auto",
        rank: int = 0,
        world_size: int = 1,
        max_bad: float = 0.01,
        bad: Mapping[str, str] | None = None,
        timeout: float = 120,
        prefetch: int = 4,
        network_input: Callable[[Levels], Levels] | None = None,
        flat_share: float = 0.0,
        zoom: float = 1.0,
    ) -> None:
        if batch_size % world_size:
            near = max(1, round(batch_size / world_size)) * world_size
            raise InputError(f"--batch-size {batch_size} cannot be split among {world_size}; take {near}")
        if photo_size is not None and photo_size < image_size:
            raise InputError(f"--photo-size {photo_size} is less than the crops' --image-size {image_size}")
        count = len(source.names)
        known = {i: bad[name] for i, name in enumerate(source.names) if name in bad} if bad else {}
        self.source, self.step = source, start_step
        self.bad = dict(bad or {})
        self._batch_size, self._seed, self._timeout, self._prefetch = batch_size, seed, timeout, prefetch
        self._share = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        # Rounded up, so that one bad file in a small folder does not end the run; 0 tolerates none.
        self._limit = math.ceil(round(max_bad * count, 6))
        budget = free_memory() // 4 // world_size if cache_bytes == "auto" else cache_bytes
        self._reader = _Reader(
            source, image_size, photo_size, seed, self._limit, budget, network_input, flat_share, zoom, known
        )
        self._pending: deque[list[WorkItem[_Cut]]] = deque()
        self._pool = WorkerPool(workers) if workers else None
        self._closer = weakref.finalize(self, self._pool.close) if self._pool else None
        self._closed = False

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        while len(self._pending) < (self._prefetch if self._pool else 1):
            self._pending.append(self._prepare(self.step + len(self._pending)))
        items = self._pending[0]  # taken off at the end, so that Ctrl-C while waiting loses no step
        crops, made, indices = [], [], []
        for place in range(len(items)):
            found = self._result(items, place)
            self._note(found)
            assert found.crop is not None  # else there were too many bad ones
            crops.append(found.crop)
            made += [] if found.network_input is None else [found.network_input]
            indices.append(found.index)
        self._pending.popleft()
        self.step += 1
        names = [self.source.names[index] for index in indices]
        inputs = torch.from_numpy(np.stack(made)) if made else None
        return Batch(self.step - 1, torch.from_numpy(np.stack(crops)), indices, names, inputs)

    def _samples(self, step: int) -> list[Sample]:
        return batch_indices(self._seed, step, self._batch_size, len(self.source.names))[self._share]

    def _prepare(self, step: int) -> list[WorkItem[_Cut]]:
        items = [WorkItem(functools.partial(self._reader.read, sample)) for sample in self._samples(step)]
        return [self._pool.submit(item) for item in items] if self._pool else items

    def _result(self, items: list[WorkItem[_Cut]], place: int) -> _Cut:
        """Wait for one item. They start in this order, so the one waited for has started or soon will."""
        if self._pool is None:
            if not items[place].done.done():
                items[place].run()
            return items[place].done.result()
        for attempt in range(self.RETRIES + 1):
            try:
                return items[place].done.result(self._timeout)
            except TimeoutError:
                if items[place].done.done():  # raised by the item itself, not by waiting for it
                    raise
                if attempt < self.RETRIES:
                    items[place] = self._pool.retry(items[place])
        name = self.source.names[self._samples(self.step)[place].index]
        raise DatasetError(
            f"{self.source.where}: {name} was not read within {self._timeout:g} s, "
            f"{self.RETRIES + 1} times in a row; is the disk or the network there?"
        )

    def _note(self, found: _Cut) -> None:
        self.bad |= {self.source.names[index]: reason for index, reason in found.skipped.items()}
        if len(self.bad) > self._limit or found.crop is None:
            first = ", ".join(f"{name} ({reason})" for name, reason in list(self.bad.items())[:3])
            more = ", …" if len(self.bad) > 3 else ""
            raise DatasetError(
                f"{len(self.bad)} of {len(self.source.names)} photographs in {self.source.where} "
                f"cannot be read, allowed are {self._limit}: {first}{more}; "
                "repair or remove them, or raise --max-bad"
            )

    def close(self) -> None:
        """End the threads and free the cache; then the iteration ends."""
        self._closed = True
        if self._closer:
            self._closer()
        self._pending.clear()
        self._reader.cache.clear()

    def __enter__(self) -> PhotoBatches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""Training data: `PhotoBatches` against torch's DataLoader over the same photographs and the same sampler.

    python benchmarks/data_loading.py --photos photos/ --rounds 5

Both give the same batches, bit for bit, from any step on; that is checked first. ``decoded`` reads and
decodes every photograph; ``cached`` keeps the decoded ones, as training does from its second epoch on where
they fit. Each worker process of a DataLoader has a cache of its own. Medians, taken in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fast_nst.training.data.crops import cut, load_photo
from fast_nst.training.data.loader import PhotoBatches
from fast_nst.training.data.photos import PhotoSource, open_photos
from fast_nst.training.data.sampling import Sample, batch_indices, crop_of


@dataclass(frozen=True)
class Options:
    """What is measured."""

    photos: Path
    """a folder of photographs"""
    max_images: int = 200
    """photographs used"""
    image_size: int = 256
    batch_size: int = 4
    workers: int = 2
    batches: int = 50
    """batches of each round"""
    rounds: int = 5


class Crops(Dataset[Tensor]):
    """The crop of a sample, as `PhotoBatches` cuts it."""

    def __init__(self, source: PhotoSource, size: int, *, cached: bool) -> None:
        self.source, self.size, self.cached = source, size, cached
        self.cache: dict[int, Any] = {}

    def __getitem__(self, sample: Sample) -> Tensor:
        photo = self.cache.get(sample.index)
        if photo is None:
            photo = load_photo(self.source, sample.index, self.size)
            if self.cached:
                self.cache[sample.index] = photo
        height, width = photo.shape[:2]
        place = crop_of(0, sample.epoch, sample.index, height, width, self.size)
        return torch.from_numpy(cut(photo, place, self.size))


class Steps(Sampler[list[Sample]]):
    """The samples of every step from one on."""

    def __init__(self, source: PhotoSource, batch_size: int, start: int) -> None:
        self.count, self.batch_size, self.start = len(source.names), batch_size, start

    def __iter__(self) -> Iterator[list[Sample]]:
        step = self.start
        while True:
            yield batch_indices(0, step, self.batch_size, self.count)
            step += 1


def threads(source: PhotoSource, options: Options, *, cached: bool, start: int = 0) -> Iterator[Tensor]:
    """Batches of `PhotoBatches`."""
    budget = 1 << 40 if cached else 0
    with PhotoBatches(
        source,
        batch_size=options.batch_size,
        image_size=options.image_size,
        seed=0,
        start_step=start,
        workers=options.workers,
        cache_bytes=budget,
    ) as batches:
        for batch in batches:
            yield batch.images


def processes(source: PhotoSource, options: Options, *, cached: bool, start: int = 0) -> Iterator[Tensor]:
    """Batches of a DataLoader."""
    data, steps = Crops(source, options.image_size, cached=cached), Steps(source, options.batch_size, start)
    yield from DataLoader(data, batch_sampler=steps, num_workers=options.workers)


def main(options: Options) -> None:
    """Check that both give the same batches, then time them."""
    source = open_photos(options.photos, max_images=options.max_images)
    straight = list(islice(threads(source, options, cached=False), 6))
    for kind in (threads, processes):
        resumed = list(islice(kind(source, options, cached=False, start=3), 3))
        assert all(torch.equal(a, b) for a, b in zip(straight[3:], resumed, strict=True)), kind.__name__
    print("from step 3 on, both give the batches of a straight run: yes")
    epoch = -(-len(source.names) // options.batch_size) * (2 * options.workers)
    for state, cached in (("decoded", False), ("cached", True)):
        running = {kind.__name__: kind(source, options, cached=cached) for kind in (threads, processes)}
        rates: dict[str, list[float]] = {name: [] for name in running}
        for batches in running.values():
            next(islice(batches, epoch if cached else 8, None))
        for _ in range(options.rounds):
            for name, batches in running.items():
                started = time.perf_counter()
                for _batch in islice(batches, options.batches):
                    pass
                spent = time.perf_counter() - started
                rates[name].append(options.batches * options.batch_size / spent)
        ratio = statistics.median(a / b for a, b in zip(rates["threads"], rates["processes"], strict=True))
        medians = {name: statistics.median(found) for name, found in rates.items()}
        print(
            f"{state}: threads {medians['threads']:.0f}, DataLoader {medians['processes']:.0f} pictures/s, "
            f"ratio {ratio:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Options))

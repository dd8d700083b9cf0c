"""Photographs for training: a folder or a zip in, batches of random crops out, the same ones every time.

Which photograph, which crop and whether it is mirrored are pure functions of the seed, the epoch and the
index of the photograph. The number of threads, the cache and the step a run starts from change nothing. A
photograph that cannot be read is replaced by the next one that can, and listed.

Crops are ``(B, 3, S, S)`` uint8, RGB; the trainer scales them on its device, a quarter of the bytes to send.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import math
import os
import queue
import threading
import weakref
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.errors import InputError
from fast_nst.images import EXTENSIONS, ImageReadError, Picture, fit, over_white, read_picture
from fast_nst.training import coco

__all__ = [
    "Batch",
    "Crop",
    "DatasetError",
    "FolderPhotos",
    "PhotoBatches",
    "PhotoSource",
    "Sample",
    "ZipPhotos",
    "batch_indices",
    "center_crops",
    "crop_of",
    "load_photo",
    "open_photos",
    "sample_order",
]

_log = logging.getLogger("fast_nst")

Array = NDArray[np.uint8]

MAX_PIXELS = 40_000_000  # 120 MB decoded, by each thread
MAX_BYTES = 256 * 2**20  # of one file; a zip may claim, and unpack to, anything
MIN_SIDE = 32  # pixels; less would be enlarged eight times for a crop of 256
MAX_ASPECT = 16  # long side to short; of a longer strip a crop shows next to nothing

_TAKES = "--dataset takes a folder of photographs, a zip of them, or the word coco"


class DatasetError(InputError):
    """The photographs cannot be used as they are."""


# ---------------------------------------------------------------------------------------------------- sources


class PhotoSource(Protocol):
    """Photographs by index, as they lie on the disk. `read` may be called from several threads."""

    @property
    def where(self) -> str:
        """What a person would call it: a path."""

    @property
    def names(self) -> Sequence[str]:
        """Sorted, relative, with forward slashes."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names and sizes: the same for a folder and for a zip of that folder."""

    def read(self, index: int) -> bytes:
        """The file's bytes; `ImageReadError` or `OSError` if there are none."""


class FolderPhotos:
    """The pictures below a folder, at any depth, by their ending; without hidden ones and linked folders.

    `images.find_pictures` also leaves out named pipes and links that lead nowhere. Here they are kept, so
    that they are reported as bad.
    """

    def __init__(self, folder: Path, max_images: int | None = None) -> None:
        self.where, self._folder = str(folder), folder
        self.names: Sequence[str] = _spread(sorted(_walk(folder)), max_images)
        if not self.names:
            zips = ", ".join(str(path) for path in sorted(folder.glob("*.zip"))[:3])
            cure = f"name the zip itself: {zips}" if zips else f"it takes {' '.join(sorted(EXTENSIONS))}"
            raise DatasetError(f"{folder} holds no pictures, nor do its sub-folders; {cure}")

    @functools.cached_property
    def fingerprint(self) -> str:
        return _fingerprint((name, self._size(name)) for name in self.names)

    def _size(self, name: str) -> int:
        try:
            return (self._folder / name).stat().st_size
        except OSError:
            return -1

    def read(self, index: int) -> bytes:
        path = self._folder / self.names[index]
        if not path.is_file():  # opening a named pipe would wait for a writer, perhaps for ever
            there = os.path.exists(path)  # False, not an error, for links in a circle
            raise ImageReadError(path, "is a pipe or a device" if there else "is gone, or a broken link")
        _check_bytes(path, path.stat().st_size)
        return path.read_bytes()


class ZipPhotos:
    """The pictures in a zip, read in place: nothing is ever written, whatever the members are called.

    If all lie in one folder, as in COCO's archives, the names leave it out, as if that folder were unpacked.
    """

    def __init__(self, path: Path, max_images: int | None = None) -> None:
        self.where = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DatasetError(f"{path} is not a zip that can be read ({error}); {_TAKES}") from error
        weakref.finalize(self, self._zip.close)
        self._lock = threading.Lock()  # one handle; reading takes a fiftieth of the time decoding does
        members = {info.filename: info for info in self._zip.infolist() if _is_photo(info.filename)}
        tops = {name.partition("/")[0] if "/" in name else "" for name in members}
        skip = len(tops.pop()) + 1 if len(tops) == 1 and "" not in tops else 0
        self._members = {name[skip:]: info for name, info in members.items()}
        self.names: Sequence[str] = _spread(sorted(self._members), max_images)
        if not self.names:
            raise DatasetError(f"{path} holds no pictures; it takes {' '.join(sorted(EXTENSIONS))}")

    @functools.cached_property
    def fingerprint(self) -> str:
        return _fingerprint((name, self._members[name].file_size) for name in self.names)

    def read(self, index: int) -> bytes:
        name = self.names[index]
        info = self._members[name]
        _check_bytes(name, info.file_size)
        try:
            with self._lock, self._zip.open(info) as member:
                return member.read(MAX_BYTES)
        except Exception as error:  # damaged (zlib, CRC), encrypted, or packed in an unknown way: a type each
            raise ImageReadError(name, f"cannot be unpacked ({error or type(error).__name__})") from error


def open_photos(dataset: str | Path, *, max_images: int | None = None) -> PhotoSource:
    """The photographs of a folder, of a zip, or of ``coco``, which is looked for in the usual places.

    Args:
        max_images: use at most so many, spread evenly over the sorted names; always the same ones.
    """
    path = coco.find_coco() if dataset == "coco" else Path(dataset).expanduser()
    if path is None:
        raise DatasetError(coco.how_to_get_it())
    if path.is_dir():
        return FolderPhotos(path, max_images)
    if path.is_file():
        return ZipPhotos(path, max_images)
    if path.exists():
        raise DatasetError(f"{path} is neither a folder nor a file; {_TAKES}")
    raise DatasetError(f"there is no {path}; {_TAKES}")


def _walk(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder, onerror=lambda error: _log.warning("skipped: %s", error)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(place).relative_to(folder)
        yield from (name for file in files if _is_photo(name := (inside / file).as_posix()))


def _is_photo(name: str) -> bool:
    path = PurePosixPath(name)
    # Archives made on a Mac hold a second file for each picture, in a folder of this name.
    hidden = any(part == "__MACOSX" or (part[0] == "." and part != "..") for part in path.parts)
    return path.suffix.lower() in EXTENSIONS and not hidden and not name.endswith("/")


def _spread(names: Sequence[str], at_most: int | None) -> Sequence[str]:
    if at_most is None or at_most >= len(names):
        return names
    return [names[i * len(names) // at_most] for i in range(at_most)]


def _fingerprint(files: Iterable[tuple[str, int]]) -> str:
    digest = hashlib.sha256()
    for name, size in files:
        digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _check_bytes(path: str | Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ImageReadError(path, f"{size:,} bytes are over the limit of {MAX_BYTES:,}")


# --------------------------------------------------------------------------------------------------- sampling


@dataclass(frozen=True)
class Sample:
    """One photograph of one epoch."""

    epoch: int
    index: int


class Crop(NamedTuple):
    """Where a crop begins, and whether it is mirrored."""

    top: int
    left: int
    flip: bool


def _words(seed: int, key: tuple[int, ...], count: int) -> NDArray[np.uint64]:
    """Random 64-bit words. Raw ones: numpy promises to keep their stream, but not that of `Generator`."""
    philox = np.random.Philox(np.random.SeedSequence(seed, spawn_key=key))
    words: NDArray[np.uint64] = philox.random_raw(count)
    return words


@functools.lru_cache(maxsize=4)  # the epoch a run is in, and the next, for two runs in one process
def sample_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The photographs of an epoch, each once: a permutation of ``range(count)``. Read-only."""
    order = np.argsort(_words(seed, (0, epoch), count), kind="stable")
    order.flags.writeable = False
    return order


def batch_indices(seed: int, step: int, batch_size: int, count: int) -> list[Sample]:
    """What the global step (from 0) trains on. The stream runs through all epochs without dropping a tail."""
    places = (divmod(step * batch_size + i, count) for i in range(batch_size))
    return [Sample(epoch, int(sample_order(seed, epoch, count)[place])) for epoch, place in places]


def crop_of(seed: int, epoch: int, index: int, height: int, width: int, size: int) -> Crop:
    """A square of `size` somewhere in a photograph of ``height`` x ``width``, mirrored every other time."""
    down, right, flip = (int(word) for word in _words(seed, (1, epoch, index), 3))
    return Crop(down % (height - size + 1), right % (width - size + 1), flip >> 63 == 1)


# --------------------------------------------------------------------------------------------------- decoding


class _NamedBytes(io.BytesIO):
    """Bytes that `read_picture` can call by the photograph's name."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def load_photo(source: PhotoSource, index: int, image_size: int, photo_size: int | None = None) -> Array:
    """``(H, W, 3)``: a photograph on white, its short side between `image_size` and `photo_size`.

    By default up to 9/8 of `image_size`: a little larger than the crop, so that crops differ; not much, so
    that they show a scene and no detail. All that is wrong with a file is an `ImageReadError`.
    """
    name = source.names[index]
    try:
        data = source.read(index)
    except OSError as error:
        raise ImageReadError(name, f"cannot be read ({error.strerror or error})") from error
    try:
        picture = read_picture(_NamedBytes(data, name), max_pixels=MAX_PIXELS)
    except ImageReadError as error:  # the limit is fixed in training
        raise ImageReadError(name, error.reason.partition("; --max-pixels")[0]) from error
    short, long = sorted((picture.height, picture.width))
    if short < MIN_SIDE:
        raise ImageReadError(name, f"too small: short side {short} px, at least {MIN_SIDE} needed")
    if long > MAX_ASPECT * short:
        size = f"{picture.width} x {picture.height}"
        raise ImageReadError(name, f"too elongated: {size}, at most {MAX_ASPECT}:1 is of use")
    target = min(max(short, image_size), photo_size or round(image_size * 9 / 8))
    return fit(Picture(over_white(picture)), shorter_side=target).rgb


def center_crops(source: PhotoSource, count: int, image_size: int) -> Tensor:
    """``(N, 3, S, S)`` uint8: the middles of `count` photographs, or as many as can be read, spread evenly.

    For previews and validation: no seed, no mirroring, the same pictures every time.
    """
    total = len(source.names)
    wanted = min(count, total)
    crops: dict[int, Array | None] = {}  # None: cannot be read
    for start in (i * total // wanted for i in range(wanted)):
        for index in (n % total for n in range(start, start + total)):
            if index in crops:
                continue
            crops[index] = _center_crop(source, index, image_size)
            if crops[index] is not None:
                break
    good = [crop for _, crop in sorted(crops.items()) if crop is not None]
    if not good:
        raise DatasetError(f"none of the {total} pictures in {source.where} can be read")
    return torch.from_numpy(np.stack(good))


def _center_crop(source: PhotoSource, index: int, size: int) -> Array | None:
    try:
        photo = load_photo(source, index, size)
    except ImageReadError:
        return None
    height, width = photo.shape[:2]
    return _cut(photo, Crop((height - size) // 2, (width - size) // 2, False), size)


def _cut(photo: Array, crop: Crop, size: int) -> Array:
    """``(H, W, 3)`` to ``(3, size, size)``, contiguous and owning its memory."""
    square = photo[crop.top : crop.top + size, crop.left : crop.left + size]
    return np.array((square[:, ::-1] if crop.flip else square).transpose(2, 0, 1), order="C")


# ---------------------------------------------------------------------------------------------------- batches


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step trains on.

    Attributes:
        step: counted from 0, over the whole run.
        images: ``(B, 3, S, S)`` uint8, contiguous: this rank's share of the global batch.
        indices, names: the photographs they were cut from, after replacement of bad ones.
    """

    step: int
    images: Tensor
    indices: list[int]
    names: list[str]


@dataclass(frozen=True, eq=False)
class _Shot:
    """A crop, its photograph, and what was found unreadable on the way to it. No crop: all was."""

    crop: Array | None
    index: int
    skipped: Mapping[int, str]


@dataclass
class _Reader:
    """Cuts samples out of photographs; used by all threads at once."""

    source: PhotoSource
    image_size: int
    photo_size: int | None
    seed: int
    max_skips: int  # more in a row than the run may have in all: no use in looking further
    cache_bytes: int
    bad: dict[int, str] = field(default_factory=dict)  # so that a bad file is read once, not once an epoch
    cache: dict[int, Array] = field(default_factory=dict)
    held: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def shoot(self, sample: Sample) -> _Shot:
        count = len(self.source.names)
        skipped: dict[int, str] = {}
        for index in ((sample.index + n) % count for n in range(count)):
            if index not in self.bad:
                try:
                    photo = self.photo(index)
                    height, width = photo.shape[:2]
                    crop = crop_of(self.seed, sample.epoch, index, height, width, self.image_size)
                    return _Shot(_cut(photo, crop, self.image_size), index, skipped)
                except ImageReadError as error:
                    self.bad[index] = error.reason
            skipped[index] = self.bad[index]
            if len(skipped) > self.max_skips:
                break
        return _Shot(None, sample.index, skipped)

    def photo(self, index: int) -> Array:
        photo = self.cache.get(index)
        if photo is None:
            photo = load_photo(self.source, index, self.image_size, self.photo_size)
            if self.cache_bytes:
                self._keep(index, photo)
        return photo

    def _keep(self, index: int, photo: Array) -> None:
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


class _Task:
    """One sample being cut by some thread."""

    def __init__(self, work: Callable[[], _Shot]) -> None:
        self.work, self.done, self.abandoned = work, Future[_Shot](), False

    def run(self) -> None:
        try:
            self.done.set_result(self.work())
        except BaseException as error:  # raised again in the thread that waits for the result
            self.done.set_exception(error)


THREAD_NAME = "fast-nst photos"


class _Crew:
    """Threads that run tasks in order. An executor of the library could not give up a thread that hangs."""

    def __init__(self, size: int) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = [self._hire() for _ in range(size)]

    def _hire(self, first: _Task | None = None) -> threading.Thread:
        # A daemon, or a read that never returns would keep the whole program from ending.
        thread = threading.Thread(target=_serve, args=(self._tasks, first), name=THREAD_NAME, daemon=True)
        thread.start()
        return thread

    def submit(self, task: _Task) -> _Task:
        self._tasks.put(task)
        return task

    def retry(self, task: _Task) -> _Task:
        """Give up the thread the task hangs in, and run it in a new one at once."""
        task.abandoned = True
        again = _Task(task.work)
        self._threads.append(self._hire(again))
        return again

    def close(self) -> None:
        try:
            while True:
                self._tasks.get_nowait()
        except queue.Empty:
            for _ in self._threads:
                self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout=2)  # what hangs for longer is left behind


def _serve(tasks: queue.SimpleQueue[_Task | None], task: _Task | None) -> None:
    """A thread's life. It holds the queue only: a forgotten `PhotoBatches` is collected, which ends it."""
    task = task or tasks.get()
    while task is not None:
        task.run()
        if task.abandoned:
            return  # somebody else has taken its place
        task = tasks.get()


class PhotoBatches(Iterator[Batch]):
    """Batches without end, prepared ahead by threads.

    Threads, since decoding releases the interpreter's lock: no shared memory, no fork, nothing to be killed.

    Args:
        batch_size: of all ranks together; each takes an equal, contiguous share.
        image_size, photo_size: side of the crops, and short side of what they are cut from (`load_photo`).
        start_step: the step the first batch belongs to; any step costs the same.
        workers: threads. 0 reads where the batch is asked for, and then `timeout` has no effect.
        cache_bytes: memory for reduced photographs, used if all fit; "auto" is a quarter of what is free.
        max_bad: end with a `DatasetError` once more than this fraction of the files is bad.
        bad: of an earlier part of the same run, so that its list goes on.
        timeout: seconds a photograph may take before it is tried in another thread, three times over.
        ahead: batches prepared in advance.

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
        ahead: int = 4,
    ) -> None:
        if batch_size % world_size:
            near = max(1, round(batch_size / world_size)) * world_size
            raise InputError(f"--batch-size {batch_size} cannot be split among {world_size}; take {near}")
        if photo_size is not None and photo_size < image_size:
            raise InputError(f"--photo-size {photo_size} is less than the crops' --image-size {image_size}")
        count = len(source.names)
        known = {i: bad[name] for i, name in enumerate(source.names) if name in bad} if bad else {}
        self.source, self.step = source, start_step
        self.bad = {source.names[i]: reason for i, reason in known.items()}
        self._batch_size, self._seed, self._timeout, self._ahead = batch_size, seed, timeout, ahead
        self._share = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        # Rounded up, so that one bad file in a small folder does not end the run; 0 tolerates none.
        self._limit = math.ceil(round(max_bad * count, 6))
        budget = _free_memory() // 4 // world_size if cache_bytes == "auto" else cache_bytes
        self._reader = _Reader(source, image_size, photo_size, seed, self._limit, budget, known)
        self._pending: deque[list[_Task]] = deque()
        self._crew = _Crew(workers) if workers else None
        self._closer = weakref.finalize(self, self._crew.close) if self._crew else None
        self._closed = False

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        while len(self._pending) < (self._ahead if self._crew else 1):
            self._pending.append(self._prepare(self.step + len(self._pending)))
        tasks = self._pending[0]  # taken off at the end, so that Ctrl-C while waiting loses no step
        crops, indices = [], []
        for place in range(len(tasks)):
            shot = self._result(tasks, place)
            self._note(shot)
            assert shot.crop is not None  # else there were too many bad ones
            crops.append(shot.crop)
            indices.append(shot.index)
        self._pending.popleft()
        self.step += 1
        names = [self.source.names[index] for index in indices]
        return Batch(self.step - 1, torch.from_numpy(np.stack(crops)), indices, names)

    def _samples(self, step: int) -> list[Sample]:
        return batch_indices(self._seed, step, self._batch_size, len(self.source.names))[self._share]

    def _prepare(self, step: int) -> list[_Task]:
        tasks = [_Task(functools.partial(self._reader.shoot, sample)) for sample in self._samples(step)]
        return [self._crew.submit(task) for task in tasks] if self._crew else tasks

    def _result(self, tasks: list[_Task], place: int) -> _Shot:
        """Wait for one task. They start in this order, so the one waited for has started or soon will."""
        if self._crew is None:
            if not tasks[place].done.done():
                tasks[place].run()
            return tasks[place].done.result()
        for attempt in range(self.RETRIES + 1):
            try:
                return tasks[place].done.result(self._timeout)
            except TimeoutError:
                if tasks[place].done.done():  # raised by the task itself, not by waiting for it
                    raise
                if attempt < self.RETRIES:
                    tasks[place] = self._crew.retry(tasks[place])
        name = self.source.names[self._samples(self.step)[place].index]
        raise DatasetError(
            f"{self.source.where}: {name} was not read within {self._timeout:g} s, "
            f"{self.RETRIES + 1} times in a row; is the disk or the network there?"
        )

    def _note(self, shot: _Shot) -> None:
        self.bad |= {self.source.names[index]: reason for index, reason in shot.skipped.items()}
        if len(self.bad) > self._limit or shot.crop is None:
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


def _free_memory() -> int:
    """Bytes that can be had without swapping, in this container; 0 if the system does not say."""
    try:
        meminfo = Path("/proc/meminfo").read_text().split()
        free = int(meminfo[meminfo.index("MemAvailable:") + 1]) * 1024
    except (OSError, ValueError):
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return 0
    try:
        return min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free

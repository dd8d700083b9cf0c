"""Work that overlaps: a source read ahead of its consumer, a sink that works behind its producer.

Decoding, the network and encoding all release the interpreter's lock, so that three threads keep three of
them busy. The queues between them are short: memory stays constant whoever is slowest.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

__all__ = ["BackgroundWriter", "BoundedQueue", "prefetch"]

T = TypeVar("T")
_GLANCE = 0.1  # seconds between looks at whether the other side has gone


class BoundedQueue(Generic[T]):
    """A queue of so many places, whose ends a signal may interrupt at any moment.

    `queue.Queue` is not that: a Ctrl-C just after it took its lock leaves it locked for ever, and both sides
    waiting. These two simple queues are one C call each; an interrupted `put` costs a place, never the belt.
    """

    def __init__(self, places: int) -> None:
        self._items: SimpleQueue[T] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(places):
            self._places.put(None)

    def put(self, item: T, timeout: float | None = None) -> bool:
        """Whether there was a place in time."""
        try:
            self._places.get(timeout=timeout)
        except Empty:
            return False
        self._items.put(item)
        return True

    def append(self, item: T) -> None:
        """Put an item for which there need not be a place: the last one."""
        self._items.put(item)

    def get(self) -> T:
        """The next item, as soon as there is one."""
        item = self._items.get()
        self._places.put(None)
        return item

    def __len__(self) -> int:
        return self._items.qsize()


def prefetch(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items in the same order, each worked out in a thread up to `depth` ahead of being asked for.

    What the items raise is raised here. When the consumer leaves, the thread ends after the item in work.
    """
    queue: BoundedQueue[tuple[list[T], BaseException | None]] = BoundedQueue(depth)
    gone: list[bool] = []

    def work() -> None:
        try:
            for item in items:
                while not queue.put(([item], None), timeout=_GLANCE):
                    if gone:
                        return
                if gone:
                    return
            queue.append(([], None))
        except BaseException as error:  # it belongs to the consumer, whatever it is
            queue.append(([], error))

    thread = Thread(target=work, name="fast-nst ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = queue.get()
            if error is not None:
                raise error
            if not item:
                return
            yield item[0]
    finally:
        gone.append(True)
        thread.join()


class BackgroundWriter(Generic[T]):
    """A thread that takes what is put, in order, up to `depth` behind.

    Args:
        take: called with each item.
        done: called in the same thread when everything was taken and `close` was called.
        drop: called there instead of `done` after an error of `take`, or when `cancel` was called.
    """

    def __init__(
        self, take: Callable[[T], None], done: Callable[[], None], drop: Callable[[], None], depth: int
    ) -> None:
        self._take, self._done, self._drop = take, done, drop
        self._queue: BoundedQueue[list[T]] = BoundedQueue(depth)
        self._cancelled, self._error = False, list[BaseException]()
        # Signals reach the main thread alone: here, no Ctrl-C can cut a file's writing in two.
        self._thread = Thread(target=self._work, name="fast-nst sink", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items that were put and not yet taken."""
        return len(self._queue)

    def put(self, item: T) -> None:
        """Hand an item over; waits for a place. Raises what `take` raised of an earlier one."""
        while not self.offer(item, _GLANCE):
            pass

    def offer(self, item: T, timeout: float = 0.0) -> bool:
        """As `put`, but an item for which there is no place in time is left out, and False returned."""
        self._raise()
        return self._queue.put([item], timeout)

    def close(self) -> None:
        """Wait until everything is taken and done. Raises what went wrong."""
        self._queue.append([])
        self._thread.join()
        self._raise()

    def cancel(self) -> None:
        """Take no more, and drop what was taken."""
        self._cancelled = True
        self._queue.append([])
        self._thread.join()

    def _raise(self) -> None:
        if self._error:
            raise self._error[0]

    def _work(self) -> None:
        try:
            while item := self._queue.get():
                if not self._cancelled:
                    self._take(item[0])
            (self._drop if self._cancelled else self._done)()
        except BaseException as error:  # raised by the next `put` or `close`
            self._error.append(error)
            self._drop()

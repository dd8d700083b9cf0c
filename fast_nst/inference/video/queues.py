"""Stages of a pipeline in threads: a source that prefetches for its consumer, a writer behind its producer.

Decoding, the network and encoding all release the interpreter's lock, so that three threads keep all three
busy. The queues between them are short: memory stays constant whichever is slowest.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

__all__ = ["BackgroundWriter", "BoundedQueue", "prefetch"]

T = TypeVar("T")
_POLL = 0.1  # seconds between checks whether the other side has ended


class BoundedQueue(Generic[T]):
    """A queue of limited length that a signal may interrupt at any moment.

    `queue.Queue` may not: a Ctrl-C just after it took its lock leaves it locked, and both sides waiting.
    These two simple queues are one C call each; an interrupted `put` loses a place and never blocks.
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
    """The same items in the same order, computed in a thread up to `depth` items ahead of the consumer.

    What the items raise is raised here. When the consumer stops, the thread ends after its current item.
    """
    queue: BoundedQueue[tuple[list[T], BaseException | None]] = BoundedQueue(depth)
    stopped: list[bool] = []

    def work() -> None:
        try:
            for item in items:
                while not queue.put(([item], None), timeout=_POLL):
                    if stopped:
                        return
                if stopped:
                    return
            queue.append(([], None))
        except BaseException as error:  # it belongs to the consumer, whatever it is
            queue.append(([], error))

    thread = Thread(target=work, name="fast-nst prefetch", daemon=True)
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
        stopped.append(True)
        thread.join()


class BackgroundWriter(Generic[T]):
    """A thread that processes what is put, in order, up to `depth` items behind.

    Args:
        process: called with each item.
        finish: called in the same thread after the last item, once `close` was called.
        abandon: called there instead after an exception of one of the two.
    """

    def __init__(
        self,
        process: Callable[[T], None],
        finish: Callable[[], None],
        abandon: Callable[[], None],
        depth: int,
    ) -> None:
        self._process, self._finish, self._abandon = process, finish, abandon
        self._queue: BoundedQueue[list[T]] = BoundedQueue(depth)
        self._error = list[BaseException]()
        # Signals reach the main thread alone: here, no Ctrl-C can cut a file's writing in two.
        self._thread = Thread(target=self._work, name="fast-nst writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items that were put and are not yet processed."""
        return len(self._queue)

    @property
    def finished(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def put(self, item: T) -> None:
        """Queue an item; waits for a free place. Raises what processing an earlier one raised."""
        while not self.offer(item, _POLL):
            pass

    def offer(self, item: T, timeout: float = 0.0) -> bool:
        """As `put`, but an item for which no place becomes free in time is dropped, and False returned."""
        self._raise()
        return self._queue.put([item], timeout)

    def close(self) -> None:
        """Wait until everything is processed and finished. Raises what went wrong."""
        self._queue.append([])
        try:
            self._thread.join()
        except BaseException:  # the first Ctrl-C waits for what is queued; a second one does not
            self._thread.join()
            raise
        self._raise()

    def _raise(self) -> None:
        if self._error:
            raise self._error[0]

    def _work(self) -> None:
        try:
            while item := self._queue.get():
                self._process(item[0])
            self._finish()
        except BaseException as error:  # raised by the next `put` or `close`
            self._error.append(error)
            self._abandon()

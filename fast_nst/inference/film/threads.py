"""Work that overlaps: a source read ahead of its consumer, a sink that works behind its producer.

Decoding, the network and encoding all release the interpreter's lock, so that three threads keep three of
them busy. The queues between them are short: memory stays constant whoever is slowest.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

__all__ = ["Sink", "ahead"]

T = TypeVar("T")
_GLANCE = 0.1  # seconds between looks at whether the other side has gone


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items in the same order, each worked out in a thread up to `depth` ahead of being asked for.

    What the items raise is raised here. When the consumer leaves, the thread ends after the item in work.
    """
    ready: Queue[tuple[list[T], BaseException | None]] = Queue(depth)
    gone = Event()

    def hand_over(item: list[T], error: BaseException | None = None) -> None:
        while not gone.is_set():
            with suppress(Full):
                ready.put((item, error), timeout=_GLANCE)
                return

    def work() -> None:
        try:
            for item in items:
                hand_over([item])
                if gone.is_set():
                    return
            hand_over([])
        except BaseException as error:  # it belongs to the consumer, whatever it is
            hand_over([], error)

    thread = Thread(target=work, name="fast-nst ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if not item:
                return
            yield item[0]
    finally:
        gone.set()
        thread.join()


class Sink(Generic[T]):
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
        self._queue: Queue[list[T]] = Queue(depth)
        self._cancelled, self._error = Event(), list[BaseException]()
        # Signals reach the main thread alone: here, no Ctrl-C can cut a file's writing in two.
        self._thread = Thread(target=self._work, name="fast-nst sink", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand an item over; waits while the queue is full. Raises what `take` raised of an earlier one."""
        self._raise()
        self._queue.put([item])

    def offer(self, item: T) -> bool:
        """As `put`, but an item that the queue has no room for is left out, and False returned."""
        self._raise()
        try:
            self._queue.put_nowait([item])
        except Full:
            return False
        return True

    def close(self) -> None:
        """Wait until everything is taken and done. Raises what went wrong."""
        if self._thread.is_alive():
            self._queue.put([])
        self._thread.join()
        self._raise()

    def cancel(self) -> None:
        """Take no more, and drop what was taken."""
        self._cancelled.set()
        while self._thread.is_alive():
            with suppress(Full):
                self._queue.put([], timeout=_GLANCE)
            self._thread.join(_GLANCE)

    def _raise(self) -> None:
        if self._error:
            raise self._error[0]

    def _work(self) -> None:
        try:
            while item := self._queue.get():
                if not self._cancelled.is_set():
                    self._take(item[0])
            (self._drop if self._cancelled.is_set() else self._done)()
        except BaseException as error:  # raised by the next `put` or `close`
            self._error.append(error)
            self._drop()
            self._empty()

    def _empty(self) -> None:
        """Keep the producer from waiting at a full queue for ever."""
        self._cancelled.set()
        while True:
            try:
                if not self._queue.get(timeout=10 * _GLANCE):
                    return
            except Empty:
                return

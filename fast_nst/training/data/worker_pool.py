"""Threads that run work items in order; one that hangs can be replaced."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

__all__ = ["THREAD_NAME", "WorkItem", "WorkerPool"]

T = TypeVar("T")


class WorkItem(Generic[T]):
    """Work for some thread, and its result."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work, self.done, self.abandoned = work, Future[T](), False

    def run(self) -> None:
        try:
            self.done.set_result(self.work())
        except BaseException as error:  # raised again in the thread that waits for the result
            self.done.set_exception(error)


THREAD_NAME = "fast-nst photos"


class WorkerPool:
    """Threads that run work items in order. `ThreadPoolExecutor` cannot replace a thread that hangs."""

    def __init__(self, size: int) -> None:
        self._queue: queue.SimpleQueue[WorkItem[Any] | None] = queue.SimpleQueue()
        self._threads = [self._start_thread() for _ in range(size)]

    def _start_thread(self, first: WorkItem[Any] | None = None) -> threading.Thread:
        # A daemon, or a read that never returns would keep the whole program from ending.
        thread = threading.Thread(target=_serve, args=(self._queue, first), name=THREAD_NAME, daemon=True)
        thread.start()
        return thread

    def submit(self, item: WorkItem[Any]) -> WorkItem[Any]:
        self._queue.put(item)
        return item

    def retry(self, item: WorkItem[Any]) -> WorkItem[Any]:
        """Abandon the thread that the item hangs in, and run it in a new one at once."""
        item.abandoned = True
        again = WorkItem(item.work)
        self._threads.append(self._start_thread(again))
        return again

    def close(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout=2)  # a thread that hangs longer is abandoned


def _serve(items: queue.SimpleQueue[WorkItem[Any] | None], item: WorkItem[Any] | None) -> None:
    """A thread's loop. It holds the queue only: a forgotten `PhotoBatches` is collected, which ends it."""
    item = item or items.get()
    while item is not None:
        item.run()
        if item.abandoned:
            return  # another thread has taken its place
        item = items.get()

"""Threads that run tasks in order, and one of which can be given up where it hangs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

__all__ = ["THREAD_NAME", "Task", "WorkerPool"]

T = TypeVar("T")


class Task(Generic[T]):
    """Work that some thread does."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work, self.done, self.abandoned = work, Future[T](), False

    def run(self) -> None:
        try:
            self.done.set_result(self.work())
        except BaseException as error:  # raised again in the thread that waits for the result
            self.done.set_exception(error)


THREAD_NAME = "fast-nst photos"


class WorkerPool:
    """Threads that run tasks in order. An executor of the library could not give up a thread that hangs."""

    def __init__(self, size: int) -> None:
        self._tasks: queue.SimpleQueue[Task[Any] | None] = queue.SimpleQueue()
        self._threads = [self._hire() for _ in range(size)]

    def _hire(self, first: Task[Any] | None = None) -> threading.Thread:
        # A daemon, or a read that never returns would keep the whole program from ending.
        thread = threading.Thread(target=_serve, args=(self._tasks, first), name=THREAD_NAME, daemon=True)
        thread.start()
        return thread

    def submit(self, task: Task[Any]) -> Task[Any]:
        self._tasks.put(task)
        return task

    def retry(self, task: Task[Any]) -> Task[Any]:
        """Give up the thread the task hangs in, and run it in a new one at once."""
        task.abandoned = True
        again = Task(task.work)
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


def _serve(tasks: queue.SimpleQueue[Task[Any] | None], task: Task[Any] | None) -> None:
    """A thread's life. It holds the queue only: a forgotten `PhotoBatches` is collected, which ends it."""
    task = task or tasks.get()
    while task is not None:
        task.run()
        if task.abandoned:
            return  # somebody else has taken its place
        task = tasks.get()

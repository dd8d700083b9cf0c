"""The parts of the server that need no socket."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from fast_nst.config.web import WebConfig
from fast_nst.errors import InputError
from fast_nst.web import protocol
from fast_nst.web.guard import is_loopback
from fast_nst.web.jobs import JobQueue, WebJob
from fast_nst.web.parameters import Parameters
from fast_nst.web.refusals import Refusal
from fast_nst.web.storage import Storage
from fast_nst.web.turns import Turns


def test_turns_are_given_in_the_order_in_which_they_are_asked_for() -> None:
    turns, order = Turns(), []

    def work(number: int) -> None:
        with turns:
            order.append(number)

    with turns:
        threads = []
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while turns.waiting <= number:
                time.sleep(0.001)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_a_turn_given_back_goes_to_who_waits_and_not_to_who_had_it() -> None:
    turns, order, stop = Turns(), [], threading.Event()

    def video() -> None:
        while not stop.is_set():
            with turns:
                order.append("video")

    thread = threading.Thread(target=video)
    thread.start()
    for _ in range(20):
        with turns:
            order.append("camera")
    stop.set()
    thread.join()
    assert order.count("camera") == 20


def job_in(storage: Storage) -> WebJob:
    folder = storage.new_folder()
    (folder / "image").write_bytes(b"x")
    parameters = Parameters({"dots": 1.0})
    return WebJob(folder, folder / "image", folder / "result.png", "a.png", parameters)


def test_results_expire_and_failures_leave_nothing() -> None:
    def run(job: WebJob) -> None:
        if job.size == 1:
            raise InputError("a reason\nin two lines")
        if job.size == 2:
            raise RuntimeError("a defect")
        job.target.write_bytes(b"made")

    with Storage(10**6) as storage:
        queue, jobs = JobQueue(run, 8), [job_in(storage) for _ in range(3)]
        jobs[1].size, jobs[2].size = 1, 2
        for job in jobs:
            queue.add(job)
        while len(queue):
            time.sleep(0.005)
        assert [job.state for job in jobs] == ["done", "failed", "failed"]
        assert jobs[1].message == "a reason in two lines"
        assert jobs[2].message == "internal error, RuntimeError: a defect"
        assert [path.name for path in storage.folder.rglob("*") if path.is_file()] == ["result.png"]
        queue.remove_expired(0.0)
        assert list(storage.folder.iterdir()) == []
        with pytest.raises(Refusal, match="no such job"):
            queue.get(jobs[0].id)
        queue.close()
        with pytest.raises(Refusal, match="shutting down"):
            queue.add(jobs[0])


def test_a_full_queue_refuses_before_the_upload() -> None:
    go = threading.Event()
    with Storage(10**6) as storage:
        queue = JobQueue(lambda job: (go.wait(20), None)[1], 2)
        jobs = [job_in(storage) for _ in range(3)]
        queue.add(jobs[0])
        while queue.place(jobs[0]):
            time.sleep(0.001)
        queue.add(jobs[1])
        queue.add(jobs[2])
        assert [queue.place(job) for job in jobs] == [0, 1, 2]
        with pytest.raises(Refusal, match="2 jobs are waiting") as refused:
            queue.check_room()
        assert refused.value.status == 503
        go.set()
        queue.close()


def test_the_private_folder_is_private_limited_and_removed() -> None:
    with Storage(1000) as storage:
        assert stat.S_IMODE(storage.folder.stat().st_mode) == 0o700
        storage.check_room(900)
        with pytest.raises(Refusal, match="limit"):
            storage.check_room(200)
        folder = storage.folder
    assert not folder.exists()


@pytest.mark.parametrize(
    ("loopback", "hosts"),
    [
        (True, ["127.0.0.1", "127.5.5.5", "::1", "[::1]", "localhost"]),
        (False, ["0.0.0.0", "::", "192.168.1.5", "example.org", ""]),
    ],
)
def test_loopback_addresses_are_known(loopback: bool, hosts: list[str]) -> None:
    assert [is_loopback(host) for host in hosts] == [loopback] * 5


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"port": -1}, "--port"),
        ({"port": 65536}, "--port"),
        ({"host": ""}, "--host"),
        ({"max_upload": "much"}, "--max-upload"),
        ({"max_video": "0"}, "--max-video"),
        ({"max_jobs": 0}, "--max-jobs"),
        ({"memory": "x"}, "--memory"),
    ],
)
def test_options_out_of_range_are_refused(option: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        WebConfig(**option)


@pytest.mark.parametrize("receives", [True, False])
def test_a_client_that_does_not_receive_is_cut_off(monkeypatch: pytest.MonkeyPatch, receives: bool) -> None:
    monkeypatch.setattr(protocol, "STALLED_SECONDS", 0.05)

    class Connection(protocol._EndsStalled, asyncio.Protocol):
        pass

    async def sends() -> list[str]:
        ended: list[str] = []
        connection: Any = Connection()
        connection.loop = asyncio.get_running_loop()
        connection.transport = SimpleNamespace(abort=lambda: ended.append("aborted"))
        connection.pause_writing()
        if receives:
            connection.resume_writing()
        await asyncio.sleep(0.2)
        connection.connection_lost(None)
        return ended

    assert asyncio.run(sends()) == ([] if receives else ["aborted"])


def test_a_short_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_NST_WEB_TOKEN", "secret")
    with pytest.raises(InputError, match="16 or more"):
        WebConfig()


def test_the_library_imports_no_web_framework() -> None:
    code = "import sys, fast_nst, fast_nst.cli.web, fast_nst.inference.stylizer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"fastapi", "starlette", "uvicorn", "websockets"} & set(done.stdout.split())


def test_the_server_starts_without_torch() -> None:
    code = "import sys, fast_nst.web.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout.split()

"""Whole files and whole lines, also when the writer is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fast_nst.errors import FileError
from fast_nst.io import files
from fast_nst.io.files import AtomicFile, LineLog, remove_stale_partials, write_atomically

HELD = """
import os, sys
from pathlib import Path
from fast_nst.io import files
def wait(*_):  # in place of the rename
    print("written", flush=True)
    sys.stdin.read()
files.os.replace = wait
files.write_atomically(Path("a.png"), b"half")
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has written a file's bytes, and does not get as far as renaming it."""
    words = [sys.executable, "-c", HELD]
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[2])}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_nobody_finishes_goes_and_what_a_child_process_forgets_stays(tmp_path: Path) -> None:
    whole = files.AtomicFile(tmp_path / "a")
    (name,) = os.listdir(tmp_path)
    if not (child := os.fork()):
        del whole
        os._exit(len(os.listdir(tmp_path)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert os.listdir(tmp_path) == [name]
    whole.file.close()
    del whole
    assert os.listdir(tmp_path) == []


def test_what_a_living_process_is_writing_is_no_leftover_and_what_a_killed_one_wrote_is(
    writer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (tmp_path / ".mine.partial").touch()
    (name,) = (n for n in os.listdir(tmp_path) if n != ".mine.partial")
    remove_stale_partials([tmp_path, tmp_path / "not there"])
    assert (tmp_path / name).read_bytes() == b"half"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert (tmp_path / name).exists()
    remove_stale_partials([tmp_path])
    assert os.listdir(tmp_path) == [".mine.partial"]


def test_a_file_taken_for_a_leftover_before_it_was_locked_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    lock = fcntl.flock
    seen: list[int] = []

    def late(file: int, how: int) -> None:
        if not seen:  # another process comes between opening and locking
            seen.append(file)
            remove_stale_partials([tmp_path])
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write_atomically(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("torn", [b"", b"{", b'{"half": of a l', b"{" * 10_000])
@pytest.mark.parametrize("before", [b"", b"{}\n{}\n"])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, before: bytes, torn: bytes) -> None:
    path = tmp_path / "deep/log"
    path.parent.mkdir()
    path.write_bytes(before + torn)
    log = LineLog(path)
    assert path.read_bytes() == before
    with path.open("ab") as other:  # one that is killed later
        other.write(torn)
    log.append("three")
    assert path.read_bytes() == before + b"three\n"
    log.close()


def append(path: Path, name: str) -> None:
    log = LineLog(path)
    for i in range(300):
        log.append(f"{{ {name} {i} " + name * 500)
    log.close()


def test_lines_of_several_processes_stay_whole_and_in_order(tmp_path: Path) -> None:
    path, context = tmp_path / "log", multiprocessing.get_context("spawn")
    writers = [context.Process(target=append, args=(path, name)) for name in "abc"]
    for process in writers:
        process.start()
    while not path.exists() or path.stat().st_size < 20_000:
        time.sleep(0.01)
    writers[0].kill()
    for process in writers:
        process.join()
    lines = [line.split(" ")[1:] for line in path.read_text().splitlines()]
    assert all(words == [words[0], words[1], words[0] * 500] for words in lines)
    for name in "bc":
        assert [int(i) for first, i, _ in lines if first == name] == list(range(300))


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = LineLog(tmp_path / "log"), os.write
    log.append("one")

    def full(file: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(28, "No space left on device")
        return write(file, data[:-3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        log.append("a long line")
    monkeypatch.setattr(os, "write", write)
    log.append("two")
    log.close()
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(mode)
    with AtomicFile(path) as whole:
        partial = next(name for name in tmp_path.iterdir() if name != path)
        assert stat.S_IMODE(partial.stat().st_mode) == mode  # also while it is written
        whole.file.write(b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_set_user_id_bit_is_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    path.chmod(0o4755)
    write_atomically(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_a_link_gives_a_new_file_neither_its_permissions_nor_its_place(tmp_path: Path) -> None:
    secret, link = tmp_path / "secret", tmp_path / "link"
    secret.write_bytes(b"old")
    secret.chmod(0o600)
    link.symlink_to(secret)
    write_atomically(link, b"new")
    assert secret.read_bytes() == b"old"
    assert not link.is_symlink()


def test_a_log_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(b"no line end")
    (tmp_path / "log").symlink_to(tmp_path / "notes")
    with pytest.raises(OSError, match="symbolic"):
        LineLog(tmp_path / "log")
    assert (tmp_path / "notes").read_bytes() == b"no line end"


def test_a_file_that_is_no_log_is_not_cut(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    os.mkfifo(tmp_path / "fifo")
    for name in ("a.png", "fifo"):
        with pytest.raises(FileError, match="is not a log of JSON lines"):
            LineLog(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes().endswith(b"so on")

"""Streams that are closed, full or broken, and signals: no traceback and the right exit code."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fast_nst.cli import common, progress
from fast_nst.cli.progress import ProgressBar

ROOT = Path(__file__).parents[2]
ALL = ">&- 2>&- <&-"
CLOSED = [">&-", "2>&-", "<&-", ALL]
COMMANDS = {
    "": 2,
    "--help": 0,
    "--version": 0,
    "nonsense": 2,
    "styles": 0,
    "models --json": 0,
    "train --help": 0,
    "train": 2,
    "stylize gone.jpg --sise 3": 2,
    "export starry-night --fromat onnx": 2,
    "compare": 2,
}


def shell(words: str, redirect: str, cwd: Path | str = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} {words} {redirect}"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.parametrize(
    ("redirect", "commands"),
    [
        (ALL, COMMANDS),
        *(pytest.param(one, COMMANDS, marks=pytest.mark.slow) for one in CLOSED[:3]),
    ],
)
def test_closed_streams_change_no_exit_code_and_cause_no_traceback(redirect: Any, commands: Any) -> None:
    for words, code in COMMANDS.items():
        if words not in commands:
            continue
        answer = shell(f"-m fast_nst {words}", redirect)
        said = answer.stdout + answer.stderr
        assert answer.returncode == code, (words, said)
        assert "Traceback (most" not in said, words
        assert "rror: " not in said or said.count("rror: ") == 1, (words, said)


@pytest.mark.slow
def test_a_picture_is_whole_when_no_stream_is_open(
    style: str, picture: Callable[..., Path], here: Path
) -> None:
    picture("a.png", 20, 30)
    answer = shell(
        f"{ROOT}/stylize.py a.png --style {style} --backend torch --device cpu", ">&- 2>&- <&-", here
    )
    assert answer.returncode == 0
    with Image.open("a_dots.png") as image:
        image.load()
        assert image.size == (30, 20)


@pytest.mark.parametrize(
    ("words", "redirect", "told"),
    [
        ("a.png --out - --format png", ">&-", "error: stdout is closed; give --out FILE"),
        ("- --out b.png", "<&-", "error: stdin is closed; give it a picture: - < photo.jpg"),
    ],
)
def test_a_picture_cannot_go_through_a_closed_stream(
    style: str, picture: Callable[..., Path], here: Path, words: str, redirect: str, told: str
) -> None:
    picture("a.png")
    answer = shell(f"{ROOT}/stylize.py {words} --style {style}", redirect, here)
    assert (answer.returncode, answer.stdout, answer.stderr.splitlines()) == (2, "", [told])


@pytest.mark.parametrize("words", ["--help", "models --json"])
def test_a_reader_that_has_gone_is_no_traceback(words: str) -> None:
    command = [sys.executable, "-u", "-m", "fast_nst", *words.split()]
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=280)
    os.close(writing)
    assert (process.returncode, process.stderr) == (1, b"")


def test_a_full_disk_behind_stderr_ends_nothing() -> None:
    assert shell("-m fast_nst styles", "2> /dev/full").returncode == 0
    full = shell("-m fast_nst styles", "> /dev/full")
    assert (full.returncode, full.stderr) == (1, "error: No space left on device\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_an_import_that_catches_exceptions_ends_quietly(
    tmp_path: Path, number: int, code: int
) -> None:
    (tmp_path / "greedy.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {number.value})\n    [0 for _ in range(10**7)]\n"
        "except BaseException:\n    raise ImportError('cannot load module more than once') from None\n"
    )
    # A shell starts what runs in the background with SIGINT ignored.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "from fast_nst.cli.common import guarded, leave; import importlib\n"
    script += "leave(guarded(lambda _: importlib.import_module('greedy'))([]))"
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert process.returncode == code
    assert process.stderr in ("error: terminated\n", "error: interrupted\n")


HOSTILE = "a\x1b[2J\x1b]0;title\x07\u202eb\r\nc\udcff.png"


class Terminal(io.StringIO):
    """A terminal that remembers what was written to it, and has bytes below."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = io.BytesIO()  # type: ignore[misc]

    def isatty(self) -> bool:
        return True


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c in "\n" for c in text)


def test_a_file_s_name_reaches_a_terminal_without_what_it_would_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, other = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", other)
    common.put(HOSTILE)
    common.say(HOSTILE)
    for shown in (screen.buffer.getvalue().decode(), other.getvalue()):
        assert is_harmless(shown)
        assert r"a\x1b[2J\x1b]0;title\x07\u202eb" in shown


def test_a_script_gets_a_file_s_name_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Terminal()
    pipe.isatty = lambda: False
    monkeypatch.setattr(sys, "stdout", pipe)
    common.put(HOSTILE)
    assert pipe.buffer.getvalue() == os.fsencode(HOSTILE + "\n")


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Makes stderr a terminal, with bars that are drawn often."""

    def install() -> Terminal:
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_REFRESHES", 0.02)
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        return terminal

    return install


def shown_lines(screen: Terminal) -> list[str]:
    """The lines of a terminal: what follows the last return on each."""
    return [line.rpartition("\r")[2] for line in screen.getvalue().split("\n")]


def test_lines_that_others_print_stand_whole_above_the_bar(on_screen: Callable[[], Terminal]) -> None:
    screen = on_screen()
    with ProgressBar(10, "step") as bar:
        for done in range(1, 6):
            bar.show(done, "", {"loss": "1.0"})
            time.sleep(0.03)
            print("a warning of", "another library", file=sys.stderr)
        sys.stderr.write("no line end")
    assert shown_lines(screen).count("a warning of another library") == 5
    assert sys.stderr is screen
    assert screen.getvalue().endswith("no line end")


def test_a_bar_for_a_hostile_name_shows_it_harmlessly(on_screen: Callable[[], Terminal]) -> None:
    screen = on_screen()
    with ProgressBar(10, "frame", name=HOSTILE) as bar:
        bar.show(1, "")
    assert "\x1b[2J" not in screen.getvalue()


def test_a_bar_that_counts_time_moves_while_nothing_is_reported(on_screen: Callable[[], Terminal]) -> None:
    screen = on_screen()
    with ProgressBar(60, "second") as bar:
        bar.show(10.6, "")
        deadline = time.monotonic() + 20
        while "0:12 of 1:00" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "0:12 of 1:00" in screen.getvalue()


def test_a_bar_whose_terminal_has_gone_ends_nothing(
    on_screen: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = on_screen()

    def gone(_: str) -> int:
        raise OSError(5, "Input/output error")

    with ProgressBar(10, "step") as bar:
        bar.show(1, "")
        monkeypatch.setattr(screen, "write", gone)
        bar.show(2, "", {"loss": "1.0"})
        common.say("a message")

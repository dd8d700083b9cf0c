"""``fast-nst``: one command for all of them, and the list of bundled styles."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fast_nst import __version__
from fast_nst.cli import common, main, styles
from fast_nst.errors import InputError

if TYPE_CHECKING:
    from tests.cli.conftest import Said

ROOT = Path(__file__).parents[2]


def test_without_a_command_it_lists_them(said: Callable[..., Said]) -> None:
    answer = said(main.main, [])
    assert answer.code == 2
    assert answer.out == []
    for name in ("train", "stylize", "styles", "import"):
        assert any(name in line for line in answer.err)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_commands_on_stdout(said: Callable[..., Said], flag: str) -> None:
    answer = said(main.main, [flag])
    assert answer.code == 0
    assert answer.err == []
    assert any("fast-nst stylize" in line for line in answer.out)


def test_the_version_is_the_package_s(said: Callable[..., Said]) -> None:
    assert said(main.main, ["--version"]).out == [f"fast-nst {__version__}"]


def test_an_unknown_command_gets_the_nearest_name(said: Callable[..., Said]) -> None:
    answer = said(main.main, ["stilize"])
    assert answer.code == 2
    assert answer.err[0] == "error: unknown command 'stilize'; did you mean 'stylize'?"
    assert "did you mean" not in said(main.main, ["qqq"]).err[0]


@pytest.mark.parametrize(
    "name", ["train", "stylize", "styles", "import", "export", "optimize", "reconstruct", "study", "compare"]
)
def test_each_command_has_its_help_and_its_explanation_under_its_own_name(
    said: Callable[..., Said], name: str
) -> None:
    answer = said(main.main, [name, "--help"])
    assert answer.code == 0
    assert answer.out[0].startswith(f"usage: fast-nst {name}")
    assert not any(f"{name}.py" in line for line in answer.out)


def test_the_package_can_be_run() -> None:
    words = [sys.executable, "-m", "fast_nst", "--version"]
    answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == f"fast-nst {__version__}\n"


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, style: str) -> None:
    """The test's style, as the only bundled one."""
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(Path(style).parent))


@pytest.mark.usefixtures("bundle")
def test_bundled_styles_are_listed_with_width_and_steps(said: Callable[..., Said]) -> None:
    answer = said(styles.main, [])
    assert answer.code == 0
    assert answer.err == []
    (line,) = answer.out
    assert line.split()[:4] == ["dots", "4-4-8", "1", "steps"]


@pytest.mark.usefixtures("bundle")
def test_bundled_styles_are_reported_in_json_with_what_their_files_say(said: Callable[..., Said]) -> None:
    (line,) = said(styles.main, ["--json"]).out
    record = json.loads(line)
    assert record["style"] == "dots"
    assert record["network"]["widths"] == [4, 4, 8]
    assert Path(record["file"]).is_file()


def test_a_copy_without_styles_says_so_and_lists_none(
    said: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(tmp_path))
    answer = said(styles.main, ["--json"])
    assert (answer.code, answer.out) == (0, [])
    assert len(answer.err) == 1


def test_a_damaged_file_does_not_hide_the_others(
    said: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, style: str, tmp_path: Path
) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 100)
    shutil.copy(style, tmp_path)
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(tmp_path))
    answer = said(styles.main, [])
    assert (answer.code, len(answer.errors)) == (1, 1)
    assert "damaged.safetensors" in answer.errors[0]
    assert [line.split()[0] for line in answer.out] == ["dots"]


def test_a_bundled_style_stylizes_by_its_name(
    bundle: None, said: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    picture("a.png")
    answer = said(main.main, ["stylize", "a.png", "--style", "dots"])
    assert (answer.code, answer.out) == (0, ["a_dots.png"])


def raising(error: BaseException) -> Any:
    def command(_: list[str]) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("no such thing"), 2, "error: no such thing"),
        (InputError("bad\nname\x1b[2J\udcff é"), 2, r"error: bad name\x1b[2J\udcff é"),
        (
            FileNotFoundError(2, "No such file or directory", "a.jpg"),
            1,
            "error: a.jpg: No such file or directory",
        ),
        (OSError(28, "No space left on device"), 1, "error: No space left on device"),
        (OSError(), 1, "error: OSError"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (common.Terminated(), 143, "error: terminated"),
    ],
)
def test_what_a_user_can_cause_ends_in_one_line_and_a_code(
    said: Callable[..., Said], error: Any, code: int, line: str
) -> None:
    answer = said(common.guarded(raising(error)), [])
    assert (answer.code, answer.out, answer.err) == (code, [], [line])


def test_what_only_we_can_cause_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        common.guarded(raising(ZeroDivisionError()))([])

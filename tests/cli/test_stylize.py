"""``stylize.py``: what it writes, what it says, and how it ends."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import termios
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fast_nst.cli import progress
from fast_nst.cli import stylize as command
from fast_nst.config import StylizeConfig
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.tiled import memory_budget
from fast_nst.io.images import MAX_PIXELS
from fast_nst.io.remote import read_bytes, write_bytes
from fast_nst.models.checkpoint import load_checkpoint
from fast_nst.system.memory import resident_memory

if TYPE_CHECKING:
    from tests.cli.conftest import Said

SCRIPT = Path(__file__).parents[2] / "stylize.py"


@pytest.fixture
def stylize(said: Callable[..., Said], style: str) -> Callable[..., Said]:
    """``stylize ARGUMENTS`` with the test's style."""
    return lambda *arguments: said(command.main, [*arguments, "--style", style])


@pytest.fixture
def headline(style: str) -> str:
    """What is said once: the style, and where and how it is painted, which depends on what is installed."""
    return f"dots, {Stylizer.load(style)}"


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def script(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(words, capture_output=True, timeout=280, env=environment, **options)


def pixels(path: Path | str) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def test_without_arguments_it_explains_itself_in_a_few_lines(said: Callable[..., Said]) -> None:
    answer = said(command.main, [])
    assert answer.code == 2
    assert answer.out == []
    assert 3 <= len(answer.err) <= 12
    assert any("--style" in line and ".jpg" in line for line in answer.err)


@pytest.mark.parametrize("name", ["stylize.py", "train.py"])
def test_help_comes_quickly_and_without_torch(name: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{name!r}, '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    before = os.times().children_user  # processor time: the machine may be busy
    answer = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True)
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert answer.stdout.startswith(f"usage: {name}")
    assert "--config" in answer.stdout
    assert "{None}" not in answer.stdout
    assert "default: None" not in answer.stdout
    assert os.times().children_user - before < 1


def test_files_get_the_full_width_style_unless_another_is_named_and_the_camera_the_fast_one(
    said: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    photo = picture("photo.png")
    assert said(command.main, [photo]).out == ["photo_starry-night-full.png"]
    assert said(command.main, [photo, "--style", "", "--overwrite"]).code == 2
    answer = said(command.main, ["gone.mp4", "--live", "--no-window", "--out", "live.mp4"])
    assert answer.code != 0
    assert any(line.startswith("starry-night, ") for line in answer.err)


def test_no_picture_is_a_usage_error(stylize: Callable[..., Said]) -> None:
    answer = stylize()
    assert answer.code == 2
    assert answer.errors == answer.err
    assert "no picture" in answer.err[0]


def test_a_picture_is_stylized_into_the_current_folder(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path, headline: str
) -> None:
    picture("in/photo.jpg", 11, 14)
    answer = stylize("in/photo.jpg")
    assert answer.code == 0
    assert answer.out == ["photo_dots.jpg"]
    assert answer.err == [headline]
    assert pixels("photo_dots.jpg").shape == (11, 14, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 30), (7, 5), (32, 33)])
def test_a_result_has_the_size_of_its_picture(
    stylize: Callable[..., Said], picture: Callable[..., Path], height: int, width: int
) -> None:
    picture("a.png", height, width)
    assert stylize("a.png").code == 0
    assert pixels("a_dots.png").shape == (height, width, 3)


def test_a_result_is_what_the_library_makes(
    stylize: Callable[..., Said], picture: Callable[..., Path], style: str
) -> None:
    path = picture("a.png", 9, 12)
    stylize(str(path), "--precision", "fp32")
    image = torch.from_numpy(pixels(path).copy()).permute(2, 0, 1).float() / 255
    expected = (Stylizer.load(style, precision="fp32")(image) * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels("a_dots.png"), expected)


@pytest.mark.parametrize(
    ("out", "written"),
    [
        ("b.png", "b.png"),
        ("b.webp", "b.webp"),
        ("new/folder/b.png", "new/folder/b.png"),
        ("there", "there/a.png"),
        ("new/", "new/a.png"),
    ],
)
def test_out_names_a_file_or_a_folder(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path, out: str, written: str
) -> None:
    picture("a.png")
    (here / "there").mkdir()
    answer = stylize("a.png", "--out", out)
    assert answer.out == [written]
    assert (here / written).is_file()


@pytest.mark.parametrize(
    ("source", "result"), [("a.gif", "a_dots.png"), ("A.JPG", "A_dots.JPG"), ("a", "a_dots.png")]
)
def test_an_ending_that_cannot_be_written_becomes_png(
    stylize: Callable[..., Said], picture: Callable[..., Path], source: str, result: str
) -> None:
    picture(source, format="GIF" if source == "a.gif" else "PNG")
    assert stylize(source).out == [result]


def test_the_format_can_be_chosen(stylize: Callable[..., Said], picture: Callable[..., Path]) -> None:
    picture("a.png")
    assert stylize("a.png", "--format", "jpg").out == ["a_dots.jpg"]
    assert stylize("a.png", "--out", "painting", "--format", "PNG").out == ["painting"]
    with Image.open("a_dots.jpg") as jpeg, Image.open("painting") as png:
        assert (jpeg.format, png.format) == ("JPEG", "PNG")


def test_several_pictures_and_patterns_are_stylized_in_order(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    for name in ("b.png", "c1.png", "c2.png", "d.txt"):
        picture(name, format="PNG")
    answer = stylize("b.png", "c*.png", "--out", "results/")
    assert answer.out == ["results/b.png", "results/c1.png", "results/c2.png"]


def test_a_picture_named_twice_is_stylized_once(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    picture("a.png")
    assert stylize("a.png", "./a.png", "*.png").out == ["a_dots.png"]


def test_brackets_in_a_name_are_no_pattern_if_there_is_such_a_file(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    picture("a[1].png")
    assert stylize("a[1].png").out == ["a[1]_dots.png"]


@pytest.mark.parametrize(("arguments", "root"), [([], "holiday_dots"), (["--out", "x/y"], "x/y")])
def test_a_folder_keeps_its_sub_folders(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path, arguments: list[Any], root: str
) -> None:
    for name in ("holiday/a.png", "holiday/sun/a.png", "holiday/sun/deep/b.jpg"):
        picture(name)
    (here / "holiday/notes.txt").write_text("no picture")
    answer = stylize("holiday/", *arguments)
    assert answer.out == [f"{root}/a.png", f"{root}/sun/a.png", f"{root}/sun/deep/b.jpg"]
    assert all(Path(line).is_file() for line in answer.out)


@pytest.mark.parametrize("arguments", [[], ["--out", "painted"], ["--out", "painted/"]])
def test_results_inside_the_folder_are_not_stylized_again(
    stylize: Callable[..., Said], picture: Callable[..., Path], arguments: list[Any]
) -> None:
    picture("a.png")
    first = stylize(".", *arguments)
    assert stylize(".", *arguments, "--overwrite").out == first.out


@pytest.mark.parametrize(
    "name", ["Zürich 夕焼け.png", "two words.png", "line\nend.png", "-dash.png", "--config", "é'\"$(x).png"]
)
def test_any_file_name_will_do(
    said: Callable[..., Said], picture: Callable[..., Path], here: Path, style: str, name: str
) -> None:
    picture(name, format="PNG")
    answer = said(command.main, ["--json", "--style", style, "--out", "results/", "--", name])
    assert answer.code == 0, answer.err
    (record,) = map(json.loads, answer.out)
    assert Path(record["input"]) == Path(name)
    assert (here / "results" / name).with_suffix(".png").is_file()


def test_a_name_that_is_no_text_passes_byte_for_byte(
    picture: Callable[..., Path], here: Path, style: str
) -> None:
    os.rename(picture("a.png"), os.fsencode(here) + b"/\xff\xfe.png")
    answer = script(b"\xff\xfe.png", b"gone\xff\n.png", "--style", style, cwd=here)
    assert answer.stdout == b"\xff\xfe_dots.png\n"
    assert b"\xff\xfe_dots.png" in os.listdir(os.fsencode(here))
    assert answer.returncode == 1
    assert answer.stderr.count(b"\n") == 3


def test_an_existing_result_is_refused_with_both_ways_out(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    picture("a.png")
    (here / "a_dots.png").write_text("precious")
    answer = stylize("a.png")
    assert answer.code == 1
    assert answer.out == []
    assert answer.errors == ["error: a_dots.png exists; give --overwrite or --skip-existing"]
    assert (here / "a_dots.png").read_text() == "precious"


def test_existing_results_are_replaced_or_skipped_on_request(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    picture("a.png")
    picture("b.png")
    (here / "a_dots.png").write_text("old")
    answer = stylize("a.png", "b.png", "--skip-existing")
    assert (answer.code, answer.out) == (0, ["b_dots.png"])
    assert (here / "a_dots.png").read_text() == "old"
    assert stylize("a.png", "--overwrite").code == 0
    assert pixels("a_dots.png").shape == (11, 14, 3)
    assert stylize("a.png", "--overwrite", "--skip-existing").code == 2


@pytest.mark.parametrize(
    "sources", [["x/a.png", "y/a.png"], ["a.gif", "a.png"], ["x", "y"]], ids=" and ".join
)
def test_two_pictures_for_one_result_get_two_names_and_a_note(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path, sources: list[str]
) -> None:
    for name in ("x/a.png", "y/a.png", "a.gif", "a.png"):
        picture(name)
    answer = stylize(*sources, "--out", "z/")
    assert answer.code == 0
    assert len(set(answer.out)) == len(answer.out) == 2
    assert all(Path(name).is_file() for name in answer.out)
    assert answer.err[0].startswith("2 results have longer names, since several sources would share one: ")
    assert len(answer.err) == 2


@pytest.mark.parametrize("out", ["a.png", "./a.png", "x/../a.png", "link.png", "linked/a.png", "hard.png"])
@pytest.mark.parametrize("flag", ["--overwrite", "--no-overwrite"])
def test_a_picture_is_never_written_over_itself(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path, out: str, flag: str
) -> None:
    path = picture("a.png")
    (here / "x").mkdir()
    os.symlink("a.png", "link.png")
    os.symlink(".", "linked")
    os.link("a.png", "hard.png")
    before, names = path.read_bytes(), tree(here)
    answer = stylize("a.png", "--out", out, flag)
    assert answer.code == 2
    assert "over itself" in answer.err[0]
    assert "--out" in answer.err[0]
    assert path.read_bytes() == before
    assert tree(here) == names


@pytest.mark.parametrize("out", ["holiday", "holiday/", "linked"])
def test_a_folder_is_never_written_over_itself(
    stylize: Callable[..., Said], picture: Callable[..., Path], out: str
) -> None:
    path = picture("holiday/a.png")
    os.symlink("holiday", "linked")
    before = path.read_bytes()
    assert stylize("holiday", "--out", out, "--overwrite").code == 2
    assert path.read_bytes() == before


def test_a_result_never_takes_the_place_of_another_input(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    picture("a.png")
    other = picture("a_dots.png")
    before = other.read_bytes()
    answer = stylize("a.png", "a_dots.png", "--overwrite")
    assert answer.code == 2
    assert "a_dots.png, an input" in answer.err[0]
    assert other.read_bytes() == before
    assert stylize("a.png", "a_dots.png", "--skip-existing").out == ["a_dots_dots.png"]


def test_one_file_cannot_take_several_pictures(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    picture("a.png")
    picture("b.png")
    answer = stylize("a.png", "b.png", "--out", "c.png")
    assert answer.code == 2
    assert "c.png names one file, for 2 pictures" in answer.err[0]
    answer = stylize("a.png", "b.png", "--out", "-")
    assert answer.code == 2
    assert "stdout takes one picture" in answer.err[0]


@pytest.mark.parametrize(("size", "shape"), [("7", (6, 7, 3)), ("28", (22, 28, 3))])
def test_size_is_that_of_the_longer_side(
    stylize: Callable[..., Said], picture: Callable[..., Path], size: str, shape: tuple[int, int, int]
) -> None:
    picture("a.png", 11, 14)
    stylize("a.png", "--size", size)
    assert pixels("a_dots.png").shape == shape


def test_batches_give_what_single_pictures_give(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    for i, shape in enumerate([(9, 9), (9, 9), (9, 9), (8, 12), (8, 12), (9, 9)]):
        picture(f"in/{'x' * (i + 1)}.png", *shape)
    one, three = stylize("in", "--out", "one"), stylize("in", "--out", "three", "--batch-size", "3")
    assert len(one.out) == len(three.out) == 6
    for a, b in zip(one.out, three.out, strict=True):
        assert np.abs(pixels(a).astype(int) - pixels(b)).max() <= 1


def test_pictures_of_a_batch_do_not_change_places(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    names = ["a.png", "bb.png", "ccc.png"]
    for name in names:
        picture(name, 8, 8)
    stylize(*names, "--out", "together/", "--batch-size", "3")
    for name in names:
        stylize(name, "--out", f"alone/{name}")
        difference = pixels(f"together/{name}").astype(int) - pixels(f"alone/{name}")
        assert np.abs(difference).max() <= 1


def test_alpha_is_kept_in_png(
    stylize: Callable[..., Said], picture: Callable[..., Path], headline: str
) -> None:
    path = picture("a.png", mode="RGBA")
    answer = stylize("a.png")
    assert answer.err == [headline]
    np.testing.assert_array_equal(pixels("a_dots.png")[..., 3], pixels(path)[..., 3])


def test_alpha_that_jpeg_cannot_keep_is_reported(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    picture("a.png", mode="RGBA")
    answer = stylize("a.png", "--out", "b.jpg")
    assert (answer.code, answer.out) == (0, ["b.jpg"])
    assert answer.err[1:] == ["a.png: transparency composited on white, which this format cannot hold"]
    assert pixels("b.jpg").shape[2] == 3


def test_a_picture_turned_by_its_camera_comes_out_upright(
    stylize: Callable[..., Said], here: Path, style: str
) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (10, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the sensor's left is the top
    Image.fromarray(np.rot90(upright)).save("turned.png", exif=exif)
    Image.fromarray(upright).save("upright.png")
    stylize("turned.png", "upright.png")
    np.testing.assert_array_equal(pixels("turned_dots.png"), pixels("upright_dots.png"))
    with Image.open("turned_dots.png") as result:
        assert not result.getexif()


def test_json_is_one_record_a_picture_and_nothing_else(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    picture("in/a.png", 9, 12)
    (here / "in/b.jpg").write_text("no picture")
    picture("in/c.png", 5, 6, mode="RGBA")
    picture("out/c.jpg")
    answer = stylize("in", "--out", "out", "--format", "jpg", "--json", "--skip-existing", "--size", "24")
    good, bad, skipped = map(json.loads, answer.out)
    assert answer.code == 1
    assert answer.err[-1] == "1 of 3 pictures failed"
    assert (good["input"], good["output"], good["ok"], good["error"]) == ("in/a.png", "out/a.jpg", True, None)
    assert (good["width"], good["height"], good["skipped"]) == (24, 18, False)
    assert set(good["ms"]) == {"read", "run", "write"}
    assert all(ms >= 0 for ms in good["ms"].values())
    assert (bad["input"], bad["output"], bad["ok"]) == ("in/b.jpg", None, False)
    assert f"error: {bad['error']}" in answer.err
    assert (skipped["ok"], skipped["skipped"], skipped["output"]) == (True, True, "out/c.jpg")


def test_a_picture_goes_from_stdin_to_stdout_through_real_pipes(
    picture: Callable[..., Path], here: Path, style: str
) -> None:
    path = picture("a.jpg", 9, 12)
    shell = f"cat a.jpg | {sys.executable} {SCRIPT} - --style {style} --format png | cat > b.png"
    subprocess.run(["bash", "-c", f"set -o pipefail; {shell}"], cwd=here, check=True, stderr=subprocess.PIPE)
    assert pixels("b.png").shape == pixels(path).shape


def stdin_of(data: bytes, *, terminal: bool = False) -> SimpleNamespace:
    return SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal)


def test_stdin_can_go_to_a_file_and_files_to_stdout(
    picture: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    style: str,
) -> None:
    data = picture("a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", stdin_of(data))
    assert command.main(["-", "--style", style, "--out", "x/"]) == 0
    monkeypatch.setattr(sys, "stdin", stdin_of(data))
    assert command.main(["-", "--style", style, "--out", "b.png"]) == 0
    assert capfdbinary.readouterr().out == b"x/stdin.png\nb.png\n"
    assert command.main(["a.png", "--style", style, "--out", "-", "--format", "png"]) == 0
    assert capfdbinary.readouterr().out == Path("b.png").read_bytes() == Path("x/stdin.png").read_bytes()


def test_what_comes_through_stdin_is_called_stdin(
    stylize: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin_of(b""))
    answer = stylize("-", "--out", "b.png")
    assert answer.code == 1
    assert "the file is empty" in answer.errors[0]
    assert not Path("b.png").exists()


def test_nothing_is_read_from_or_poured_into_a_terminal(
    stylize: Callable[..., Said], picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("a.png")
    monkeypatch.setattr(sys, "stdin", stdin_of(b"", terminal=True))
    answer = stylize("-")
    assert answer.code == 2
    assert "stdin is a terminal" in answer.err[0]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    answer = stylize("a.png", "--out", "-")
    assert answer.code == 2
    assert "stdout is a terminal" in answer.err[0]


def test_records_and_a_picture_cannot_share_stdout(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    picture("a.png")
    answer = stylize("a.png", "--out", "-", "--json")
    assert answer.code == 2
    assert answer.out == []
    assert "--out FILE" in answer.err[0]


def test_a_reader_that_leaves_is_no_news(
    picture: Callable[..., Path], here: Path, style: str, headline: str
) -> None:
    for i in range(3):
        picture(f"in/{'x' * (i + 1)}.png")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        words = [sys.executable, str(SCRIPT), "in", "--style", style, "--json"]
        answer = subprocess.run(words, cwd=here, stdout=pipe, stderr=subprocess.PIPE)
    assert answer.returncode == 1
    assert answer.stderr.decode().splitlines() == [headline]


def bomb() -> bytes:
    """A PNG of 12,000 x 10,000 in 14 KB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 12_000, 10_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1501 * 10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def make_faulty(here: Path, picture: Any) -> None:
    (here / "text.jpg").write_text("Dear diary")
    whole = picture("whole.jpg", 60, 80).read_bytes()
    (here / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (here / "bomb.png").write_bytes(bomb())
    (here / "empty").mkdir()
    (here / "file").write_text("a regular file")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["gone.jpg"], 1, ["gone.jpg", "no such file"]),
        (["text.jpg"], 1, ["text.jpg", "holds text"]),
        (["cut.jpg"], 1, ["cut.jpg", "truncated"]),
        (["bomb.png"], 1, ["bomb.png", "12000 x 10000", "110,000,000", "--max-pixels 120000000"]),
        (["whole.jpg", "--size", "99999"], 1, ["whole.jpg", "--size 99999", "--max-pixels"]),
        (["empty"], 2, ["no pictures or videos in the folder empty", ".jpg"]),
        (["*.webp"], 2, ["no file matches *.webp"]),
        ([""], 2, ["empty"]),
        (["whole.jpg", "--out", ""], 2, ["--out is empty"]),
        (["whole.jpg", "--out", "a.xyz"], 2, ["a.xyz", "out.png"]),
        (["whole.jpg", "--out", "painting"], 2, ["painting", "has no ending"]),
        (["whole.jpg", "--format", "xyz"], 2, ["xyz", "png"]),
        (["whole.jpg", "--out", "file/a.png"], 1, ["file/a.png", "not a folder"]),
        (["whole.jpg", "--out", "/proc/none/a.png"], 1, ["/proc/none"]),
        (["whole.jpg", "--size", "0"], 2, ["--size must be at least 1, got 0"]),
        (["whole.jpg", "--device", "gpu"], 2, ["'gpu'", "cuda"]),
        (["whole.jpg", "--style", "gone.safetensors"], 2, ["gone.safetensors"]),
        (["whole.jpg", "--style", "text.jpg"], 2, ["text.jpg"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(
    said: Callable[..., Said],
    style: str,
    headline: str,
    picture: Callable[..., Path],
    here: Path,
    arguments: list[str],
    code: int,
    told: list[str],
    override: Callable[[list[str], list[str]], list[str]],
) -> None:
    make_faulty(here, picture)
    before = tree(here)
    answer = said(command.main, override(["--style", style], arguments))
    assert answer.code == code
    assert answer.out == []
    assert len(answer.errors) == 1
    assert [line for line in answer.err if line not in answer.errors] in ([], [headline])
    assert all(word in answer.errors[0] for word in told), answer.errors[0]
    assert tree(here) == before


def test_the_pixel_limit_has_one_default_and_can_be_raised(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    assert StylizeConfig().max_pixels == MAX_PIXELS
    picture("a.png", 10, 10)
    assert stylize("a.png", "--max-pixels", "99").code == 1
    assert stylize("a.png", "--max-pixels", "100").code == 0


def test_how_to_enlarge_strokes_is_said_once_and_of_large_pictures_alone(
    stylize: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    for name, width in (("a.png", 64), ("b.png", 2100), ("c.png", 2200)):
        picture(name, 8, width)
    hint = "strokes are small beside a picture of 2100 x 8; --stroke 2 makes them larger"
    assert [line for line in stylize("a.png", "b.png", "c.png").err if "strokes" in line] == [hint]
    for flags in (["--stroke", "2"], ["--size", "2100"]):
        assert not any(
            "strokes" in line for line in stylize("b.png", "--out", "d.png", "--overwrite", *flags).err
        )


def test_an_unknown_style_gets_the_nearest_name(
    said: Callable[..., Said],
    picture: Callable[..., Path],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    style: str,
) -> None:
    (here / "bundle").mkdir()
    shutil.copy(style, here / "bundle/starry-night.safetensors")
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(here / "bundle"))
    picture("a.png")
    answer = said(command.main, ["a.png", "--style", "stary-nigth"])
    assert answer.code == 2
    assert len(answer.err) == 1
    assert "unknown style 'stary-nigth'; did you mean 'starry-night'?" in answer.err[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--overwrit"], "unknown option --overwrit; did you mean --overwrite?"),
        (["--skip_exist"], "unknown option --skip_exist; did you mean --skip-existing?"),
        (["--sise=3"], "unknown option --sise; did you mean --size?"),
        (["--qqq"], "unknown option --qqq; --help lists all of them"),
        (["-s", "x"], "unknown option -s; "),
        (["--size"], "--size needs a value; --help says which"),
        (["--size", "big"], "--size must be a whole number, got 'big'"),
        (
            ["--precision", "fp3"],
            "--precision must be one of auto, fastest, fp32, bf16, fp16, int8",
        ),
        (["--json=3"], "--json takes no value"),
        (["--size", "--json"], "--size needs a value; --help says which"),
        (["--alpha", "3"], "unknown option --alpha; did you mean --strength?"),
        (["-o", "b.png"], "unknown option -o; did you mean --out?"),
        (["--size", "8", "--size=9"], "--size is given twice; give it once"),
        (["--json", "--no-json"], "--json and --no-json exclude each other; give one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_flag_is_one_clear_line(
    said: Callable[..., Said],
    style: str,
    picture: Callable[..., Path],
    here: Path,
    arguments: list[str],
    told: str,
) -> None:
    picture("a.png")
    before = tree(here)
    answer = said(command.main, ["--style", style, "a.png", *arguments])
    assert (answer.code, answer.out) == (2, [])
    assert len(answer.err) == 1
    assert answer.err[0].startswith(f"error: {told}")
    assert tree(here) == before


def test_pictures_may_stand_before_between_and_behind_the_flags(
    said: Callable[..., Said], style: str, picture: Callable[..., Path]
) -> None:
    for name in ("a.png", "bb.png", "ccc.png", "-d.png"):
        picture(name)
    order = ["a.png", "--style", style, "bb.png", "--no-json", "ccc.png", "--size=8", "--", "-d.png"]
    answer = said(command.main, order)
    assert (answer.code, answer.out) == (0, ["a_dots.png", "bb_dots.png", "ccc_dots.png", "-d_dots.png"])


def test_one_bad_file_does_not_stop_the_others(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    picture("in/a.png")
    (here / "in/b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    picture("in/c.png")
    answer = stylize("in")
    assert answer.code == 1
    assert answer.out == ["in_dots/a.png", "in_dots/c.png"]
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith("error: in/b.png: ")
    assert answer.err[-1] == "1 of 3 pictures failed"


def test_a_source_without_pictures_does_not_stop_the_others(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    picture("a.png")
    (here / "empty").mkdir()
    answer = stylize("*.webp", "a.png", "empty", "--json")
    assert answer.code == 1
    assert [json.loads(line)["output"] for line in answer.out] == [None, None, "a_dots.png"]
    assert len(answer.errors) == 2
    assert answer.errors[0] == "error: no file matches *.webp"
    assert answer.errors[1].startswith("error: no pictures or videos in the folder empty; ")
    assert answer.err[-1] == "2 of 3 pictures failed"


@pytest.mark.slow
def test_a_limit_of_memory_is_held_by_row_bands_which_are_reported_as_they_go(
    stylize: Callable[..., Said], picture: Callable[..., Path], style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    side, room = 1600, memory_budget.FIXED + 35_000_000
    engine = Stylizer.load(style, backend="torch", device="cpu").backend
    whole = memory_budget.whole_bytes(load_checkpoint(style).network.config, side, side, engine.maps)
    assert room < 0.8 * whole
    picture("a.png", side, side)
    memory = f"{(resident_memory() + 3 * side * side + room) // 10**6}MB"
    answer = stylize("a.png", "--backend", "torch", "--device", "cpu", "--memory", memory)
    assert answer.code == 0
    told = [line for line in answer.err if "in parts" in line]
    assert re.fullmatch(r"a\.png: [0-9]+ % done, in parts", told[0])
    assert told[-1] == "a.png: 100 % done, in parts"
    stylize("a.png", "--out", "whole.png", "--backend", "torch", "--device", "cpu")
    assert np.abs(pixels("a_dots.png").astype(int) - pixels("whole.png")).max() <= 1


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ("little", "error: --memory 'little' is no size; write 512MB, 2GB or 1.5GiB"),
        ("0", "error: --memory '0' is no size; write 512MB, 2GB or 1.5GiB"),
        ("1MB", "error: a.png: 14 x 11 pixels do not fit into the memory allowed"),
    ],
)
def test_a_limit_that_is_no_size_or_too_small_is_reported(
    stylize: Callable[..., Said], picture: Callable[..., Path], size: str, told: str
) -> None:
    picture("a.png")
    answer = stylize("a.png", "--memory", size)
    assert answer.code in (1, 2)
    assert answer.errors[0].startswith(told)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    picture("a.png")
    (here / "locked").mkdir()
    (here / "locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    answer = stylize("a.png", "--out", "locked/")
    assert answer.code == 1
    assert "locked" in answer.errors[0]
    assert tree(here) == ["a.png", "locked"]


def test_a_folder_without_permission_is_found_before_the_work(
    stylize: Callable[..., Said], picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("a.png")
    Path("a.png").write_bytes(b"no picture: reading it would be another error")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    answer = stylize("a.png", "--out", "x/b.png")
    assert answer.code == 1
    assert answer.errors[0].startswith("error: x/b.png: no permission to write in ")


def test_a_full_disk_leaves_nothing_half_written(
    picture: Callable[..., Path], here: Path, style: str
) -> None:
    picture("in/a.png", 64, 64)
    (here / "b.png").write_text("old")

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    before = tree(here)
    for arguments in (["--out", "c.png"], ["--out", "b.png", "--overwrite"]):
        answer = script("in/a.png", "--style", style, *arguments, cwd=here, preexec_fn=small_files)
        lines = answer.stderr.decode().splitlines()
        assert answer.returncode == 1
        assert len(lines) == 2
        assert "the disk is full" in lines[1]
        assert tree(here) == before
        assert (here / "b.png").read_text() == "old"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [["--out", "-"], ["--json"]])
def test_a_full_disk_behind_stdout_is_one_line(
    picture: Callable[..., Path], here: Path, style: str, arguments: list[str]
) -> None:
    picture("a.png")
    with open("/dev/full", "wb") as full:
        words = [sys.executable, str(SCRIPT), "a.png", "--style", style, *arguments]
        answer = subprocess.run(words, cwd=here, stdout=full, stderr=subprocess.PIPE, text=True)
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 2
    assert "No space left" in answer.stderr


def test_debug_adds_the_traceback(stylize: Callable[..., Said]) -> None:
    assert "Traceback (most recent call last):" in stylize("empty-folder*", "--debug").err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_mid_folder_leaves_no_half_written_file(
    picture: Callable[..., Path], here: Path, style: str, number: int, code: int
) -> None:
    first = picture("in/000.png", 200, 200)
    for i in range(1, 400):
        os.link(first, here / f"in/{i:03}.png")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "in", "--style", style],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=280)
    assert process.returncode == code
    assert err.splitlines()[1:] == ["error: interrupted" if number == signal.SIGINT else "error: terminated"]
    results = sorted((here / "in_dots").iterdir())
    assert 0 < len(results) < 400
    assert out.count("\n") + 1 <= len(results) <= out.count("\n") + 2
    assert all(pixels(path).shape == (200, 200, 3) for path in results)


def test_a_terminal_gets_a_progress_bar_and_stdout_stays_clean(
    picture: Callable[..., Path], here: Path, style: str
) -> None:
    for name in ("a.png", "bb.png"):
        picture(name)
    terminal, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 80))
    words = [sys.executable, str(SCRIPT), "a.png", "bb.png", "--style", style]
    answer = subprocess.run(words, cwd=here, stdout=subprocess.PIPE, stderr=side, stdin=subprocess.DEVNULL)
    os.close(side)
    shown = b""
    while select.select([terminal], [], [], 0.2)[0]:
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            break
    os.close(terminal)
    assert answer.stdout == b"a_dots.png\nbb_dots.png\n"
    assert b"2/2" in shown
    assert b"picture" in shown


@pytest.mark.parametrize("batch", ["1", "3"])
def test_shards_stylize_every_picture_once_and_share_a_manifest(
    stylize: Callable[..., Said], style: str, picture: Callable[..., Path], here: Path, batch: str
) -> None:
    for i in range(20):
        picture(f"in/{'x' * (i + 1)}.png", 8, 8)
    (here / "in/bad.jpg").write_text("Dear diary")
    stylize("in", "--out", "whole", "--batch-size", batch)
    rest = ["--out", "parts", "--skip-existing", "--manifest", "m.jsonl", "--batch-size", batch]
    answers = [stylize("in", *rest, "--shard", f"{i}/3") for i in range(3)]
    assert sorted(line for answer in answers for line in answer.out) == [
        f"parts/{name}" for name in tree(here / "whole")
    ]
    assert sorted(answer.code for answer in answers) == [0, 0, 1]
    sizes = [int(answer.err[0].split(": ")[1].split(" of ")[0]) for answer in answers]
    assert sum(sizes) == 21
    assert answers[0].err[0] == f"shard 0/3: {sizes[0]} of 21 pictures"
    for name in tree(here / "whole"):
        difference = pixels(f"parts/{name}").astype(int) - pixels(f"whole/{name}")
        assert np.abs(difference).max() <= (batch != "1")
    records = [json.loads(line) for line in (here / "m.jsonl").read_text().splitlines()]
    assert sorted(line["input"] for line in records) == [f"in/{name}" for name in tree(here / "in")]
    assert {line["checkpoint"] for line in records} == {load_checkpoint(style).metadata["sha256"]}
    assert [stylize("in", *rest, "--shard", f"{i}/3").out for i in range(3)] == [[], [], []]
    assert len((here / "m.jsonl").read_text().splitlines()) == 21


def test_a_shard_taken_from_the_environment_is_reported(
    stylize: Callable[..., Said], picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("a.png")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert stylize("a.png").out == ["a_dots.png"]
    took = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        answer = stylize("a.png", "--overwrite")
        assert answer.code == 0
        took.append(len(answer.out))
        taken = f"(from RANK and WORLD_SIZE; --shard 0/1 takes all): {len(answer.out)} of 1 pictures"
        assert answer.err[0] == f"shard {rank}/2 {taken}"
    assert sorted(took) == [0, 1]
    assert stylize("a.png", "--overwrite", "--shard", "0/1").out == ["a_dots.png"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--shard", "2/2"], "--shard 2/2 is outside 0/2 to 1/2"),
        (["--shard", "half"], "--shard half names no shard"),
        (["--manifest", ""], "--manifest is empty"),
        (["--manifest", "a.png"], "--manifest a.png holds something else"),
        (["--cluster", "--shard", "0/2"], "--cluster divides the pictures itself"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_divided_or_listed_is_one_clear_line(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path, arguments: list[str], told: str
) -> None:
    before = picture("a.png").read_bytes()
    answer = stylize("a.png", *arguments)
    assert (answer.code, answer.out) == (2, [])
    assert len(answer.err) == 1
    assert answer.err[0].startswith(f"error: {told}")
    assert tree(here) == ["a.png"]
    assert (here / "a.png").read_bytes() == before


def test_what_a_killed_run_left_half_written_is_removed(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    picture("in/deep/a.png")
    (here / "in_dots/deep").mkdir(parents=True)
    (here / f"in_dots/deep/.{'0' * 32}.partial").write_bytes(b"half")
    assert stylize("in").code == 0
    assert tree(here / "in_dots") == ["deep", "deep/a.png"]


def test_pictures_come_from_an_address_and_go_to_one(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    root = f"memory://{here.name}"
    data = picture("a.png").read_bytes()
    write_bytes(f"{root}/in/sun/a.png", data)
    write_bytes(f"{root}/in/bad.jpg", b"Dear diary")
    answer = stylize(f"{root}/in", "--out", f"{root}/out")
    assert (answer.code, answer.out) == (1, [f"{root}/out/sun/a.png"])
    assert answer.errors == [f"error: {root}/in/bad.jpg: not a picture: the file holds text"]
    stylize("a.png")
    assert read_bytes(f"{root}/out/sun/a.png") == Path("a_dots.png").read_bytes()
    assert stylize(f"{root}/in/sun", "--out", f"{root}/out/sun", "--skip-existing").out == []
    assert stylize(f"{root}/in/sun", "--out", f"{root}/out/sun").code == 1


@pytest.mark.parametrize("sources", [["in"], ["in/**/*.png"], ["in/*/*.png", "in/a.png"]], ids=" ".join)
def test_a_folder_that_cannot_be_read_is_reported_and_the_exit_code_says_so(
    stylize: Callable[..., Said],
    picture: Callable[..., Path],
    here: Path,
    sources: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture("in/a.png")
    picture("in/locked/b.png")
    scandir = os.scandir

    def refuses(path: str = ".") -> object:
        if os.fspath(path).endswith("locked"):  # as a folder without permission does, also to root
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuses)
    answer = stylize(*sources, "--out", "out/")
    assert answer.code == 1
    assert answer.out == ["out/a.png"]
    assert answer.errors == ["error: in/locked: Permission denied; the pictures in this folder are missed"]


@pytest.mark.slow
def test_a_second_run_beside_the_first_skips_what_the_first_has_written(
    picture: Callable[..., Path], here: Path, style: str
) -> None:
    first = picture("in/00.png", 160, 160)
    for i in range(1, 30):
        os.link(first, here / f"in/{i:02}.png")
    words = [sys.executable, str(SCRIPT), "in", "--style", style, "--skip-existing"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            words, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all("error" not in err for _, err in answers)
    assert {line for out, _ in answers for line in out.split()} == {f"in_dots/{i:02}.png" for i in range(30)}
    assert tree(here / "in_dots") == [f"{i:02}.png" for i in range(30)]


def test_the_home_folder_may_be_written_as_a_tilde(
    stylize: Callable[..., Said], picture: Callable[..., Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    picture("a.png")
    assert stylize("a.png", "--out=~/x/b.png", "--manifest=~/m.jsonl").out == [str(here / "home/x/b.png")]
    assert (here / "home/x/b.png").exists()
    assert (here / "home/m.jsonl").exists()
    assert not (here / "~").exists()


def test_a_defect_is_one_line_that_names_the_way_to_the_traceback(
    stylize: Callable[..., Said], picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("a.png")
    picture("b.png")

    def fails(*_: object, **__: Any) -> None:
        raise KeyError("codec")

    monkeypatch.setattr(np, "stack", fails)  # pictures become a batch by it
    answer = stylize("a.png", "b.png")
    assert answer.code == 1
    assert answer.errors == [
        f"error: {name}.png: internal error, KeyError: 'codec'; --debug shows the traceback" for name in "ab"
    ]
    told = stylize("a.png", "--debug").err
    assert "Traceback (most recent call last):" in told
    assert told[-1] == answer.errors[0]

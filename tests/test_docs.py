"""The documentation: every command runs at small size, or, where marked long, has options that exist.

A code block may have a comment above it: ``<!-- long: reason -->`` for commands that take a webcam, hours or
downloaded weights, ``<!-- needs: PACKAGE … -->`` for those that take optional packages.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fast_nst
from fast_nst.cli.main import main
from fast_nst.config import NetworkConfig, UpscaleNetConfig
from fast_nst.inference.styles import bundled_styles
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.upscale_net import UpscaleNet

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "checkpoints/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
SCRIPTS = {"stylize.py": "stylize", "train.py": "train", "compare.py": "compare"}
SHELL = {"bash", "console"}
# Programs of others, which are neither run nor checked here.
OTHERS = {"cat", "cd", "curl", "docker", "git", "mkdocs", "mypy", "pip", "pre-commit", "python -m", "ruff"}

_BLOCK = re.compile(
    r"(?:<!-- *(long|needs):? *([^\n]*?) *-->\n+)?^ *```(\w*)[^\n]*\n(.*?)^ *```", flags=re.M | re.S
)
_QUICK = "--image-size 40 --batch-size 2 --steps 2 --warmup 1 --compile off --precision fp32 --device cpu"
_LAYERS = "--vgg-weights vgg.safetensors --content-layers relu1_2 --style-layers relu1_1 relu1_2"


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    mark: str
    """``long``, ``needs`` or nothing"""
    reason: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its commands, one a line, without continuation lines and comments."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [line for line in joined if shlex.split(line, comments=True)]


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def parts(line: str) -> list[list[str]]:
    """The simple commands of a line, as lists of words; redirections are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    words: Iterator[str] = iter(lexer)
    for word in words:
        if word in ("&&", "|", ";"):
            commands.append([])
        elif word in (">", "<"):
            next(words)
        else:
            commands[-1].append(word)
    return commands


def ours(words: list[str]) -> list[str] | None:
    """The words after ``fast-nst``, or after ``benchmarks/`` and its script; None for programs of others.

    A launcher in front (torchrun, srun, a benchmark that starts a script) is left out.
    """
    if words[0] in OTHERS or " ".join(words[:2]) in OTHERS:
        return None
    for i, word in enumerate(words):
        if word == "fast-nst":
            return words[i + 1 :]
        if word in SCRIPTS:
            return [SCRIPTS[word], *words[i + 1 :]]
        if word.startswith("benchmarks/") and word != "benchmarks/peak.py":
            return words[i:]
    raise AssertionError(f"unknown program: {words[0]}")


def small(words: list[str]) -> list[str]:
    """A command with settings that make it quick; all else stays. Bundled styles give way to small files."""
    command, *arguments = words
    arguments = [f"{word}.safetensors" if word in bundled_styles() else word for word in arguments]
    if command == "train":
        extra = _QUICK if "super-resolution" in arguments else f"{_QUICK} {_LAYERS} --style-size 32"
        if "--preset" not in arguments:
            extra += " --preset " + ("modern --blocks 1" if "super-resolution" in arguments else "tiny")
        extra += " --photo-size 40" * ("--photo-size" in arguments)
        extra += " --start-size 32 --start-steps 1" * ("--start-size" in arguments)
    elif command == "optimize":
        extra = (
            f"{_LAYERS} --loss-network vgg16 --steps 2 --size 128 --compile off --precision fp32 --device cpu"
        )
    else:
        extra = ""
    for flag in (word for word in extra.split() if word.startswith("--")):
        if flag in arguments:
            start = arguments.index(flag)
            after = (i for i, word in enumerate(arguments) if i > start and word.startswith("--"))
            del arguments[start : next(after, len(arguments))]
    return [command, *arguments, *extra.split()]


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, material: Path) -> Path:
    """A folder with everything that the pages name: pictures, styles, models, weights."""
    folder = tmp_path_factory.mktemp("stage")
    shutil.copytree(material, folder, dirs_exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    for name in (
        "photo.jpg",
        "painting.jpg",
        "one.png",
        "mask.png",
        "holiday/a.jpg",
        "holiday/b/c.jpg",
        "scans/d.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(folder / name)
    frames = [Image.fromarray(np.roll(noise, i, axis=1)) for i in range(3)]
    frames[0].save(folder / "dance.gif", save_all=True, append_images=frames[1:], duration=40)
    torch.manual_seed(0)
    network = TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1))
    for name in ("my-style", *bundled_styles()):
        save_checkpoint(folder / f"{name}.safetensors", network, {"style": name, "steps": 1})
    upscaler = UpscaleNet(UpscaleNetConfig(width=4, blocks=1))
    save_checkpoint(folder / "my-x4.safetensors", upscaler, {"style": "my-x4", "steps": 1})
    torch.save(_foreign(), folder / "candy.pth")
    return folder


def _foreign() -> dict[str, torch.Tensor]:
    """The tensors of a small network of pytorch/examples."""
    names = ["conv1", "conv2", "conv3", *(f"res{i}.conv{j}" for i in range(1, 6) for j in (1, 2))]
    names += ["deconv1", "deconv2", "deconv3"]
    widths = [3, 4, 4, *[8] * 11, 4, 4, 3]
    state = {}
    for i, name in enumerate(names):
        side = 9 if i in (0, len(names) - 1) else 3
        state[f"{name}.conv2d.weight"] = torch.randn(widths[i + 1], widths[i], side, side) / side
        state[f"{name}.conv2d.bias"] = torch.zeros(widths[i + 1])
    norms = ["in1", "in2", "in3", *(f"res{i}.in{j}" for i in range(1, 6) for j in (1, 2)), "in4", "in5"]
    for i, name in enumerate(norms):
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(widths[i + 1]), torch.zeros(widths[i + 1])
    return state


@pytest.fixture
def here(stage: Path, clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stage with short videos, the current folder."""
    shutil.copytree(stage, tmp_path, dirs_exist_ok=True)
    for ending in ("mp4", "mov", "mkv"):
        clip(f"clip.{ending}", frames=8, sound=("aac",))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], tuple[int, str]]:
    """Calls a command in this process: its exit code, and all that it wrote."""

    def call(words: list[str]) -> tuple[int, str]:
        capsys.readouterr()
        code = main(words)
        return code, "".join(capsys.readouterr())

    return call


HELP: dict[tuple[str, ...], str] = {}
"""help texts, each asked for once"""


@pytest.fixture
def options(
    told: Callable[[list[str]], tuple[int, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[list[str]], str]:
    """The help text of the command that these words call."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def show(words: list[str]) -> str:
        if not words[0].startswith("benchmarks/"):
            task = ["--task", "super-resolution"] if "super-resolution" in words else []
            asked = (words[0], *task, "--help")
            if asked not in HELP:
                code, HELP[asked] = told(list(asked))
                assert code == 0, HELP[asked]
            return HELP[asked]
        monkeypatch.setattr(sys, "argv", [words[0], "--help"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        assert not end.value.code
        return capsys.readouterr().out

    return show


def check_options(words: list[str], text: str) -> None:
    """Every flag is in the help text, and every value among the choices that it lists."""
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if not word.startswith("--") or word == "--help":
            continue
        flag, _, given = word.partition("=")
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", text), f"{words[0]} has no option {flag}"
        choices = re.search(rf"(?<![\w-]){flag} \{{([\w,.\s│-]+)\}}(?!\|)", text)
        if choices is not None:
            assert (given or value) in re.sub(r"[\s│]", "", choices[1]).split(","), f"{flag} {value}"


def test_every_block_says_what_it_is() -> None:
    """A block without a language would escape the tests below."""
    known = {"bash", "console", "python", "toml", "json", "text", "bibtex", "latex"}
    assert {
        (page.name, b.language) for page in PAGES for b in blocks(page) if b.language not in known
    } == set()


def test_the_checks_see_what_is_wrong(options: Callable[[list[str]], str]) -> None:
    with pytest.raises(AssertionError, match="no option --styel"):
        check_options(["stylize", "photo.jpg", "--styel", "the-scream"], options(["stylize"]))
    with pytest.raises(AssertionError, match="--codec mpeg2"):
        check_options(["stylize", "clip.mp4", "--codec", "mpeg2"], options(["stylize"]))
    with pytest.raises(AssertionError, match="unknown program"):
        ours(["stylise", "photo.jpg"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_long_command_has_options_that_exist(page: Any, options: Callable[[list[str]], str]) -> None:
    for block in blocks(page):
        if block.mark and block.language in SHELL:
            for words in (words for line in block.lines for words in parts(line)):
                if (command := ours(words)) is not None:
                    check_options(command, options(command))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_runs(
    page: Any, here: Path, told: Callable[[list[str]], tuple[int, str]]
) -> None:
    for block in blocks(page):
        missing = [name for name in block.reason.split() if importlib.util.find_spec(name) is None]
        if block.mark == "long" or block.language not in SHELL or (block.mark == "needs" and missing):
            continue
        for line in block.lines:
            commands = [command for words in parts(line) if (command := ours(words)) is not None]
            if "|" in line.split("#")[0]:
                run_in_shell(line, here)
                continue
            for command in commands:
                code, said = told(small(command))
                assert code == 0, f"{line}\n{said}"


def run_in_shell(line: str, here: Path) -> None:
    """A pipeline, in a shell, with the command of this checkout."""
    bash = shutil.which("bash")
    if bash is None or sys.platform == "win32":
        return
    command = line.replace("fast-nst", f"{shlex.quote(sys.executable)} -m fast_nst")
    script = f"export PYTHONPATH={shlex.quote(str(ROOT))}; set -euo pipefail; {command}"
    subprocess.run([bash, "-c", script], cwd=here, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_a_page_runs(page: Any, here: Path) -> None:
    for block in blocks(page):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "nst"
            ):
                assert hasattr(fast_nst, node.attr), f"fast_nst has no {node.attr}"
        if block.mark != "long":
            exec(compile(block.text, str(page), "exec"), {})


def test_every_page_is_in_the_navigation_and_the_readme_links_to_files_that_exist() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    listed = set(
        re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.M)
    )
    assert pages == listed
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_api_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    described = {line.split(".")[-1] for line in text.splitlines() if line.startswith("::: ")}
    assert set(fast_nst.__all__) <= described


def test_the_two_commands_of_the_readme_come_first() -> None:
    """``.ci/run`` runs the first two blocks, one line each."""
    first, second = [block for block in blocks(ROOT / "README.md") if block.language == "bash"][:2]
    assert [len(block.text.splitlines()) for block in (first, second)] == [1, 1]
    assert "stylize.py demo" in first.text
    assert "python -m pytest" in second.text

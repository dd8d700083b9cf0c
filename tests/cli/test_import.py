"""``fast-nst import``: another project's file in, a style out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fast_nst.cli import import_ as command
from fast_nst.cli import stylize

if TYPE_CHECKING:
    from tests.cli.conftest import Said

BLOCKS = 2


@pytest.fixture
def theirs(here: Path) -> Path:
    """A file such as pytorch/examples writes."""
    torch.manual_seed(0)
    pairs = {"conv1": (3, 4), "conv2": (4, 6), "conv3": (6, 8), "deconv1": (8, 6), "deconv2": (6, 4)}
    pairs |= {f"res{i}.conv{j}": (8, 8) for i in range(1, BLOCKS + 1) for j in (1, 2)} | {"deconv3": (4, 3)}
    norms = {"in1": 4, "in2": 6, "in3": 8, "in4": 6, "in5": 4}
    norms |= {f"res{i}.in{j}": 8 for i in range(1, BLOCKS + 1) for j in (1, 2)}
    state = {}
    for name, (inputs, outputs) in pairs.items():
        side = 9 if name in ("conv1", "deconv3") else 3
        state[f"{name}.conv2d.weight"] = torch.randn(outputs, inputs, side, side)
        state[f"{name}.conv2d.bias"] = torch.randn(outputs)
    for name, channels in norms.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(channels), torch.zeros(channels)
    torch.save(state, here / "candy.model")
    return here / "candy.model"


def test_the_command_writes_a_style_that_can_be_used(
    said: Callable[..., Said], theirs: Path, picture: Callable[..., Path]
) -> None:
    answer = said(command.main, [theirs])
    assert answer.code == 0
    assert answer.out == ["candy.safetensors"]
    assert answer.err == ["pytorch/examples, 4-6-8, 2 residual blocks"]
    picture("photo.png")
    assert said(stylize.main, ["photo.png", "--style", "candy.safetensors"]).out == ["photo_candy.png"]


def test_the_command_replaces_nothing_unasked(said: Callable[..., Said], theirs: Path, here: Path) -> None:
    (here / "candy.safetensors").write_text("mine")
    answer = said(command.main, [theirs])
    assert answer.code == 2
    assert answer.errors == ["error: candy.safetensors exists; give --overwrite or another --out"]
    assert (here / "candy.safetensors").read_text() == "mine"
    assert said(command.main, [theirs, "--overwrite"]).code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give one file to import, got 0"),
        (["a.pth", "b.pth"], "got 2"),
        (["a.pth", "--out", "a.pth"], "ends in .safetensors"),
        (["a.pth"], "there is no file a.pth"),
    ],
)
def test_the_command_says_what_it_needs(
    said: Callable[..., Said], here: Path, arguments: list[Any], told: str
) -> None:
    answer = said(command.main, arguments)
    assert answer.code == 2
    assert told in answer.errors[0]


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("candy.v1.5", "candy.v1.5.safetensors"),
        ("candy.v1.5.pth", "candy.v1.5.safetensors"),
        ("shot 10.00.01.pt", "shot 10.00.01.safetensors"),
        ("model.pth.tar", "model.safetensors"),
        (".pth", ".pth.safetensors"),
    ],
)
def test_the_dots_of_a_name_stay(
    said: Callable[..., Said], theirs: Path, here: Path, name: str, out: str
) -> None:
    theirs.rename(here / name)
    assert said(command.main, [name]).out == [out]


def test_a_folder_that_cannot_be_written_is_reported_with_the_file(
    said: Callable[..., Said], theirs: Path
) -> None:
    answer = said(command.main, [theirs, "--out", "nowhere/candy.safetensors"])
    assert answer.code == 1
    assert answer.errors == [
        "error: nowhere/candy.safetensors: the folder nowhere does not exist; create it first"
    ]

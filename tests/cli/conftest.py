"""A style small enough to paint in milliseconds, pictures, and the command called in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fast_nst.config import NetworkConfig
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.transform_net import TransformNet


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: list[str]
    err: list[str]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err if line.startswith("error: ")]


@pytest.fixture(scope="session")
def style(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a style called ``dots``."""
    torch.manual_seed(0)
    network = TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1))
    with torch.no_grad():
        network.body.conv4.conv.bias.fill_(0.5)  # most of the range is used, and little of it clipped
    path = tmp_path_factory.mktemp("styles") / "dots.safetensors"
    save_checkpoint(path, network, {"style": "dots", "steps": 1})
    return str(path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def picture(here: Path) -> Callable[..., Path]:
    """Writes noise, a different one for each name."""

    def write(name: str, height: int = 11, width: int = 14, mode: str = "RGB", **options: Any) -> Path:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        bands = len(Image.new(mode, (1, 1)).getbands())
        pixels = np.random.default_rng(len(name)).integers(0, 256, (height, width, bands), dtype=np.uint8)
        Image.fromarray(pixels).save(path, **options)
        return path

    return write


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Calls a command with arguments, in this process."""

    def call(main: Callable[[list[str]], int], arguments: Sequence[str | Path]) -> Said:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Said(code, out.splitlines(), err.splitlines())

    return call


@pytest.fixture
def override() -> Callable[[list[str], list[str]], list[str]]:
    """Flags with others in their place: no flag may be given twice. Each has one value."""

    def merge(flags: list[str], others: list[str]) -> list[str]:
        kept = list(flags)
        for name in others:
            if name.startswith("--") and name in kept:
                at = kept.index(name)
                del kept[at : at + 2]
        return [*kept, *others]

    return merge

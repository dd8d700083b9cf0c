"""``--strength``, ``--stroke``, ``--colors`` and ``--mask`` of ``stylize.py``, on pictures and videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fast_nst.cli import stylize as command
from fast_nst.config import NetworkConfig
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.transform_net import TransformNet

if TYPE_CHECKING:
    from tests.cli.conftest import Said


@pytest.fixture
def run(said: Callable[..., Said], style: str) -> Callable[..., Said]:
    return lambda *arguments: said(command.main, [*arguments, "--style", style, "--format", "png"])


def pixels(path: Path | str) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_strength_half_is_half_way_between_content_and_style(
    run: Callable[..., Said], picture: Callable[..., Path]
) -> None:
    source = picture("a.png")
    full = pixels(run(source, "--out", "full.png").out[0])
    half = pixels(run(source, "--out", "half.png", "--strength", "0.5").out[0])
    assert np.abs(half - (pixels(source) + full) / 2).max() <= 1


def test_a_mask_file_says_where_to_stylize(
    run: Callable[..., Said], picture: Callable[..., Path], here: Path
) -> None:
    source = picture("a.png")
    content = pixels(source)
    mask = np.zeros(content.shape[:2], np.uint8)
    mask[:, : mask.shape[1] // 2] = 255
    Image.fromarray(mask).save(here / "mask.png")
    full = pixels(run(source, "--out", "full.png").out[0])
    made = pixels(run(source, "--out", "masked.png", "--mask", "mask.png").out[0])
    middle = mask.shape[1] // 2
    np.testing.assert_array_equal(made[:, :middle], full[:, :middle])
    np.testing.assert_array_equal(made[:, middle:], content[:, middle:])


def test_layers_are_styles_with_a_mask_each_the_last_one_above(
    run: Callable[..., Said], picture: Callable[..., Path], here: Path, style: str
) -> None:
    source = picture("a.png")
    torch.manual_seed(5)
    other = TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1))
    save_checkpoint(here / "waves.safetensors", other, {"style": "waves", "steps": 1})
    shape, middle = pixels(source).shape[:2], 5
    left = np.zeros(shape, np.uint8)
    left[:, :middle] = 255
    Image.fromarray(left).save(here / "left.png")
    Image.fromarray(255 - left).save(here / "right.png")
    dots = pixels(run(source, "--out", "dots.png").out[0])
    made = pixels(run(source, "--out", "all.png", "--layers", "waves.safetensors=right.png").out[0])
    np.testing.assert_array_equal(made[:, :middle], dots[:, :middle])
    assert np.abs(made[:, middle:] - dots[:, middle:]).mean() > 2
    halved = ["--strength", "0.5", "--layers", "waves.safetensors=right.png"]
    half = pixels(run(source, "--out", "half.png", *halved).out[0])
    expected = (pixels(source) + made) / 2
    assert np.abs(half - expected).max() <= 2
    both = ["--layers", "waves.safetensors=right.png", f"{style}=right.png"]
    np.testing.assert_array_equal(pixels(run(source, "--out", "both.png", *both).out[0]), dots)


@pytest.mark.parametrize("flags", [["--stroke", "2"], ["--colors", "photo"], ["--colors", "match"]])
def test_each_control_changes_the_result_and_keeps_its_size(
    run: Callable[..., Said], picture: Callable[..., Path], flags: list[str]
) -> None:
    source = picture("a.png")
    full = pixels(run(source, "--out", "full.png").out[0])
    made = pixels(run(source, "--out", "other.png", *flags).out[0])
    assert made.shape == full.shape
    assert (made != full).mean() > 0.1


def test_videos_take_the_same_controls(
    said: Callable[..., Said], style: str, clip: Callable[..., Path], here: Path
) -> None:
    source = clip("a.mkv", codec="ffv1", pixels="bgr0")
    flags = ["--strength", "0", "--codec", "ffv1", "--format", "mkv", "--style", style]
    answer = said(command.main, [str(source), "--out", str(here / "b.mkv"), *flags])
    assert answer.code == 0

    def frames(path: Any) -> list[NDArray[Any]]:
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    for before, after in zip(frames(source), frames(here / "b.mkv"), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--strength", "2"], "--strength goes from 0 to 1, got 2.0"),
        (["--stroke", "0"], "--stroke goes from 0.25 to 4, got 0.0"),
        (["--colors", "blue"], "--colors must be one of style, photo, match"),
        (["--mask", "none.png"], "none.png"),
        (["--layers", "none.png"], "--layers takes STYLE=MASK"),
        (["--layers", "=none.png"], "--layers takes STYLE=MASK"),
        (["--layers", "the-screm=none.png"], "did you mean 'the-scream'?"),
        (["--layers", "the-scream=none.png"], "none.png"),
    ],
)
def test_wrong_controls_are_one_line_and_nothing_is_written(
    run: Callable[..., Said], picture: Callable[..., Path], here: Path, flags: list[str], words: str
) -> None:
    answer = run(picture("a.png"), "--out", "made.png", *flags)
    assert answer.code == 2
    assert any(words in line for line in answer.err)
    assert not (here / "made.png").exists()

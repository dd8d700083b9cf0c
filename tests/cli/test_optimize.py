"""``fast-nst optimize``, ``reconstruct`` and ``study``: what they write, say and refuse."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fast_nst.cli import optimize, reconstruct, study
from fast_nst.models.vgg import VGGFeatures, layer_names
from fast_nst.training.logging.run_log import read_metrics

if TYPE_CHECKING:
    from tests.cli.conftest import Said

LAYERS = ["--content-layers", "relu1_2", "--style-layers", "relu1_1", "relu1_2"]
PLACE = ["--vgg-weights", "vgg.safetensors", "--device", "cpu", "--precision", "fp32"]
QUICK = [*LAYERS, *PLACE, "--size", "32", "--steps", "4", "--report-every", "1"]


@pytest.fixture
def here(here: Path) -> Path:
    """The current folder, with a random network of two convolutions, a photograph and a painting."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vgg, names = VGGFeatures("vgg19", ["relu1_2"]), layer_names("vgg19")
    tensors = {
        f"features.{names.index(layer)}.{part}": tensor.detach().contiguous()
        for layer in ("conv1_1", "conv1_2")
        for part, tensor in vgg.body.get_submodule(layer).named_parameters()
    }
    save_file(tensors, here / "vgg.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels[0]).save(here / "photo.png")
    Image.fromarray(pixels[1]).save(here / "dots.jpg")
    return here


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_without_arguments_each_command_explains_itself(said: Callable[..., Said]) -> None:
    for command in (optimize, reconstruct, study):
        answer = said(command.main, [])
        assert (answer.code, answer.out) == (2, [])
        assert any("photo.jpg painting.jpg" in line for line in answer.err)


def test_a_picture_is_written_under_the_names_of_both(said: Callable[..., Said], here: Path) -> None:
    answer = said(optimize.main, ["photo.png", "dots.jpg", *QUICK])
    assert (answer.code, answer.out) == (0, ["photo_dots.png"]), answer.err
    assert size_of("photo_dots.png") == (32, 24)


def test_nothing_is_overwritten_unasked_and_that_is_said_before_the_work(
    said: Callable[..., Said], here: Path, override: Callable[[list[str], list[str]], list[str]]
) -> None:
    (here / "out.png").write_text("mine")
    words = override(QUICK, ["--out", "out.png", "--vgg-weights", "gone"])
    answer = said(optimize.main, ["photo.png", "dots.jpg", *words])
    assert answer.code == 2
    assert answer.errors == ["error: out.png: exists already; --overwrite replaces it"]
    assert said(optimize.main, ["photo.png", "dots.jpg", *QUICK, "--out", "out.png", "--overwrite"]).code == 0
    assert size_of("out.png") == (32, 24)


def test_a_run_folder_gets_metrics_a_plot_and_previews(said: Callable[..., Said], here: Path) -> None:
    words = ["photo.png", "dots.jpg", *QUICK, "--run", "run", "--preview-every", "2"]
    assert said(optimize.main, words).code == 0
    assert [line["step"] for line in read_metrics(here / "run/metrics.jsonl")] == [1, 2, 3, 4]
    assert sorted(p.name for p in (here / "run/previews").iterdir()) == ["step_000002.jpg", "step_000004.jpg"]
    assert (here / "run/loss.png").stat().st_size > 1000
    answer = said(optimize.main, [*words, "--out", "other.png"])
    assert answer.errors == [
        "error: run contains another run; give --overwrite to replace it, or another --run"
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_best_so_far(
    said: Callable[..., Said],
    here: Path,
    number: int,
    code: int,
    override: Callable[[list[str], list[str]], list[str]],
) -> None:
    def interrupt_when_running() -> None:
        while not (here / "run/metrics.jsonl").exists() or not read_metrics(here / "run/metrics.jsonl"):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt_when_running, daemon=True).start()
    long = override(QUICK, ["--steps", "100000", "--compile", "off", "--run", "run"])
    answer = said(optimize.main, ["photo.png", "dots.jpg", *long])
    assert (answer.code, answer.out) == (code, ["photo_dots.png"])
    assert re.fullmatch(
        r"stopped at iteration \d+ of 100000; the best result so far is saved", answer.err[-1]
    )
    assert size_of("photo_dots.png") == (32, 24)


def test_a_broken_loss_writes_the_last_good_picture_and_says_so(
    said: Callable[..., Said], here: Path
) -> None:
    # 0 at the start, which is the content image, and beyond the range of fp32 after the first step.
    answer = said(optimize.main, ["photo.png", "dots.jpg", *QUICK, "--content-weight", "3e38"])
    assert (answer.code, answer.out) == (1, ["photo_dots.png"])
    (line,) = answer.errors
    assert line.startswith("error: the loss or its gradient is not finite at iteration")
    assert size_of("photo_dots.png") == (32, 24)


def test_flags_override_a_file_and_a_file_a_preset(said: Callable[..., Said], here: Path) -> None:
    (here / "run.toml").write_text('steps = 9\nhistory = 3\nvgg_weights = "vgg.safetensors"\nsize = 32\n')
    words = ["photo.png", "dots.jpg", "--config", "run.toml", "--preset", "wang-candidate-1", *LAYERS]
    answer = said(optimize.main, [*words, "--steps", "7", "--run", "run", "--device", "cpu"])
    assert answer.code == 0, answer.err
    assert "wang-candidate-1, 32 x 24" in answer.err[0]
    (line,) = read_metrics(here / "run/metrics.jsonl")  # reports are every 10 iterations, and at the end
    assert (line["step"], line["learning_rate"]) == (7, 5.0)


def test_a_preset_may_stand_in_the_file(said: Callable[..., Said], here: Path) -> None:
    (here / "run.toml").write_text(
        'preset = "sharma"\nsize = 32\nsteps = 2\nvgg_weights = "vgg.safetensors"\n'
    )
    answer = said(optimize.main, ["photo.png", "dots.jpg", "--config=run.toml", *LAYERS])
    assert answer.code == 0, answer.err
    assert "sharma, 32 x 24" in answer.err[0]


def test_every_content_image_has_a_result_of_its_own(said: Callable[..., Said], here: Path) -> None:
    (here / "more").mkdir()
    for name in ("photo.png", "other.png"):
        shutil.copy(here / "photo.png", here / "more" / name)
    answer = said(optimize.main, ["photo.png", "more", "dots.jpg", *QUICK, "--out", "out", "--run", "run"])
    assert answer.code == 0, answer.err
    assert answer.out == ["out/photo_dots.png", "out/other_dots.png", "out/photo_dots_2.png"]
    assert [size_of(path) for path in answer.out] == [(32, 24)] * 3
    assert answer.err[-1] == "3 of 3 content images stylized"
    assert {path.name for path in (here / "run").iterdir()} == {"photo_dots", "other_dots", "photo_dots_2"}


def test_a_file_that_cannot_be_read_does_not_end_the_run(said: Callable[..., Said], here: Path) -> None:
    (here / "bad.png").write_bytes(b"no image")
    (here / "small.png").write_bytes((here / "photo.png").read_bytes()[:60])
    answer = said(optimize.main, ["bad.png", "gone.png", "small.png", "photo.png", "dots.jpg", *QUICK])
    assert (answer.code, answer.out) == (1, ["photo_dots.png"])
    assert [line.split(": ")[1] for line in answer.errors] == ["bad.png", "gone.png", "small.png"]
    assert answer.err[-1] == "1 of 4 content images stylized"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["photo.png"], "takes content images and a style image, got 1 file: CONTENT ... STYLE"),
        (["photo.png", "gone.jpg"], "gone.jpg: no such file"),
        (["photo.png", "dots.jpg", "--out", "a.xyz"], "a.xyz: cannot write '.xyz'"),
        (["photo.png", "dots.jpg", "--out", "no/a.png"], "no/a.png: the folder no does not exist"),
        (["photo.png", "dots.jpg", "--content-layers", "relu9_1"], "vgg19 has no layer 'relu9_1'"),
        (["photo.png", "dots.jpg", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["photo.png", "dots.jpg", "--style-layers", "relu2_1"], "lacks conv2_1 of vgg19"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    said: Callable[..., Said],
    here: Path,
    words: list[str],
    told: str,
    override: Callable[[list[str], list[str]], list[str]],
) -> None:
    answer = said(optimize.main, override([*LAYERS, *PLACE], words))
    assert answer.code == 2
    (line,) = answer.errors
    assert told in line


def test_an_unknown_preset_is_refused_with_the_known_ones(said: Callable[..., Said], here: Path) -> None:
    answer = said(optimize.main, ["photo.png", "dots.jpg", "--preset", "wangg"])
    assert answer.code == 2
    assert any("wang-candidate-1" in line for line in answer.err)


def test_reconstructions_are_one_sheet(said: Callable[..., Said], here: Path) -> None:
    words = [
        "photo.png",
        "dots.jpg",
        *PLACE,
        "--layers",
        "conv1_1",
        "conv1_2",
        "--size",
        "24",
        "--steps",
        "3",
    ]
    answer = said(reconstruct.main, words)
    assert (answer.code, answer.out) == (0, ["reconstructions.png"]), answer.err
    assert size_of("reconstructions.png")[0] >= 660  # three cells of 220 pixels, and gaps
    answer = said(reconstruct.main, words)
    assert answer.errors == ["error: reconstructions.png: exists already; --overwrite replaces it"]
    assert said(reconstruct.main, [*words, "--out", "a.jpg"]).errors == [
        "error: --out must end in .png, got a.jpg"
    ]


def test_a_study_is_named_first(said: Callable[..., Said], here: Path) -> None:
    assert (
        said(study.main, ["tvv", "photo.png", "dots.jpg"]).errors[0].startswith("error: unknown study 'tvv'")
    )
    assert "takes a content image and a style image" in said(study.main, ["start", "photo.png"]).errors[0]
    answer = said(study.main, ["start", "photo.png", "dots.jpg", "--loss-network", "vgg16"])
    assert answer.errors == ["error: the studies use layers of vgg19, got --loss-network vgg16"]

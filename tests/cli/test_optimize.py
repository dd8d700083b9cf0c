"""``fast-nst optimize``, ``reconstruct`` and ``study``: what they write, say and refuse."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fast_nst.baseline.image_optimizer import PictureOptimizer
from fast_nst.cli import optimize, reconstruct, study
from fast_nst.models.vgg import VGGFeatures, layer_names
from fast_nst.training.logging.run_log import read_metrics

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


def test_without_arguments_each_command_explains_itself(said):
    for command in (optimize, reconstruct, study):
        answer = said(command.main, [])
        assert (answer.code, answer.out) == (2, [])
        assert any("photo.jpg painting.jpg" in line for line in answer.err)


def test_a_picture_is_written_under_the_names_of_both(said, here):
    answer = said(optimize.main, ["photo.png", "dots.jpg", *QUICK])
    assert (answer.code, answer.out) == (0, ["photo_dots.png"]), answer.err
    assert size_of("photo_dots.png") == (32, 24)


def test_nothing_is_overwritten_unasked_and_that_is_said_before_the_work(said, here, override):
    (here / "out.png").write_text("mine")
    words = override(QUICK, ["--out", "out.png", "--vgg-weights", "gone"])
    answer = said(optimize.main, ["photo.png", "dots.jpg", *words])
    assert answer.code == 2
    assert answer.errors == ["error: out.png: exists already; --overwrite replaces it"]
    assert said(optimize.main, ["photo.png", "dots.jpg", *QUICK, "--out", "out.png", "--overwrite"]).code == 0
    assert size_of("out.png") == (32, 24)


def test_a_run_folder_gets_metrics_a_plot_and_previews(said, here):
    words = ["photo.png", "dots.jpg", *QUICK, "--run", "run", "--preview-every", "2"]
    assert said(optimize.main, words).code == 0
    assert [line["step"] for line in read_metrics(here / "run/metrics.jsonl")] == [1, 2, 3, 4]
    assert sorted(p.name for p in (here / "run/previews").iterdir()) == ["step_000002.jpg", "step_000004.jpg"]
    assert (here / "run/loss.png").stat().st_size > 1000
    answer = said(optimize.main, [*words, "--out", "other.png"])
    assert answer.errors == ["error: run holds another run; give --overwrite to replace it, or another --run"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_best_so_far(said, here, monkeypatch, number, code, override):
    evaluate = PictureOptimizer._evaluate

    def interrupted(self: PictureOptimizer, *arguments: object) -> object:
        if self.step == 2:
            os.kill(os.getpid(), number)
        return evaluate(self, *arguments)

    monkeypatch.setattr(PictureOptimizer, "_evaluate", interrupted)
    answer = said(optimize.main, ["photo.png", "dots.jpg", *override(QUICK, ["--steps", "1000"])])
    assert (answer.code, answer.out) == (code, ["photo_dots.png"])
    assert answer.err[-1] == "stopped at iteration 3 of 1000; what is written is the best so far"
    assert size_of("photo_dots.png") == (32, 24)


def test_a_broken_loss_writes_the_last_good_picture_and_says_so(said, here, monkeypatch):
    evaluate = PictureOptimizer._evaluate

    def broken(self: PictureOptimizer, *arguments: object) -> object:
        terms, gradient = evaluate(self, *arguments)
        return terms, gradient * float("nan") if self.step == 2 else gradient

    monkeypatch.setattr(PictureOptimizer, "_evaluate", broken)
    answer = said(optimize.main, ["photo.png", "dots.jpg", *QUICK])
    assert (answer.code, answer.out) == (1, ["photo_dots.png"])
    (line,) = answer.errors
    assert line.startswith("error: the loss or its gradient is not finite at iteration 3; what is written")


def test_flags_override_a_file_and_a_file_a_preset(said, here, monkeypatch):
    seen = []
    monkeypatch.setattr(optimize, "_run", lambda optimizer, config, out: seen.append(config) or 0)
    (here / "run.toml").write_text('steps = 9\nhistory = 3\nvgg_weights = "vgg.safetensors"\nsize = 32\n')
    words = ["photo.png", "dots.jpg", "--config", "run.toml", "--preset", "wang-candidate-1", *LAYERS]
    answer = said(optimize.main, [*words, "--steps", "7"])
    assert answer.code == 0, answer.err
    (config,) = seen
    assert (config.steps, config.history, config.preset) == (7, 3, "wang-candidate-1")
    assert (config.optimizer, config.learning_rate, config.start) == ("adam", 5.0, "photo")
    assert config.content_layers == ("relu1_2",)


def test_a_preset_may_stand_in_the_file(said, here, monkeypatch):
    seen = []
    monkeypatch.setattr(optimize, "_run", lambda optimizer, config, out: seen.append(config) or 0)
    (here / "run.toml").write_text('preset = "sharma"\nsize = 32\nvgg_weights = "vgg.safetensors"\n')
    answer = said(optimize.main, ["photo.png", "dots.jpg", "--config=run.toml", *LAYERS])
    assert answer.code == 0, answer.err
    assert (seen[0].preset, seen[0].content_factor, seen[0].steps) == ("sharma", 1.0, 500)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["photo.png"], "takes a photograph and a painting, got 1 files: PHOTO PAINTING"),
        (["photo.png", "dots.jpg", "more.jpg"], "got 3 files"),
        (["photo.png", "gone.jpg"], "gone.jpg: no such file"),
        (["photo.png", "dots.jpg", "--out", "a.xyz"], "a.xyz: cannot write '.xyz'"),
        (["photo.png", "dots.jpg", "--out", "no/a.png"], "no/a.png: the folder no does not exist"),
        (["photo.png", "dots.jpg", "--content-layers", "relu9_1"], "vgg19 has no layer 'relu9_1'"),
        (["photo.png", "dots.jpg", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["photo.png", "dots.jpg", "--style-layers", "relu2_1"], "lacks conv2_1 of vgg19"),
    ],
)
def test_what_cannot_be_done_is_one_line(said, here, words, told, override):
    answer = said(optimize.main, override([*LAYERS, *PLACE], words))
    assert answer.code == 2
    (line,) = answer.errors
    assert told in line


def test_an_unknown_preset_is_refused_with_the_known_ones(said, here):
    answer = said(optimize.main, ["photo.png", "dots.jpg", "--preset", "wangg"])
    assert answer.code == 2
    assert any("wang-candidate-1" in line for line in answer.err)


def test_reconstructions_are_one_sheet(said, here):
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
    assert size_of("reconstructions.png")[0] == 660  # three cells of 220 pixels
    answer = said(reconstruct.main, words)
    assert answer.errors == ["error: reconstructions.png: exists already; --overwrite replaces it"]
    assert said(reconstruct.main, [*words, "--out", "a.jpg"]).errors == [
        "error: --out must end in .png, got a.jpg"
    ]


def test_a_study_is_named_first(said, here):
    assert (
        said(study.main, ["tvv", "photo.png", "dots.jpg"]).errors[0].startswith("error: unknown study 'tvv'")
    )
    assert "takes a photograph and a painting" in said(study.main, ["start", "photo.png"]).errors[0]
    answer = said(study.main, ["start", "photo.png", "dots.jpg", "--loss-network", "vgg16"])
    assert answer.errors == ["error: the studies name layers of vgg19, got --loss-network vgg16"]

"""``train.py``: a whole run on the smallest of networks, what it leaves, and how it ends."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from fast_nst.cli import common, stylize, train
from fast_nst.cli.common import Terminated
from fast_nst.config import TrainConfig
from fast_nst.errors import InputError
from fast_nst.models.checkpoint import load_checkpoint
from fast_nst.training.state.lock import locked
from fast_nst.training.trainer import Trainer

if TYPE_CHECKING:
    from tests.cli.conftest import Said

SCRIPT = Path(__file__).parents[2] / "train.py"


def script(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    words = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.Popen(words, cwd=cwd, stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.fixture(scope="module")
def trained(material: Path, quick: list[str], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A finished run of six steps in a folder of its own, and what it said."""
    folder = tmp_path_factory.mktemp("trained") / "here"
    shutil.copytree(material, folder)
    process = script(*quick, "--steps", "6", "--report-every", "2", cwd=folder)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    return SimpleNamespace(folder=folder, run=folder / "runs/the-waves", out=out, err=err.splitlines())


@pytest.fixture
def here(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the material in it."""
    folder = tmp_path / "here"
    shutil.copytree(material, folder)
    monkeypatch.chdir(folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def same_weights(a: Path, b: Path) -> bool:
    one, other = (load_checkpoint(path).network.state_dict() for path in (a, b))
    return all(torch.equal(one[name], other[name]) for name in one)


def test_without_arguments_it_explains_itself_in_a_few_lines(said: Callable[..., Said]) -> None:
    answer = said(train.main, [])
    assert answer.code == 2
    assert answer.out == []
    assert 3 <= len(answer.err) <= 12
    assert any("--style" in line and "--dataset" in line for line in answer.err)


def test_a_run_says_where_its_checkpoint_is_and_little_else(trained: SimpleNamespace) -> None:
    assert trained.out == "the-waves.safetensors\n"
    line, *progress = trained.err
    assert "5 photographs, cpu fp32, from step 0 to 6" in line
    assert "runs/the-waves" in line
    assert all(words.startswith("step ") for words in progress)  # one every ten seconds


def test_a_run_leaves_its_log_its_curve_its_previews_and_its_settings(trained: SimpleNamespace) -> None:
    lines = [json.loads(line) for line in (trained.run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    for line in lines:
        terms = (line[name] for name in ("content", "style", "tv", "grid", "border"))
        assert line["total"] == pytest.approx(sum(terms))
    assert list(trained.run.glob("events.out.tfevents.*"))
    for name in ("loss.png", "previews/step_000000.jpg", "previews/step_000006.jpg"):
        with Image.open(trained.run / name) as image:
            image.load()
    settings = tomllib.loads((trained.run / "config.toml").read_text())
    assert (settings["steps"], settings["preset"]) == (6, "tiny")


def test_a_checkpoint_is_used_by_stylize_at_once(
    trained: SimpleNamespace, said: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.folder)
    answer = said(stylize.main, ["photos/0.png", "--style", "the-waves.safetensors", "--overwrite"])
    assert answer.code == 0
    assert answer.out == ["0_the-waves.png"]
    with Image.open("0_the-waves.png") as image:
        assert image.size == (48, 40)


def test_a_checkpoint_knows_its_recipe_but_no_folders(trained: SimpleNamespace) -> None:
    metadata = load_checkpoint(trained.folder / "the-waves.safetensors").metadata
    assert (metadata["style"], metadata["steps"], metadata["photographs"]) == ("the-waves", 6, 5)
    assert metadata["recipe"]["loss"]["style_layers"] == ["relu1_1", "relu1_2"]
    assert str(trained.folder) not in json.dumps(metadata)


def test_a_finished_run_is_not_replaced_by_accident(
    trained: SimpleNamespace, said: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, quick: list[str]
) -> None:
    monkeypatch.chdir(trained.folder)
    before = (trained.folder / "the-waves.safetensors").read_bytes()
    answer = said(train.main, [*quick, "--steps", "6"])
    assert answer.code == 2
    (line,) = answer.err
    assert all(word in line for word in ("the-waves.safetensors exists", "--overwrite", "--resume"))
    assert (trained.folder / "the-waves.safetensors").read_bytes() == before


def test_overwrite_starts_over_and_gives_the_same_again(
    trained: SimpleNamespace, said: Callable[..., Said], here: Path, quick: list[str]
) -> None:
    shutil.copytree(trained.run, here / "runs/the-waves")
    shutil.copy(trained.folder / "the-waves.safetensors", here)
    assert said(train.main, [*quick, "--steps", "6", "--report-every", "2", "--overwrite"]).code == 0
    assert same_weights(here / "the-waves.safetensors", trained.folder / "the-waves.safetensors")
    assert len((here / "runs/the-waves/metrics.jsonl").read_text().splitlines()) == 3


@contextmanager
def at_each_step(act: Callable[[int], object]) -> Iterator[None]:
    """Do something during every training step, whose number is counted from 1."""
    steps = itertools.count(1)
    hook = register_optimizer_step_post_hook(lambda *_: act(next(steps)))
    yield
    hook.remove()


def signal_at(step: int, number: int) -> Callable[[int], None]:
    """Send this process a signal during that step."""
    return lambda now: os.kill(os.getpid(), number) if now == step else None


def test_three_steps_and_three_more_are_six_bit_for_bit(
    trained: SimpleNamespace, said: Callable[..., Said], here: Path, quick: list[str]
) -> None:
    run = [*quick, "--steps", "6", "--report-every", "1"]
    with at_each_step(signal_at(3, signal.SIGINT)):
        answer = said(train.main, run)
    assert answer.code == 130
    assert answer.err[-1] == "stopped at step 3; resume with the same command and --resume"
    assert not same_weights(here / "the-waves.safetensors", trained.folder / "the-waves.safetensors")
    answer = said(train.main, [*run, "--resume"])
    assert answer.code == 0
    assert "from step 3 to 6" in answer.err[0]
    assert same_weights(here / "the-waves.safetensors", trained.folder / "the-waves.safetensors")
    lines = Path("runs/the-waves/metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_leaves_a_usable_checkpoint(
    said: Callable[..., Said], here: Path, number: int, code: int, quick: list[str]
) -> None:
    process = script(*quick, "--steps", "100000", "--report-every", "1", cwd=here)
    metrics, patience = here / "runs/the-waves/metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < patience and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=280)
    assert process.returncode == code, err
    assert out == "the-waves.safetensors\n"
    assert re.search(r"^stopped at step \d+; resume .* --resume$", err, flags=re.M)
    assert "Traceback" not in err
    assert not [name for name in files(here) if "partial" in name or "fresh" in name]
    assert load_checkpoint("the-waves.safetensors").metadata["steps"] >= 1


def test_a_second_signal_ends_a_run_at_once() -> None:
    stopped = []
    trainer = SimpleNamespace(stop=lambda: stopped.append(True), compiling=False)
    for number, end in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)):
        with common.stopped_by_signals(trainer, "") as caught:
            os.kill(os.getpid(), number)
            assert caught == [number]
            with pytest.raises(end):
                os.kill(os.getpid(), number)
    assert stopped == [True, True]


def test_a_signal_while_a_step_compiles_ends_the_run_at_once() -> None:
    trainer = SimpleNamespace(stop=lambda: pytest.fail("waits for the step"), compiling=True)
    for number, end in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)):
        with common.stopped_by_signals(trainer, "") as caught, pytest.raises(end):
            os.kill(os.getpid(), number)
        assert caught == []


def test_a_run_compiles_in_the_first_step_of_a_stage_only(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *given: function(*given))
    trainer = Trainer(replace(config, compile="on", start_size=32, start_steps=3, image_size=40))
    compiling: list[bool] = []
    with at_each_step(lambda _: compiling.append(trainer.compiling)):
        list(trainer)
    assert [i for i, told in enumerate(compiling) if told] == [0, 3]


def test_sigusr1_saves_state_and_checkpoint_and_the_run_goes_on(
    said: Callable[..., Said], here: Path, quick: list[str]
) -> None:
    steps: list[int] = []

    def act(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        if step == 4:
            steps.append(load_checkpoint("the-waves.safetensors").metadata["steps"])

    with at_each_step(act):
        answer = said(train.main, [*quick, "--steps", "5", "--report-every", "1"])
    assert (answer.code, answer.out) == (0, ["the-waves.safetensors"])
    assert steps == [3]
    assert "saving the-waves.safetensors after this step" in answer.err
    assert load_checkpoint("the-waves.safetensors").metadata["steps"] == 5


def test_a_run_in_a_folder_where_another_one_trains_is_refused(
    said: Callable[..., Said], here: Path, quick: list[str]
) -> None:
    Path("runs/the-waves").mkdir(parents=True)
    with locked(Path("runs/the-waves")):
        answer = said(train.main, [*quick, "--steps", "2"])
    assert answer.code == 2
    assert answer.errors == [
        f"error: another run (process {os.getpid()}) is training in runs/the-waves; "
        "wait for it, or give another --run"
    ]


def test_running_out_of_memory_is_one_line_with_the_cure(
    said: Callable[..., Said], here: Path, quick: list[str]
) -> None:
    with at_each_step(lambda _: torch.empty(2**60, dtype=torch.uint8)):
        answer = said(train.main, [*quick, "--steps", "2"])
    assert answer.code == 2
    assert answer.errors == [
        "error: out of memory with --batch-size 2 and --image-size 32: lower one of them, in a new --run"
    ]
    assert not any("Traceback" in line for line in answer.err)


@pytest.mark.parametrize(("share", "code"), [("0.4", 0), ("0.1", 2)])
def test_bad_photographs_are_listed_and_too_many_end_the_run(
    said: Callable[..., Said], here: Path, quick: list[str], share: str, code: int
) -> None:
    for name in ("bad.jpg", "worse.jpg"):
        Path("photos", name).touch()
    answer = said(train.main, [*quick, "--steps", "8", "--max-bad", share])
    assert answer.code == code
    if code:
        (line,) = answer.errors
        assert "2 of 7 photographs in photos cannot be read, allowed are 1: " in line
        assert "raise --max-bad" in line
    else:
        assert [line for line in answer.err[1:] if not line.startswith("step ")] == [
            "2 of 7 photographs could not be read and were left out:",
            "  bad.jpg: the file is empty",
            "  worse.jpg: the file is empty",
        ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--style", "gone.jpg"], ["gone.jpg", "no such file"]),
        (["--style", "photos"], ["photos", "folder"]),
        (["--dataset", "gone"], ["there is no gone", "--dataset"]),
        (["--dataset", "empty"], ["empty", "no pictures"]),
        (["--vgg-weights", "gone.safetensors"], ["gone.safetensors", "--vgg-weights"]),
        (["--vgg-weights", "the_waves.png"], ["the_waves.png", "is a picture, not a model"]),
        (["--content-layers", "relu2_2"], ["vgg.safetensors", "conv2_1", "relu2_2"]),
        (["--content-layers", "relu2_9"], ["relu2_9", "did you mean 'relu2_"]),
        (["--loss-network", "vgg19", "--style-layers", "conv3_4"], ["vgg.safetensors", "conv2_1"]),
        (["--out", "the-waves.pth"], ["the-waves.pth", ".safetensors"]),
        (["--out", "the_waves.png/a.safetensors"], ["the_waves.png"]),
        (["--image-size", "33"], ["--image-size", "33", "32"]),
        (["--device", "gpu"], ["'gpu'", "cuda"]),
        (["--config", "gone.toml"], ["gone.toml"]),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(
    said: Callable[..., Said],
    here: Path,
    changed: list[str],
    told: list[str],
    quick: list[str],
    override: Callable[[list[str], list[str]], list[str]],
) -> None:
    (here / "empty").mkdir()
    before = files(here)
    answer = said(train.main, override(quick, changed))
    assert answer.code == 2
    assert answer.out == []
    (line,) = answer.err
    assert line.startswith("error: ")
    assert all(word in line for word in told), line
    assert files(here) == before


def test_a_resumed_run_keeps_its_settings(
    trained: SimpleNamespace, said: Callable[..., Said], here: Path, quick: list[str]
) -> None:
    shutil.copytree(trained.run, here / "runs/the-waves")
    answer = said(train.main, [*quick, "--steps", "8", "--resume", "--seed", "1"])
    assert answer.code == 2
    assert "seed was 0, is 1" in answer.err[-1]


@pytest.fixture
def parsed(
    said: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., TrainConfig | list[str]]:
    """The config a command line makes, or the lines that refuse it."""
    seen: list[TrainConfig] = []

    def refuse(config: TrainConfig, **_: Any) -> None:
        seen.append(config)
        raise InputError("enough is known")

    def parse(*arguments: str) -> TrainConfig | list[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("fast_nst.training.trainer.Trainer", refuse)
        answer = said(train.main, list(arguments))
        assert answer.code == 2
        return seen.pop() if seen else answer.err

    return parse


def test_flags_override_the_file_and_the_file_the_defaults(
    parsed: Callable[..., Any], tmp_path: Path
) -> None:
    plain = 'style = "wave.jpg"\nsteps = 7\nseed = 3\npreset = "small"\n'
    (tmp_path / "run.toml").write_text(f"{plain}[loss]\nstyle_weight = 9\ntv_weight = 2.0\n")
    for config in (["--config", "run.toml"], ["--config=run.toml"]):
        found = parsed("--dataset", "photos", *config, "--seed", "4", "--tv-weight", "0")
        assert isinstance(found, TrainConfig)
        assert (found.style, found.dataset, found.steps, found.seed) == (Path("wave.jpg"), "photos", 7, 4)
        assert (found.preset, found.loss.style_weight, found.loss.tv_weight) == ("small", 9.0, 0.0)
        assert (found.batch_size, found.loss.content_weight) == (4, 1.0)


def test_the_settings_of_a_run_can_be_given_to_the_next(
    parsed: Callable[..., Any], trained: SimpleNamespace
) -> None:
    found = parsed("--config", str(trained.run / "config.toml"), "--seed", "5")
    assert isinstance(found, TrainConfig)
    assert type(found) is TrainConfig
    assert (found.steps, found.image_size, found.seed) == (6, 32, 5)
    assert found.loss.style_layers == ("relu1_1", "relu1_2")


@pytest.mark.parametrize("written", ["flag", "file"])
def test_flags_and_files_win_over_what_an_objective_sets(
    parsed: Callable[..., TrainConfig | list[str]], tmp_path: Path, written: str
) -> None:
    """Also where the objective comes from a flag and the rest from a file, and the other way around."""
    chosen, own = '[loss]\nobjective = "dimensionless"\n', "[loss]\nstyle_weight = 9\n"
    (tmp_path / "run.toml").write_text("seed = 3\n" + (own if written == "flag" else chosen))
    flags = ["--objective", "dimensionless"] if written == "flag" else ["--style-weight", "9"]
    found = parsed("--style", "a.jpg", "--dataset", "b", "--config", "run.toml", *flags)
    assert isinstance(found, TrainConfig)
    assert (found.loss.objective, found.loss.style_weight) == ("dimensionless", 9.0)
    assert (found.loss.content_layers, found.style_size, found.loss_network) == (("relu2_2",), 384, "vgg16")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stepz = 3", "TrainConfig has no option 'stepz'; did you mean 'steps'?"),
        ("[loss]\nstyle_wieght = 3", "LossConfig has no option 'style_wieght'; did you mean 'style_weight'?"),
        ("steps = 'many'", "TrainConfig.steps must be of type int, got 'many'"),
        ("preset = 'large'", "TrainConfig.preset must be one of default, small"),
        ("steps = 0", "--steps must be at least 1, got 0"),
        ("steps 3", "run.toml is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(
    parsed: Callable[..., Any], tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "run.toml").write_text(text)
    (line,) = list(parsed("--style", "a.jpg", "--dataset", "b", "--config", "run.toml"))
    assert line.startswith("error: --config run.toml")
    assert told in line


def test_what_neither_the_file_nor_the_flags_give_is_asked_for(
    parsed: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text('style = "wave.jpg"')
    lines = parsed("--config", "run.toml")
    assert any("--dataset" in line for line in lines)
    assert not any("--style" in line for line in lines)


def test_switches_are_flags_that_can_be_turned_off(parsed: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("overwrite = true")
    base = ["--style", "a.jpg", "--dataset", "b"]
    assert parsed(*base, "--overwrite").overwrite
    assert parsed(*base, "--config", "run.toml").overwrite
    assert not parsed(*base, "--config", "run.toml", "--no-overwrite").overwrite
    assert any("False" in line for line in parsed(*base, "--overwrite", "False"))


def test_an_unknown_flag_gets_the_nearest_name(parsed: Callable[..., Any]) -> None:
    lines = parsed("--style", "a.jpg", "--dataset", "b", "--style-wieght", "3")
    assert any("--style-weight" in line for line in lines)


def test_a_value_out_of_range_is_one_line(parsed: Callable[..., Any]) -> None:
    assert parsed("--style", "a", "--dataset", "b", "--steps", "0") == [
        "error: --steps must be at least 1, got 0"
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--style and --dataset must be given; "),
        (["--style", "a.jpg"], "--dataset must be given; "),
        (["--styl", "a.jpg"], "unknown option --styl; did you mean --style?"),
        (["--dataset", "x", "--style", "a.jpg", "--tv-weight", "-1"], "--tv-weight must be a finite number"),
        (["--dataset", "x", "--style", "a.jpg", "b.jpg"], "unexpected argument 'b.jpg'; "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_line_is_one_clear_line(
    said: Callable[..., Said], arguments: list[Any], told: str
) -> None:
    answer = said(train.main, ["--steps", "2", *arguments])
    assert (answer.code, answer.out) == (2, [])
    assert len(answer.err) == 1
    assert answer.err[0].startswith(f"error: {told}")

"""Whatever happens to a run, nothing is lost, nothing goes black, and resumed it is the undisturbed one."""

from __future__ import annotations

import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fast_nst.config import TrainConfig
from fast_nst.errors import InputError
from fast_nst.models.checkpoint import load_checkpoint, read_tensors
from fast_nst.training.logging.run_log import read_metrics
from fast_nst.training.trainer import Trainer

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
LOSSES = ("content", "style", "tv", "grid", "temporal", "border", "total", "validation")


class Lives:
    """Starts ``train.py`` again and again in a folder, and ends it."""

    def __init__(self, folder: Path, flags: list[str]) -> None:
        self.folder, self.flags, self.run = folder, flags, folder / "runs/the-waves"
        self._nursery = subprocess.Popen(
            [sys.executable, str(HERE / "lives.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def start(self, *more: str) -> int:
        """A new life, which goes on from the last one's state if there is one; the number of its process."""
        on = ["--resume"] if any(self.run.glob("*last.safetensors")) else []
        order = {"arguments": [*self.flags, *more, *on], "folder": str(self.folder), "said": "said.txt"}
        self._nursery.stdin.write(json.dumps(order).encode() + b"\n")
        return self._answer()

    def _answer(self) -> int:
        return int(self._nursery.stdout.readline())

    def ended(self, seconds: float | None = None) -> int | None:
        """The exit code, or None while it lives."""
        assert self._nursery.stdout is not None
        ready, _, _ = select.select([self._nursery.stdout], [], [], seconds)
        return self._answer() if ready else None

    @property
    def words(self) -> str:
        return (self.folder / "said.txt").read_text()

    @property
    def losses(self) -> dict[int, list[float | None]]:
        """Every loss value of the log, by step; each step once."""
        lines = read_metrics(self.run / "metrics.jsonl")
        assert len({line["step"] for line in lines}) == len(lines)
        return {line["step"]: [line[name] for name in LOSSES] for line in lines}

    @property
    def step(self) -> int:
        return max((line["step"] for line in read_metrics(self.run / "metrics.jsonl")), default=0)

    def close(self) -> None:
        with self._nursery:  # closes its pipes, which ends it, and waits for it
            pass


def tensors(path: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in read_tensors(path)[0].items()}


@pytest.fixture
def lives(material: Path, quick: list[str], tmp_path: Path) -> Iterator[Lives]:
    """A run of twenty steps that saves every other one."""
    steps = ["--steps", "20", "--save-every", "2", "--report-every", "1", "--validate-every", "5"]
    folder = shutil.copytree(material, tmp_path / "here")
    for i in range(5, 12):  # enough for some to be kept apart
        shutil.copy(folder / f"photos/{i % 5}.png", folder / f"photos/{i}.png")
    lives = Lives(folder, [*quick, *steps])
    yield lives
    lives.close()


def moment(lives: Lives, step_before: int) -> str:
    """What a run that was just killed was doing."""
    if any(lives.run.glob("*fresh-*")) or any(lives.run.glob(".*.partial")):
        return "save"
    return "steps" if lives.step > step_before else "start-up"


def killed_at_random(lives: Lives, kills: int, seed: int) -> Counter[str]:
    """Kill runs at random moments, resume them to their end, and compare each with an undisturbed one."""
    began = time.monotonic()
    lives.start()
    assert lives.ended() == 0, lives.words
    whole, losses = time.monotonic() - began, lives.losses
    last, style = tensors(lives.run / "last.safetensors"), tensors(lives.folder / "the-waves.safetensors")
    chance, moments, life = random.Random(seed), Counter[str](), 0
    while sum(moments.values()) < kills:
        shutil.rmtree(lives.folder / "runs")
        (lives.folder / "the-waves.safetensors").unlink()
        code = None
        while code is None:
            before, life = lives.step, life + 1
            child = lives.start("--workers", str(life % 4))
            patience = chance.uniform(0, whole) if sum(moments.values()) < kills else None
            code = lives.ended(patience)
            if code is None:
                os.kill(child, signal.SIGKILL)
                killed = lives.ended() == -signal.SIGKILL
                moments[moment(lives, before) if killed else "at the end"] += killed
        assert code == 0, lives.words
        assert lives.losses == losses
        assert tensors(lives.run / "last.safetensors") == last
        assert tensors(lives.folder / "the-waves.safetensors") == style
        assert not any(lives.run.glob(".*.partial"))
    return moments


@pytest.mark.slow
def test_a_run_killed_at_three_random_moments_is_the_undisturbed_run(lives: Lives) -> None:
    assert sum(killed_at_random(lives, 3, seed=1).values()) == 3


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_run_killed_at_fifty_random_moments_is_the_undisturbed_run(
    lives: Lives, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = killed_at_random(lives, 50, seed=0)
    assert sum(moments.values()) == 50
    with capsys.disabled():
        print(f"\nkilled 50 times and resumed 50 times, bit-identical; during: {dict(moments)}")


def terminated_at_random(lives: Lives, times: int) -> list[tuple[int, float]]:
    """End an endless run at random moments; how many steps and seconds later its state was saved."""
    chance, late = random.Random(0), []
    for _ in range(times):
        before = lives.step
        child = lives.start("--steps", "1000000")
        while lives.step <= before:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 1))
        seen, asked = lives.step, time.monotonic()
        os.kill(child, signal.SIGTERM)
        assert lives.ended() == 128 + signal.SIGTERM, lives.words
        saved = read_tensors(lives.run / "last.safetensors")[1]["training"]["step"]
        assert load_checkpoint(lives.folder / "the-waves.safetensors").metadata["steps"] == saved
        late.append((saved - seen, time.monotonic() - asked))
    return late


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_reported_to_end_at_twenty_moments_saves_within_two_steps_or_five_seconds(
    lives: Lives, capsys: pytest.CaptureFixture[str]
) -> None:
    late = terminated_at_random(lives, 20)
    with capsys.disabled():
        print(f"\nterminated 20 times: saved at most {max(n for n, _ in late)} steps later, exit code 143")
    assert all(steps <= 2 or seconds <= 5 for steps, seconds in late), late


# -------------------------------------------------------------------------------------- numbers that are none


def spoil(trainer: Trainer, what: str, step: int) -> None:
    """A NaN or an infinity in the loss, a gradient, a weight or an input of one step, once."""
    network, first = trainer.network, next(trainer.network.parameters())
    value = torch.inf if step % 2 else torch.nan
    left = [True]

    def now() -> bool:
        return trainer.step + 1 == step and bool(left) and left.pop()

    def loss(_: nn.Module, __: object, terms: Any) -> Any:
        return terms._replace(style=terms.style * value) if now() else None

    def gradient(found: torch.Tensor) -> Any:
        return found * value if now() else None

    def weight(*_: object) -> None:
        if now():
            first.data[0, 0, 0, 0] = value

    def photographs(_: nn.Module, images: tuple[torch.Tensor]) -> Any:
        return (images[0].index_fill(3, torch.tensor([7]), value),) if now() else None

    if what == "loss":
        trainer.training_step.objective.register_forward_hook(loss)
    elif what == "gradient":
        first.register_hook(gradient)
    else:
        network.register_forward_pre_hook(weight if what == "weight" else photographs)


late = [pytest.param(step, marks=pytest.mark.slow) for step in (1, 4, 7, 9)]


@pytest.mark.parametrize("step", [2, *late])
@pytest.mark.parametrize(
    "what",
    ["weight", *(pytest.param(name, marks=pytest.mark.slow) for name in ("input", "loss", "gradient"))],
)
def test_a_number_that_is_none_is_never_saved_and_the_run_recovers_or_ends_with_a_word(
    config: TrainConfig, what: str, step: Any
) -> None:
    trainer = Trainer(replace(config, steps=10, save_every=2, preview_every=5))
    spoil(trainer, what, step)
    saved: set[bytes] = set()
    try:
        for _ in trainer:
            for path in config.run.glob("*.safetensors"):
                assert all(torch.isfinite(tensor).all() for tensor in read_tensors(path)[0].values())
                saved.add(path.read_bytes())
        assert trainer.step == 10
        assert all(torch.isfinite(t).all() for t in load_checkpoint(config.out).network.state_dict().values())
    except InputError as error:
        assert "not finite" in str(error) and "\n" not in str(error)
    assert len(saved) >= 2
    assert Trainer(replace(config, steps=10, resume=True)).step >= 2 * ((step - 1) // 2)


@pytest.mark.slow
def test_a_run_that_goes_back_and_is_killed_later_is_the_run_that_only_goes_back(
    config: TrainConfig, tmp_path: Path
) -> None:
    config = replace(config, steps=12, save_every=4, averaging=0.5)
    runs = []
    for name in ("straight", "resumed"):
        c = replace(config, run=tmp_path / name, out=tmp_path / f"{name}.safetensors")
        trainer = Trainer(c)
        spoil(trainer, "weight", 6)
        if name == "straight":
            list(trainer)
        else:
            steps = iter(trainer)
            while trainer.progress.setbacks == 0:  # to the first step after it went back
                next(steps)
            del steps  # as if killed: nothing is saved any more
            list(Trainer(replace(c, resume=True)))
        runs.append((tensors(c.run / "last.safetensors"), c))
    assert runs[0][0] == runs[1][0]
    first, second = ([line["total"] for line in read_metrics(c.run / "metrics.jsonl")] for _, c in runs)
    assert first == second and len(first) == 12


# ------------------------------------------------------------------------------------------------- full disks


@pytest.mark.slow
def test_a_disk_that_is_full_ten_times_costs_no_step_no_line_and_no_state(
    config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Trainer(replace(config, steps=44, save_every=3, preview_every=7))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for report in trainer:
            full = report.step % 4 >= 2 and report.step < 42
            resource.setrlimit(resource.RLIMIT_FSIZE, (600 if full else limits[0], limits[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [line["step"] for line in read_metrics(config.run / "metrics.jsonl")] == list(range(1, 45))
    assert load_checkpoint(config.out).metadata["steps"] == 44
    said = [record.getMessage() for record in caplog.records]
    assert sum("state cannot be saved" in words for words in said) >= 5
    assert sum("metrics.jsonl cannot be written" in words for words in said) == 10
    assert not trainer.folder.behind


@pytest.mark.slow
def test_a_run_that_goes_back_while_the_disk_is_full_goes_on(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, steps=9, save_every=3))
    spoil(trainer, "weight", 5)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for report in trainer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (600 if report.step == 4 else limits[0], limits[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(config.out).metadata["steps"] == 9


@pytest.mark.slow
def test_a_run_that_is_lost_again_and_again_ends_also_while_the_disk_is_full(
    config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Trainer(replace(config, steps=9, save_every=3))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lose_and_fill(_: nn.Module, images: tuple[torch.Tensor]) -> tuple[torch.Tensor] | None:
        if trainer.step < 4:
            return None
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
        return (images[0] * torch.nan,)

    trainer.network.register_forward_pre_hook(lose_and_fill)
    try:
        with pytest.raises(InputError, match=", 3 times;"):
            list(trainer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the state cannot be saved" in caplog.text


def test_a_run_whose_folder_is_removed_makes_it_again(config: TrainConfig) -> None:
    trainer = Trainer(replace(config, save_every=2))
    for report in trainer:
        if report.step == 3:
            shutil.rmtree(config.run)
    assert load_checkpoint(config.out).metadata["steps"] == 8
    assert read_tensors(config.run / "last.safetensors")[1]["training"]["step"] == 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_file_system_that_is_really_full_ten_times_costs_nothing(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a file system")
    try:
        trainer = Trainer(
            replace(config, run=place / "run", out=place / "a.safetensors", steps=44, save_every=3)
        )
        for report in trainer:
            full = report.step % 4 >= 2 and report.step < 42
            (place / "ballast").unlink(missing_ok=True)
            if full:
                fill(place / "ballast")
        assert [line["step"] for line in read_metrics(place / "run/metrics.jsonl")] == list(range(1, 45))
        assert load_checkpoint(place / "a.safetensors").metadata["steps"] == 44
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


# -------------------------------------------------------------------------------------------------- bad files


def thousand(folder: Path) -> set[str]:
    """950 pictures, some of rare kinds, and 50 files that are bad in twelve ways; returns the bad ones."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC)
    picture.save(folder / "base.jpg")
    good = (folder / "base.jpg").read_bytes()
    (folder / "base.jpg").unlink()
    for i in range(950):
        path = folder / f"{i:04}.jpg"
        if i % 100 == 1:
            picture.convert("CMYK").save(path)
        elif i % 100 == 2:
            Image.fromarray(np.arange(1920, dtype=np.uint16).reshape(40, 48) * 34).save(
                path.with_suffix(".png")
            )
        elif i % 100 == 3:
            picture.convert("P").save(path.with_suffix(".gif"))
        else:
            path.write_bytes(good)
    for i in range(5):
        (folder / f"folder{i}.jpg").mkdir()  # no file at all
    bad = {folder / f"bad{i:02}.jpg" for i in range(50)}
    for i, path in enumerate(sorted(bad)):
        spoiled(path, i % 12, good, picture)
    return {path.name for path in bad}


def spoiled(path: Path, way: int, good: bytes, picture: Image.Image) -> None:
    contents = {
        0: b"",
        1: good[: len(good) // 2],
        2: b"<!DOCTYPE html><html>404</html>",
        3: b"hello\n",
        4: np.random.default_rng(way).bytes(900),
        5: good[:20] + bytes(400),
        6: b"\x89PNG\r\n\x1a\n" + bytes(60),
    }
    sizes = {7: (1, 1), 8: (20_000, 1), 9: (900, 40)}
    if way in contents:
        path.write_bytes(contents[way])
    elif way in sizes:
        picture.resize(sizes[way]).save(path)
    elif way == 10:
        os.mkfifo(path)
    else:
        path.symlink_to(path if len(path.name) % 2 else path.with_name("nowhere.jpg"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_of_a_thousand_files_exactly_the_bad_ones_are_listed_also_after_a_resume(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = thousand(tmp_path / "photos")
    c = replace(config, dataset=str(tmp_path / "photos"), batch_size=50, steps=24, max_bad=0.06)
    straight = Trainer(c)
    list(straight)
    assert set(straight.bad) == bad
    other = replace(c, run=tmp_path / "other", out=tmp_path / "other.safetensors")
    first = Trainer(other)
    list(islice(first, 9))
    first.save()
    assert set(first.bad) < bad
    second = Trainer(replace(other, resume=True, workers=3))
    list(second)
    assert second.bad == straight.bad
    assert tensors(other.run / "last.safetensors") == tensors(c.run / "last.safetensors")
    with capsys.disabled():
        print(f"\n{len(straight.photos.names) + 32} files, {len(straight.bad)} listed, all of them bad")


# ----------------------------------------------------------------------------------------------------- memory


def resident() -> int:
    """Bytes of memory of its own this process holds, in RAM or swapped out.

    Without the pages of files, which a kernel may drop from memory and bring back as it likes.
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * sum(int(lines[name].split()[0]) for name in ("RssAnon", "VmSwap"))


def growth(config: Any, steps: int) -> tuple[float, list[int]]:
    """Bytes by which a run of so many steps grows a step, after its first tenth; its handles by the way."""
    seen, handles = [], []
    for report in Trainer(replace(config, steps=steps, report_every=50, preview_every=steps // 4)):
        if report.step >= steps // 10:
            seen.append((report.step, resident()))
            handles.append(len(os.listdir("/proc/self/fd")))
    slope = float(np.polyfit(*np.array(seen, dtype=float).T, 1)[0])
    return slope, handles


@pytest.mark.slow
@pytest.mark.timeout(14_400)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_grows_by_less_than_a_megabyte_in_a_thousand_steps(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    slope, handles = growth(config, 20_000)
    with capsys.disabled():
        print(f"\n20,000 steps: {slope:+.1f} kB in 1,000 steps, {min(handles)} to {max(handles)} handles")
    assert slope * 1000 < 1e6
    assert handles[-1] <= handles[0]

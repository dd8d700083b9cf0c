"""Ray: what it paints is what one process paints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.cluster import _Actor as Actor
from fast_nst.inference.batch.cluster import _collect as collect
from fast_nst.inference.batch.cluster import stylize_on_cluster
from fast_nst.inference.batch.jobs import STANDARD, Job
from fast_nst.io.images import read_picture, save_image
from fast_nst.models.checkpoint import Checkpoint, load_checkpoint

SCRIPT = Path(__file__).parents[3] / "stylize.py"
BUNDLED = SCRIPT.parent / "checkpoints/starry-night-full.safetensors"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(BUNDLED)


def test_without_ray_the_cure_is_reported(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError) as error:
        next(stylize_on_cluster([Job("a.png", "b.png")], checkpoint, StylizeConfig()))
    assert str(error.value) == "--cluster needs Ray: pip install 'ray[data]'"


def test_a_cluster_has_no_stdin_and_no_stdout(checkpoint: Checkpoint) -> None:
    for job in (Job(STANDARD, "b.png"), Job("a.png", STANDARD)):
        with pytest.raises(InputError, match="stdin and stdout need a run without --cluster"):
            next(stylize_on_cluster([job], checkpoint, StylizeConfig()))


def test_ray_is_started_with_a_token_unless_it_has_an_address(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint
) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "ray", None)
    for address, asks in ((None, True), ("ray.example:6379", False)):
        with monkeypatch.context() as patch:
            if address is not None:
                patch.setenv("RAY_ADDRESS", address)
                patch.delenv("RAY_AUTH_MODE")
                patch.delenv("RAY_AUTH_TOKEN")
            with pytest.raises(InputError, match="needs Ray"):
                next(stylize_on_cluster([Job("a.png", "b.png")], checkpoint, StylizeConfig()))
            assert (os.environ.get("RAY_AUTH_MODE") == "token") == asks
            assert (len(os.environ.get("RAY_AUTH_TOKEN", "")) == 64) == asks


def test_a_cluster_that_fails_fails_the_jobs_without_a_result() -> None:
    def rows() -> Iterator[Any]:
        yield {"index": 1, "result": json.dumps({"width": 3, "error": None})}
        raise RuntimeError("the head node died\nand more")

    jobs = [Job(f"{i}.png", f"out/{i}.png") for i in range(3)]
    results = list(collect(rows(), jobs))
    assert [result.job.source for result in results] == ["1.png", "0.png", "2.png"]
    assert [result.error for result in results] == [
        None,
        "0.png: the cluster failed (the head node died)",
        "2.png: the cluster failed (the head node died)",
    ]


@pytest.mark.slow
def test_an_actor_keeps_to_the_memory_limit(checkpoint: Checkpoint) -> None:
    assert Actor(checkpoint, StylizeConfig(memory="700MB")).stylizer.memory == 700_000_000
    assert Actor(checkpoint, StylizeConfig()).stylizer.memory is None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.parametrize("scheme", ["", "local://"])
def test_a_cluster_stylizes_what_one_process_stylizes(tmp_path: Path, scheme: str) -> None:
    for i in range(40):
        pixels = np.random.default_rng(i).integers(0, 256, (16 + i % 2, 20, 3), dtype=np.uint8)
        (tmp_path / f"in/{i % 3}").mkdir(parents=True, exist_ok=True)
        save_image(tmp_path / f"in/{i % 3}/{i:02}.png", pixels)
    (tmp_path / "in/bad.jpg").write_text("Dear diary")

    def stylize(out: str, *arguments: str) -> tuple[int, list[dict[str, object]], str]:
        words = [sys.executable, str(SCRIPT), f"{scheme}{tmp_path}/in", "no*such.png", "--json"]
        words += ["--out", f"{scheme}{tmp_path}/{out}", *arguments]
        paths = os.pathsep.join([str(SCRIPT.parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        lines = sorted(map(json.loads, done.stdout.splitlines()), key=lambda line: str(line["input"]))
        return done.returncode, lines, done.stderr

    def tree(folder: str) -> dict[str, bytes]:
        paths = (path for path in (tmp_path / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(tmp_path / folder)): path.read_bytes() for path in paths}

    code, alone, _ = stylize("alone")
    assert code == 1
    code, together, words = stylize("together", "--cluster", "--manifest", "m.jsonl")
    assert code == 1
    assert len(together) == 42, words
    assert tree("together").keys() == tree("alone").keys()
    assert len(tree("alone")) == 40
    for name in tree("alone"):  # another number of threads rounds a sum differently
        one, other = (read_picture(tmp_path / folder / name).rgb for folder in ("alone", "together"))
        assert np.abs(one.astype(int) - other).max() <= 1
    for first, second in zip(alone, together, strict=True):
        for name in ("input", "ok", "width", "height", "style", "checkpoint"):
            assert first[name] == second[name]
    assert [line["ok"] for line in together].count(True) == 40
    assert "starry-night, Ray with " in words
    manifest = (tmp_path / "m.jsonl").read_text()
    assert len(manifest.splitlines()) == 42
    (tmp_path / "together/0/00.png").unlink()
    code, again, _ = stylize("together", "--cluster", "--skip-existing", "--manifest", "m.jsonl")
    assert code == 1
    assert sum(bool(line["skipped"]) for line in again) == 39
    assert tree("together").keys() == tree("alone").keys()
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 43

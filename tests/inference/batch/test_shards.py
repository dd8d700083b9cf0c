"""Which process takes which picture, and who says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.jobs import STANDARD, Job
from fast_nst.inference.batch.shards import Shard, choose_shard

ROOT = Path(__file__).parents[3]
CONFIG = StylizeConfig(out="out")
NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1)
NAMES = st.lists(NAME, unique=True, max_size=50)


def jobs(names: list[str], out: str = "out") -> list[Job]:
    return [Job(f"in/{name}", f"{out}/x{name}") for name in names]


@given(NAMES, st.integers(1, 9))
def test_each_picture_belongs_to_exactly_one_shard(names: Any, count: int) -> None:
    parts = [Shard(i, count).part(jobs(names), CONFIG) for i in range(count)]
    assert sorted(job.source for part in parts for job in part) == sorted(f"in/{name}" for name in names)


@given(NAMES, st.integers(1, 9), st.data())
def test_a_picture_stays_in_its_shard_whatever_else_is_there(names: Any, count: int, data: Any) -> None:
    others = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    for i in range(count):
        of_all = {job.source for job in Shard(i, count).part(jobs(names), CONFIG)}
        assert {job.source for job in Shard(i, count).part(jobs(others), CONFIG)} <= of_all


def test_a_shard_is_the_same_wherever_the_disk_is_mounted() -> None:
    names = [f"{i}.png" for i in range(100)]
    here = Shard(1, 4).part(jobs(names, "/mnt/a/out"), StylizeConfig(out="/mnt/a/out/"))
    there = Shard(1, 4).part(jobs(names, "out"), CONFIG)
    assert [job.source for job in here] == [job.source for job in there]


def test_shards_are_about_equal_also_where_all_folders_hold_the_same_names() -> None:
    named = [Job(f"{i}/a.png", f"{i}_dots/a.png") for i in range(2000)]
    sizes = [len(Shard(i, 4).part(named, StylizeConfig())) for i in range(4)]
    assert all(400 < size < 600 for size in sizes)  # 500 +- 19 is one standard deviation


def test_a_source_that_yields_nothing_is_reported_by_one_shard() -> None:
    dead = [Job("*.webp", "", "no file matches *.webp")]
    assert sum(len(Shard(i, 3).part(dead, CONFIG)) for i in range(3)) == 1


def test_stdin_has_no_shard() -> None:
    with pytest.raises(InputError, match=r"this is shard 1/2 by --shard; --shard 0/1 takes it"):
        Shard(1, 2).part([Job(STANDARD, "a.png")], CONFIG)


TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}
SLURM = {"SLURM_PROCID": "1", "SLURM_NTASKS": "3"}


@pytest.mark.parametrize(
    ("given", "environment", "shard"),
    [
        (None, {}, Shard()),
        ("1/3", {}, Shard(1, 3)),
        ("0/1", TORCHRUN, Shard()),
        (None, TORCHRUN, Shard(2, 4, "RANK and WORLD_SIZE", 0)),
        (None, SLURM, Shard(1, 3, "SLURM_PROCID and SLURM_NTASKS")),
        (None, TORCHRUN | SLURM, Shard(2, 4, "RANK and WORLD_SIZE", 0)),
        (None, {"WORLD_SIZE": "4"}, Shard()),
        (None, {"RANK": "3"} | SLURM, Shard(1, 3, "SLURM_PROCID and SLURM_NTASKS")),
        (None, SLURM | {"SLURM_JOB_ID": "7"}, Shard()),  # a batch script, which is no task
        (
            None,
            SLURM | {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "1"},
            Shard(1, 3, "SLURM_PROCID and SLURM_NTASKS", 1),
        ),
    ],
)
def test_the_flag_speaks_before_torchrun_and_torchrun_before_slurm(
    given: str | None, environment: Any, shard: Any
) -> None:
    assert choose_shard(given, environment) == shard


@pytest.mark.parametrize(
    ("given", "environment", "told"),
    [
        ("4/4", {}, "--shard 4/4 is outside 0/4 to 3/4: shards are counted from 0"),
        ("0/0", {}, "--shard 0/0 divides the pictures into 0; shards are written 0/4, 1/4, 2/4, 3/4"),
        ("-1/4", {}, "--shard -1/4 names no shard; shards are written 0/4, 1/4, 2/4, 3/4"),
        ("1", {}, "--shard 1 names no shard; shards are written 0/4, 1/4, 2/4, 3/4"),
        ("1/4 ", {}, "--shard 1/4  names no shard; shards are written 0/4, 1/4, 2/4, 3/4"),
        ("", {}, "--shard  names no shard; shards are written 0/4, 1/4, 2/4, 3/4"),
        (
            None,
            {"RANK": "x", "WORLD_SIZE": "4"},
            "RANK=x with WORLD_SIZE=4 (--shard i/n overrides them) names no shard; "
            "shards are written 0/4, 1/4, 2/4, 3/4",
        ),
        (
            None,
            {"RANK": "4", "WORLD_SIZE": "4"},
            "RANK=4 with WORLD_SIZE=4 (--shard i/n overrides them) is outside 0/4 to 3/4: "
            "shards are counted from 0",
        ),
    ],
)
def test_what_names_no_shard_is_one_clear_line(
    given: str | None, environment: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError) as error:
        choose_shard(given, environment)
    assert str(error.value) == told


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", ["1", "3"])
def test_killed_and_restarted_shards_stylize_every_picture_once(batch: str) -> None:
    words = [sys.executable, str(ROOT / "benchmarks/shards.py"), "--pictures", "400", "--kills", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*words, "--batch-size", batch], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

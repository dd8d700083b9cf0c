"""Shards: many processes, on one machine or on many, divide one list of pictures without communication.

The shard of a picture is a hash of its result's name below the output folder. A picture's place in the
sorted list would balance better, but each process reads the list itself: a picture that arrives or leaves
between two starts, or a result that appears beside its input, would move all that follow into other shards,
and some would be computed twice and some never. The name is the same whatever else the list holds and
wherever the disk is mounted.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from fast_nst.config import InferenceConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.jobs import STANDARD, Job

__all__ = ["Shard", "choose_shard"]

# torchrun's variables before SLURM's: under srun, torchrun divides what srun gave it further.
_LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
_HOW = "shards are written 0/4, 1/4, 2/4, 3/4"


@dataclass(frozen=True)
class Shard:
    """The part of the pictures that one process takes: number ``index`` of ``count``, from 0."""

    index: int = 0
    count: int = 1
    origin: str = "--shard"
    """the flag or the variables that it comes from"""
    local_rank: int | None = None
    """which of the processes on this machine it is, from 0, where the launcher gives that"""

    def takes(self, job: Job, config: InferenceConfig) -> bool:
        """Whether the job belongs to this shard; it belongs to exactly one."""
        name = os.fsencode(_name(job, config))
        digest = hashlib.blake2b(name, digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index

    def part(self, jobs: Sequence[Job], config: InferenceConfig) -> list[Job]:
        """This shard's jobs, in order.

        Raises:
            InputError: a picture from stdin, which each process would read from a stdin of its own.
        """
        if self.count > 1 and any(job.source == STANDARD for job in jobs):
            raise InputError(
                f"a picture from stdin belongs to no shard, but this is shard {self.index}/{self.count} "
                f"by {self.origin}; --shard 0/1 takes it"
            )
        return [job for job in jobs if self.takes(job, config)]


def _name(job: Job, config: InferenceConfig) -> str:
    """The result's name below the output folder, which no other result has; of what has none, its source."""
    target = PurePath(job.target or job.source)
    below = config.out is not None and target.is_relative_to(config.out)
    return (target.relative_to(config.out) if below and config.out is not None else target).as_posix()


def choose_shard(given: str | None, environment: Mapping[str, str]) -> Shard:
    """The shard of this process: as given, else from torchrun's or SLURM srun's variables, else everything.

    Both variables of a launcher must be set. One of them alone may be left over from something else, and in
    the batch script of a SLURM job, which is no task of srun's, the number is always 0.

    Raises:
        InputError: text that names no shard, from either.
    """
    if given is not None:
        return _parse(given, f"--shard {given}", "--shard")
    for rank, size, local in _LAUNCHERS:
        if rank not in environment or size not in environment:
            continue
        if rank.startswith("SLURM") and "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" not in environment:
            continue
        text, names = f"{environment[rank]}/{environment[size]}", f"{rank} and {size}"
        said = f"{rank}={environment[rank]} with {size}={environment[size]} (--shard i/n overrides them)"
        place = environment.get(local, "")
        return _parse(text, said, names, int(place) if place.isdecimal() else None)
    return Shard()


def _parse(text: str, said: str, origin: str, local_rank: int | None = None) -> Shard:
    if not (found := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)):
        raise InputError(f"{said} names no shard; {_HOW}")
    index, count = int(found[1]), int(found[2])
    if count < 1:
        raise InputError(f"{said} divides the pictures into {count}; {_HOW}")
    if index >= count:
        raise InputError(f"{said} is outside 0/{count} to {count - 1}/{count}: shards are counted from 0")
    return Shard(index, count, origin, local_rank)

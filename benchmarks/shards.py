"""Four shards stylize one folder; each is killed once at a random moment and restarted. Checks the results.

    python benchmarks/shards.py
    python benchmarks/shards.py --pictures 2000 --shards 4 --kills 1 --seed 0

The network is small and untrained, since the bookkeeping is what is tested. Every result must exist once,
with the bytes of an undisturbed run, and once in the manifest the shards share; nothing else may be left.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from fast_nst.config import NetworkConfig, StylizeConfig
from fast_nst.inference.batch.jobs import Job
from fast_nst.inference.batch.shards import Shard
from fast_nst.io.images import save_image
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.transform_net import TransformNet

SCRIPT = Path(__file__).resolve().parents[1] / "stylize.py"


@dataclass(frozen=True)
class Options:
    """Kill and restart shards."""

    pictures: int = 2000
    """how many to stylize"""
    side: int = 32
    """of each, pixels"""
    shards: int = 4
    """processes"""
    kills: int = 1
    """how often each is killed"""
    batch_size: int = 1
    """pictures stylized together"""
    seed: int = 0
    """of the pictures and the moments"""


def prepare(folder: Path, options: Options) -> list[str]:
    """Pictures in ten sub-folders and a style; returns the command that stylizes them."""
    noise = np.random.default_rng(options.seed)
    for i in range(options.pictures):
        place = folder / "in" / str(i % 10) / f"{i:05}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        save_image(place, noise.integers(0, 256, (options.side, options.side, 3), dtype=np.uint8))
    torch.manual_seed(options.seed)
    style = folder / "noise.safetensors"
    save_checkpoint(style, TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1)), {"style": "noise"})
    batch = ["--batch-size", str(options.batch_size)]
    return [sys.executable, str(SCRIPT), str(folder / "in"), "--style", str(style), *batch]


def tree(folder: Path) -> dict[str, str]:
    """Every file below, hidden ones too, with a hash of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def share_out(folder: Path, shards: int) -> dict[int, list[str]]:
    """The names of the results that each shard is to make."""
    jobs = [Job(str(path), str(path.relative_to(folder))) for path in sorted(folder.rglob("*.png"))]
    found = {i: Shard(i, shards).part(jobs, StylizeConfig()) for i in range(shards)}
    return {i: [str(job.target) for job in part] for i, part in found.items()}


def disturbed(command: list[str], folder: Path, options: Options) -> list[int]:
    """Run all shards, kill each at random moments; returns how many results there were at each kill."""
    moments, there = random.Random(options.seed), []
    manifest = ["--manifest", str(folder / "manifest.jsonl")]

    def start(i: int) -> subprocess.Popen[bytes]:
        words = [*command, "--out", str(folder / "killed"), "--skip-existing", *manifest]
        shard = ["--shard", f"{i}/{options.shards}"]
        return subprocess.Popen([*words, *shard], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def done(shard: int) -> int:
        return sum(1 for name in shares[shard] if (folder / "killed" / name).exists())

    shares = share_out(folder / "in", options.shards)
    # A kill waits for the shard's results to reach a number: a time would hit the start-up or nothing.
    goals = {
        i: sorted(moments.sample(range(len(share) * 3 // 4), options.kills)) for i, share in shares.items()
    }
    running = {i: start(i) for i in shares}
    while any(goals.values()):
        time.sleep(0.002 + moments.random() * 0.01)
        for i in [i for i in running if goals[i] and done(i) >= goals[i][0]]:
            running[i].kill()
            if running[i].wait() != -9:
                raise SystemExit(f"shard {i} had ended before it was killed; give more --pictures")
            there.append(sum(1 for _ in folder.glob("killed/*/*.png")))
            goals[i].pop(0)
            running[i] = start(i)
    if failed := [i for i, process in running.items() if process.wait() != 0]:
        raise SystemExit(f"shards {failed} failed")
    return there


def main() -> None:
    """Run it and print what was found; the exit code says whether it is as it should be."""
    options = tyro.cli(Options, description=__doc__)
    os.environ |= {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = prepare(folder, options)
        subprocess.run([*command, "--out", str(folder / "whole")], check=True, stdout=subprocess.DEVNULL)
        there = disturbed(command, folder, options)
        wanted, found = tree(folder / "whole"), tree(folder / "killed")
        lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    stylized = Counter(line["input"] for line in lines if line["ok"])
    late = sum(line["skipped"] for line in lines)
    print(f"killed with {', '.join(map(str, there))} of {options.pictures} results there")
    other = sum(wanted[name] != found.get(name) for name in wanted)
    print(f"files: {len(found)} of {len(wanted)}, of them with other bytes: {other}")
    print(f"files that should not be there: {len(found.keys() - wanted.keys())}")
    print(
        f"pictures in the manifest: {len(stylized)}, recorded twice: {sum(n > 1 for n in stylized.values())}"
    )
    print(f"records that a kill took, made up for: {late}")
    same = found == wanted and len(wanted) == options.pictures
    sys.exit(0 if same and set(stylized.values()) == {1} and len(stylized) == options.pictures else 1)


if __name__ == "__main__":
    main()

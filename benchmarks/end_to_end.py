"""Time from the start of the process to the written file for one image, compared with pytorch/examples.

    python benchmarks/end_to_end.py photo.jpg --size 512 --rounds 5

Theirs is the network of `plain_net` in a process that imports what that project's script imports, reads the
weights, and stylizes as it does. Ours is stylize.py. Both are run once before they are timed, in turn.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """What is measured."""

    photo: Annotated[Path, tyro.conf.Positional]
    """a photograph"""
    style: str = "starry-night-full"
    """a bundled style"""
    size: int = 512
    """longer side, pixels"""
    rounds: int = 5
    """runs of each"""
    backends: tuple[str, ...] = ("auto", "torch")
    """of ours"""
    clock: Literal["wall", "process"] = "wall"
    """process: the processes' processor time"""
    theirs: tuple[Path, Path] | None = None
    """be their script: WEIGHTS and OUT"""


def paint_as_they_do(options: Options, weights: Path, out: Path) -> None:
    """The other project's ``eval``: whole picture, fp32, no_grad, levels truncated."""
    import numpy  # noqa: F401 - imported by that script, as the next two are
    import torch
    from PIL import Image
    from plain_net import PlainNet
    from torchvision import transforms

    content = Image.open(options.photo).convert("RGB")
    content.thumbnail((options.size, options.size))
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Lambda(lambda x: x.mul(255))])
    with torch.no_grad():
        net = PlainNet()
        net.load_state_dict(torch.load(weights, weights_only=True))
        stylized = net(to_tensor(content).unsqueeze(0))[0].clamp(0, 255).numpy()
    Image.fromarray(stylized.transpose(1, 2, 0).astype("uint8")).save(out)


def prepare(options: Options, folder: Path) -> dict[str, list[str]]:
    """The commands by name."""
    import torch
    from plain_net import examples_net

    from fast_nst.models.checkpoint import load_checkpoint
    from fast_nst.models.model_files import find_style

    weights = folder / "plain.pth"
    torch.save(examples_net(load_checkpoint(find_style(options.style)).network).state_dict(), weights)
    common = [str(options.photo), "--style", options.style, "--size", str(options.size)]
    theirs = [__file__, *common, "--theirs", str(weights), str(folder / "theirs.jpg")]
    commands = {"examples": [sys.executable, *theirs]}
    for backend in options.backends:
        out = ["--out", str(folder / f"{backend}.jpg"), "--backend", backend, "--overwrite"]
        commands[backend] = [sys.executable, str(ROOT / "stylize.py"), *common, *out]
    return commands


def spent(command: list[str], clock: str) -> float:
    """Seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    if clock == "wall":
        return time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main(options: Options) -> None:
    """Measure and print, or be measured."""
    if options.theirs is not None:
        paint_as_they_do(options, *options.theirs)
        return
    with tempfile.TemporaryDirectory() as folder:
        commands = prepare(options, Path(folder))
        for command in commands.values():
            spent(command, options.clock)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                times[name].append(spent(command, options.clock))
    base = statistics.median(times["examples"])
    print("| | s, median | least | ratio |\n|---|---|---|---|")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {min(values):.2f} | {base / median:.2f} |")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))

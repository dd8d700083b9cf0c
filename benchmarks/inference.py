"""Every engine against pytorch/examples' network as that project runs it, in turn in one process.

    python benchmarks/inference.py --sizes 256 512 640x480 1024 --rounds 9
    python benchmarks/inference.py --engines 'openvino bf16' --peer examples/fast_neural_style
    python benchmarks/inference.py --style starry-night --engines 'openvino fp32' 'openvino int8'
    python benchmarks/inference.py --sizes 1024 --memory

The time is from levels to levels, ``(1, H, W, 3)`` uint8, without files; the floor is what the convolutions
of the folded network would take at the speed of a large matrix product in the same precision. PSNR is to
pytorch/examples' network with the same weights; of a gallery's style, to the first of the engines. On a
machine that does other work too, ``--clock process`` with ``OMP_NUM_THREADS=1`` counts processor time
instead.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image
from plain_net import examples_net

from fast_nst.config.stylize import Backend
from fast_nst.inference.engine.plan import Plan
from fast_nst.inference.networks import trained_style
from fast_nst.inference.styles import choose_style, mix_rows
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import MAX_LEVEL, fit, read_picture
from fast_nst.models.checkpoint import load_checkpoint
from fast_nst.models.model_files import find_style
from fast_nst.system.openvino import openvino

Levels = NDArray[np.uint8]
Runner = Callable[[Levels], Levels]
BASE = "examples fp32"
UNFOLDED = "unfolded"  # pytorch/examples' graph in OpenVINO
FULL_WIDTH = "starry-night-full"  # whose weights that network has beside a gallery: all take the same time
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """What is measured."""

    style: str = "starry-night-full"
    """a bundled style or a .safetensors file"""
    sizes: tuple[str, ...] = ("256", "512", "640x480", "1024")
    """sides of square pictures, or WIDTHxHEIGHT"""
    engines: tuple[str, ...] = (
        "torch fp32",
        "torch bf16",
        "onnx fp32",
        "unfolded fp32",
        "unfolded bf16",
        "openvino fp32",
        "openvino bf16",
    )
    """engine and precision; also: openvino int8, compile fp32 and bf16; with --device cuda: torch fp16 …"""
    rounds: int = 7
    """times that each engine's turn comes"""
    device: str = "cpu"
    """of torch"""
    photo: Path | None = None
    """a photograph to stylize [default: noise, smoothed]"""
    peer: Path | None = None
    """a checkout of pytorch/examples' fast_neural_style, whose own code is then run"""
    clock: Literal["wall", "process"] = "wall"
    """process: processor time"""
    memory: bool = False
    """the peak resident memory of a process that stylizes with one engine and does nothing else: with ours
    that is stylize.py, with others what this program does for them"""
    json: bool = False
    """records instead of a table"""

    @property
    def of_a_gallery(self) -> bool:
        """Whether the style is one of a gallery's."""
        return choose_style(self.style).weights is not None


def runner(engine: str, options: Options) -> Runner:
    """Levels to levels by an engine, such as ``openvino bf16``."""
    name, precision = engine.split()
    if engine == BASE or name == UNFOLDED:
        style = FULL_WIDTH if options.of_a_gallery else options.style
        net = examples_net(load_checkpoint(find_style(style)).network, options.peer)
        return _unfolded(net, precision) if name == UNFOLDED else _plain(net.to(options.device))
    device = options.device if name in ("torch", "compile") else "cpu"
    return Stylizer.load(options.style, device=device, precision=precision, backend=name).backend.run_uint8


def _plain(net: torch.nn.Module) -> Runner:
    """As that project runs it: floats, fp32, no_grad; on the CPU clamped and truncated, here rounded."""
    device = next(net.parameters()).device

    @torch.no_grad()
    def stylize(levels: Levels) -> Levels:
        images = torch.from_numpy(levels).to(device).permute(0, 3, 1, 2).float().contiguous()
        stylized = net(images).cpu().clamp(0, MAX_LEVEL).round().byte()
        out: Levels = stylized.permute(0, 2, 3, 1).contiguous().numpy()
        return out

    return stylize


def _unfolded(net: torch.nn.Module, precision: str) -> Runner:
    model = openvino().convert_model(net, example_input=torch.zeros(1, 3, 64, 64), input=[[-1, 3, -1, -1]])
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
    request = openvino().Core().compile_model(model, "CPU", settings).create_infer_request()

    def stylize(levels: Levels) -> Levels:
        images = np.ascontiguousarray(levels.transpose(0, 3, 1, 2), np.float32)
        stylized = request.infer([images], share_inputs=True)[0]
        return np.ascontiguousarray(
            stylized.clip(0, MAX_LEVEL).round().astype(np.uint8).transpose(0, 2, 3, 1)
        )

    return stylize


def picture(size: str, options: Options) -> Levels:
    """``(1, H, W, 3)``: the photograph cut and resized, or noise of many scales."""
    width, height = (int(side) for side in (size.split("x") if "x" in size else (size, size)))
    if options.photo is not None:
        shown = fit(read_picture(options.photo), shorter_side=max(width, height)).rgb
        return np.ascontiguousarray(shown[None, :height, :width])
    torch.manual_seed(0)
    noise = torch.zeros(1, 3, height, width)
    for cells in (4, 16, 64):
        coarse = torch.rand(1, 3, cells, cells)
        noise += torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic") / 3
    out: Levels = (noise.clamp(0, 1) * MAX_LEVEL).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return out


def measure(size: str, runners: dict[str, Runner], options: Options) -> list[dict[str, Any]]:
    """One record an engine: median and spread of the times, ratio to the base, PSNR to it."""
    levels = picture(size, options)
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    results = {name: stylize(levels) for name, stylize in runners.items()}  # also warms them up
    spent: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(options.rounds):
        for name, stylize in runners.items():
            stylize(levels)  # the threads of the engine before may still spin
            started = clock()
            stylize(levels)
            spent[name].append(1e3 * (clock() - started))
    base = statistics.median(spent[BASE])
    exact = list(results)[1 if options.of_a_gallery else 0]
    return [
        {
            "size": size,
            "engine": name,
            "ms": round(statistics.median(times), 1),
            "fastest": round(min(times), 1),
            "ratio": round(base / statistics.median(times), 2),
            "psnr": round(psnr(results[name], results[exact]), 1),
        }
        for name, times in spent.items()
    ]


def psnr(a: Levels, b: Levels) -> float:
    """In decibels, infinite for equal pictures."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * math.log10(MAX_LEVEL**2 / error) if error else math.inf


def plan_of_style(name: str) -> Plan:
    """The folded network of a style by its name."""
    choice = choose_style(name)
    trained = trained_style(choice.file)
    return trained.plan(mix_rows(trained.rows, choice.weights) if choice.weights else None)


def multiply_adds(plan: Plan, size: str) -> float:
    """Of the convolutions of the folded network."""
    width, height = (int(side) for side in (size.split("x") if "x" in size else (size, size)))
    positions, total = float(width * height), 0.0
    for layer in plan.layers[:-1]:  # the last one adds up columns and could be had without multiplying
        if not layer.fractional:
            positions /= layer.stride**2
        # Every position of a fractional layer's input is multiplied with the whole kernel.
        total += positions * layer.weight.size
        if layer.fractional:
            positions *= layer.stride**2
    return total


def peak(dtype: torch.dtype, clock: Callable[[], float], side: int = 1024) -> float:
    """Multiply-adds a second of a large matrix product."""
    a, b = (torch.rand(side, side).to(dtype) for _ in range(2))
    best = math.inf
    for _ in range(5):
        started = clock()
        a @ b
        best = min(best, clock() - started)
    return side**3 / best


def peak_memory(engine: str, size: str, options: Options, folder: Path) -> float:
    """MiB, in a process that has done so once before, as a second run has."""
    flags = [f"--style={options.style}", "--sizes", size, "--engines", engine, "--memory", "--json"]
    words = [__file__, *flags, f"--device={options.device}", "--rounds", "0"]
    name, precision = engine.split()
    if name in get_args(Backend):
        photo = folder / "photo.png"
        Image.fromarray(picture(size, options)[0]).save(photo)
        words = [str(ROOT / "stylize.py"), str(photo), f"--style={options.style}", "--overwrite", "--backend"]
        words += [name, "--precision", precision, "--out", str(folder / "stylized.png")]
        words += [f"--device={options.device}"] if name == "torch" else []
    command = [sys.executable, str(ROOT / "benchmarks" / "peak.py"), *words]
    done = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(2)][-1]
    return round(float(done.stdout.splitlines()[-1]))


def _paint_alone(options: Options) -> None:
    runner(options.engines[0], options)(picture(options.sizes[0], options))


def main(options: Options) -> None:
    """Measure and print."""
    if options.memory and options.rounds == 0:
        _paint_alone(options)
        return
    engines = [BASE, *(engine for engine in options.engines if engine != BASE)]
    if options.memory:
        with TemporaryDirectory() as folder:
            rows = [
                {"size": size, "engine": name, "mib": peak_memory(name, size, options, Path(folder))}
                for size in options.sizes
                for name in engines
            ]
    else:
        rows = _timed(engines, options)
    if options.json:
        print("\n".join(json.dumps(row) for row in rows))
        return
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in columns) + " |")


def _timed(engines: Sequence[str], options: Options) -> list[dict[str, Any]]:
    plan = plan_of_style(options.style)
    runners = {name: runner(name, options) for name in engines}
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    rates = {"fp32": peak(torch.float32, clock), "bf16": peak(torch.bfloat16, clock)}
    rows = []
    for size in options.sizes:
        for row in measure(size, runners, options):
            rate = rates.get(row["engine"].split()[1])
            floor = 1e3 * multiply_adds(plan, size) / rate if rate else math.nan
            rows.append({**row, "floor ms": round(floor, 1)})
    return rows


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))

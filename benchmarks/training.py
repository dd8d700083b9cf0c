"""Training speed and memory against a plain loop, in turn in one run: photographs per second, as ratios.

    python benchmarks/training.py --vgg-weights vgg19.safetensors --memory

The plain loop does what that of pytorch/examples' fast_neural_style does: the same network as our
`default`, fp32, the loss network run in full on photographs and pictures, losses read at every step. It and
`ours` minimize the same relative errors by VGG-19 up to relu4_2, of random weights if none are given, on the
same random pictures; `bold` is the default objective, up to relu5_1. The process keeps the memory it
frees, as `train.py` does, for all of them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from peak import peak_resident
from torch import Tensor, nn

from fast_nst.config import PRESETS, STYLE_LAYERS, LossConfig
from fast_nst.config.loss import LossNetwork, ObjectiveName
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.vgg import VGGFeatures, load_vgg
from fast_nst.system.device import choose_device, choose_precision
from fast_nst.system.memory import keep_freed_memory
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.step import TrainingStep

LAYERS = STYLE_LAYERS["vgg19"]
PLAIN = "plain loop, fp32"


class Subject(NamedTuple):
    """One way to train with our step."""

    loss_network: LossNetwork = "vgg19"
    objective: ObjectiveName = "dimensionless"
    preset: str = "default"
    compiled: bool = False
    border: bool = False
    """with the border loss, which the plain loop has not"""


SUBJECTS = {
    "ours": Subject(),
    "ours, compiled": Subject(compiled=True),
    "ours, bold, distilled": Subject("distilled", "bold", border=True),
    "ours, bold, distilled, compiled": Subject("distilled", "bold", compiled=True, border=True),
    "ours, bold, distilled, compiled, no border loss": Subject("distilled", "bold", compiled=True),
    "ours, bold, VGG-19, compiled": Subject("vgg19", "bold", compiled=True, border=True),
    "ours, bold, VGG-19, compiled, no border loss": Subject("vgg19", "bold", compiled=True),
    "tiny, bold, VGG-19": Subject("vgg19", "bold", "tiny", border=True),
    "tiny, bold, distilled": Subject("distilled", "bold", "tiny", border=True),
}


class _Conv(nn.Sequential):
    def __init__(self, channels: int, width: int, size: int, stride: int = 1) -> None:
        super().__init__(nn.ReflectionPad2d(size // 2), nn.Conv2d(channels, width, size, stride))


def _normed(channels: int, width: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [_Conv(channels, width, size, stride), nn.InstanceNorm2d(width, affine=True), nn.ReLU()]


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*_normed(128, 128, 3), *_normed(128, 128, 3)[:2])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def plain_network() -> nn.Sequential:
    """32-64-128, five residual blocks, nearest x2 before the last but one convolutions, all with biases."""
    return nn.Sequential(
        *_normed(3, 32, 9),
        *_normed(32, 64, 3, 2),
        *_normed(64, 128, 3, 2),
        *(_Residual() for _ in range(5)),
        nn.Upsample(scale_factor=2),
        *_normed(128, 64, 3),
        nn.Upsample(scale_factor=2),
        *_normed(64, 32, 3),
        _Conv(32, 3, 9),
    )


def _gram(features: Tensor) -> Tensor:
    b, c, h, w = features.shape
    rows = features.view(b, c, h * w)
    return rows.bmm(rows.transpose(1, 2)) / (c * h * w)


class PlainLoop:
    """One step after another as an unhurried script takes them."""

    def __init__(self, vgg: VGGFeatures, painting: Tensor, batch: int) -> None:
        self.network, self.vgg = plain_network(), vgg
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)
        with torch.no_grad():
            found = vgg(painting.expand(batch, -1, -1, -1), LAYERS)
            self.grams = [_gram(found[layer]) for layer in LAYERS]

    def __call__(self, images: Tensor) -> None:
        self.optimizer.zero_grad()
        stylized = self.network(images)
        found, wanted = self.vgg(stylized, LAYERS), self.vgg(images, LAYERS)
        content = F.mse_loss(found["relu2_2"], wanted["relu2_2"]) / wanted["relu2_2"].square().mean()
        style = torch.zeros((), device=images.device)
        for layer, gram in zip(LAYERS, self.grams, strict=True):
            style = style + F.mse_loss(_gram(found[layer]), gram) / gram.square().mean() / len(LAYERS)
        total = content + 5 * style
        torch.autograd.backward(total)
        self.optimizer.step()
        content.item(), style.item()


def ours(subject: Subject, painting: Tensor, arguments: argparse.Namespace) -> Callable[[Tensor], None]:
    """Our step, as the trainer takes it."""
    loss, device = LossConfig(objective=subject.objective), painting.device
    layers = (*loss.content_layers, *loss.style_layers_for(subject.loss_network))
    vgg = loss_network(subject.loss_network, layers, arguments).to(device)
    training_step = TrainingStep(
        TransformNet(PRESETS[subject.preset]).to(device).to(memory_format=torch.channels_last).train(),
        PerceptualLoss(vgg.to(memory_format=torch.channels_last), painting, loss),
        averaging=0.0,
        border=loss.preset.border_weight if subject.border else 0.0,
        device=device,
        precision=choose_precision(arguments.precision, device),
        compiled=subject.compiled,
        group=ProcessGroup(),
    )
    count = 0

    def step(images: Tensor) -> None:
        nonlocal count
        count += 1
        training_step(images.contiguous(memory_format=torch.channels_last), 1e-3, count)

    return step


def build(name: str, arguments: argparse.Namespace) -> Callable[[Tensor], None]:
    """The subject of that name."""
    torch.manual_seed(0)
    device = choose_device(arguments.device)
    painting = torch.rand(1, 3, 384, 384, device=device)
    if name == PLAIN:
        loop = PlainLoop(loss_network("vgg19", LAYERS, arguments).to(device), painting, arguments.batch_size)
        loop.network.to(device)
        return loop
    return ours(SUBJECTS[name], painting, arguments)


def loss_network(name: LossNetwork, layers: Sequence[str], arguments: argparse.Namespace) -> VGGFeatures:
    """A loss network; VGG-19 with random weights where none are given, which takes as long."""
    if name == "vgg19" and not arguments.vgg_weights:
        return VGGFeatures(name, layers)
    return load_vgg(name, layers, file=arguments.vgg_weights if name == "vgg19" else None)


def seconds(step: Callable[[Tensor], None], images: Tensor, steps: int) -> float:
    """Seconds a step, the device waited for."""
    began = time.perf_counter()
    for _ in range(steps):
        step(images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def pictures(arguments: argparse.Namespace) -> Tensor:
    """``(B, 3, S, S)`` in [0, 1], on the device."""
    size = arguments.image_size
    return torch.rand(arguments.batch_size, 3, size, size, device=choose_device(arguments.device))


def peak(name: str) -> float:
    """MiB of a process of its own that only takes two steps so, above what one has that takes none."""
    found = []
    for steps in ("0", "2"):
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name, "--steps", steps]
        found.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return found[1] - found[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="of ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="in each round")
    parser.add_argument("--memory", action="store_true", help="the peak of each too, on processors")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()
    images = pictures(arguments)
    if arguments.only:
        if arguments.steps:
            seconds(build(arguments.only, arguments), images, arguments.steps)
        print(peak_resident())
        return
    subjects = {name: build(name, arguments) for name in (PLAIN, *arguments.subjects)}
    for step in subjects.values():
        seconds(step, images, 2)  # warm-up, and compilation
    spent: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(arguments.rounds):
        for name, step in subjects.items():
            spent[name].append(seconds(step, images, arguments.steps))
    size = arguments.image_size
    print(f"batch {arguments.batch_size} at {size} x {size}, {images.device.type}, torch {torch.__version__}")
    print("| | photographs/s | times the plain loop (least, most) | peak memory, MiB |\n|---|---|---|---|")
    for name in subjects:
        ratios = sorted(a / b for a, b in zip(spent[PLAIN], spent[name], strict=True))
        rate = arguments.batch_size / statistics.median(spent[name])
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        memory = f"{peak(name):.0f}" if arguments.memory and not images.is_cuda else "-"
        print(f"| {name} | {rate:.2f} | {spread} | {memory} |", flush=True)


if __name__ == "__main__":
    main()

"""Time and memory of an optimizer iteration, and the final loss, compared with the PyTorch tutorial.

    python benchmarks/optimizer.py --content photo.jpg --style-image style.jpg --vgg-weights vgg19.pth

The tutorial's method is reimplemented here: VGG-19 in fp32, with modules inserted that keep a loss each
(content at conv4_2, style at conv1_1 to conv5_1, Gram matrices over C H W, mean squared errors), driven by
torch.optim.LBFGS, pixels clamped in its closure. Ours minimizes the same sum, as a run of 500 evaluations
does, which is compiled. Both are timed in one process in turn; then both take --iterations evaluations from
the photograph, and their pictures are judged by the same fp32 objective. Peak memory is that of a process of
its own for each side and size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from peak import peak_resident
from torch import Tensor, nn

from fast_nst.baseline.compare import square
from fast_nst.baseline.image_optimizer import PictureOptimizer
from fast_nst.config.optimize import GatysConfig
from fast_nst.models.vgg import VGGFeatures, layer_names, load_vgg
from fast_nst.system.timing import measure_in_turn

CONTENT = "conv4_2"
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
# The tutorial's 1 and 1e6 belong to torchvision's smaller activations; these keep the two terms as far apart.
CONTENT_WEIGHT, STYLE_WEIGHT = 1.0, 1.0
LONG = 500  # evaluations of the run that is timed and whose memory is measured; it is not run to its end


def gram(features: Tensor) -> Tensor:
    rows = features.reshape(features.shape[0] * features.shape[1], -1)
    return rows @ rows.t() / features.numel()


class KeptLoss(nn.Module):
    """Passes its input on, and keeps how far it is from a target."""

    def __init__(self, target: Tensor, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.of = of
        self.target = of(target).detach()
        self.loss = torch.zeros(())

    def forward(self, features: Tensor) -> Tensor:
        self.loss = F.mse_loss(self.of(features), self.target)
        return features


class Tutorial:
    """The tutorial's way; iterate over it, each item one evaluation done."""

    def __init__(self, vgg: VGGFeatures, photo: Tensor, painting: Tensor) -> None:
        self.image = photo[None].clone().requires_grad_()
        self.model = nn.Sequential()
        self.content: list[KeptLoss] = []
        self.style: list[KeptLoss] = []
        self.mean, self.std = vgg.mean, vgg.std
        for name, module in vgg.body.named_children():
            self.model.add_module(name, module)
            if name == CONTENT:
                self.content.append(self._insert(name, photo, torch.clone))
            if name in STYLE:
                self.style.append(self._insert(name, painting, gram))

    @torch.no_grad()
    def _insert(self, name: str, picture: Tensor, of: Callable[[Tensor], Tensor]) -> KeptLoss:
        loss = KeptLoss(self.features(picture[None]), of)
        self.model.add_module(f"{name}_loss", loss)
        return loss

    def features(self, images: Tensor) -> Tensor:
        """What the last module so far gives; the losses keep theirs on the way."""
        found: Tensor = self.model((images - self.mean) / self.std)
        return found

    def loss(self) -> Tensor:
        self.features(self.image)
        content = sum((kept.loss for kept in self.content), torch.zeros(()))
        style = sum((kept.loss for kept in self.style), torch.zeros(()))
        return CONTENT_WEIGHT * content + STYLE_WEIGHT * style

    def evaluations(self) -> Iterator[float]:
        """L-BFGS by single iterations, so that each can be timed; one is one evaluation."""
        optimizer = torch.optim.LBFGS([self.image], max_iter=1, max_eval=1)

        def closure() -> float:
            with torch.no_grad():
                self.image.clamp_(0, 1)
            optimizer.zero_grad()
            loss = self.loss()
            torch.autograd.backward(loss)
            return loss.item()

        while True:
            yield float(optimizer.step(closure))  # type: ignore[no-untyped-call]


def ours(vgg: VGGFeatures, photo: Tensor, painting: Tensor, precision: str, steps: int) -> PictureOptimizer:
    """The same sum: means over activations, and over the C² entries of Gram matrices."""
    convolutions = [vgg.body.get_submodule(name) for name in STYLE]
    config = GatysConfig(
        objective="gatys",
        scaling="means",
        content_layers=(CONTENT,),
        style_layers=STYLE,
        content_layer_weights=(1.0,),
        style_layer_weights=tuple(1 / m.out_channels**2 for m in convolutions if isinstance(m, nn.Conv2d)),
        content_weight=CONTENT_WEIGHT,
        style_weight=STYLE_WEIGHT,
        tv_weight=0.0,
        steps=steps,
        size=None,
        report_every=1,
        device="cpu",
        precision=precision,  # type: ignore[arg-type]
    )
    return PictureOptimizer(photo, painting, config, features=vgg)


def load(arguments: argparse.Namespace, whole: bool) -> VGGFeatures:
    layers = layer_names("vgg19") if whole else (CONTENT, *STYLE)
    return load_vgg("vgg19", layers, file=arguments.vgg_weights)


def peak(arguments: argparse.Namespace) -> None:
    """In a process of its own: three evaluations of one side, then the peak of its memory, MiB."""
    photo, painting = square(arguments.content, arguments.size), square(arguments.style_image, arguments.size)
    vgg = load(arguments, whole=arguments.side == "tutorial")
    steps: Iterator[object]
    if arguments.side == "tutorial":
        steps = Tutorial(vgg, photo, painting).evaluations()
    else:
        steps = iter(ours(vgg, photo, painting, arguments.side, LONG))
    for _ in range(3):
        next(steps)
    print(peak_resident())


def memory(arguments: argparse.Namespace, side: str, size: int) -> str:
    command = [sys.executable, __file__, "--side", side, "--size", str(size)]
    for name in ("content", "style_image", "vgg_weights"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return f"{float(found):.0f}"


def speed(arguments: argparse.Namespace) -> None:
    print("| size | tutorial, fp32, ms | ours, fp32, ms | ours, bf16, ms | fp32 | bf16 | peak MiB of each |")
    print("|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        photo, painting = square(arguments.content, size), square(arguments.style_image, size)
        theirs = Tutorial(load(arguments, whole=True), photo, painting).evaluations()
        sides = {
            p: iter(ours(load(arguments, whole=False), photo, painting, p, LONG)) for p in ("fp32", "bf16")
        }
        calls: dict[str, Callable[[], object]] = {"tutorial": partial(next, theirs)}
        calls |= {name: partial(next, run) for name, run in sides.items()}
        t = measure_in_turn(calls, calls=arguments.calls, warmup=1, device=torch.device("cpu"))
        times = " | ".join(f"{t[name].median:.0f} ({t[name].p95:.0f})" for name in calls)
        ratios = " | ".join(f"{t['tutorial'].median / t[name].median:.2f}×" for name in sides)
        peaks = ", ".join(memory(arguments, side, size) for side in calls)
        print(f"| {size}² | {times} | {ratios} | {peaks} |", flush=True)


def ends(arguments: argparse.Namespace) -> None:
    """The fp32 objective of each side's picture after as many evaluations from the photograph."""
    size, n = arguments.loss_size, arguments.iterations
    photo, painting = square(arguments.content, size), square(arguments.style_image, size)
    tutorial = Tutorial(load(arguments, whole=True), photo, painting)
    steps = tutorial.evaluations()
    pictures = {"tutorial, fp32": tutorial.image}
    for _ in range(n):
        next(steps)
    for precision in ("fp32", "bf16"):
        run = ours(load(arguments, whole=False), photo, painting, precision, n)
        for _ in run:
            pass
        pictures[f"ours, {precision}"] = run.picture()[None]
    print(f"\n| after {n} evaluations at {size}² | objective in fp32 | against the tutorial |\n|---|---|---|")
    found: dict[str, float] = {}
    for name, picture in pictures.items():
        tutorial.image = picture.detach().clamp(0, 1)
        with torch.no_grad():
            found[name] = tutorial.loss().item()
        print(f"| {name} | {found[name]:.5g} | {found[name] / found['tutorial, fp32']:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--content", "--photo", type=Path, required=True)
    parser.add_argument("--style-image", "--painting", type=Path, required=True)
    parser.add_argument("--vgg-weights", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 512, 1024])
    parser.add_argument("--calls", type=int, default=9, help="timed evaluations of each side")
    parser.add_argument(
        "--iterations", type=int, default=100, help="evaluations for the losses; 0: leave out"
    )
    parser.add_argument("--loss-size", type=int, default=512)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        peak(arguments)
        return
    speed(arguments)
    if arguments.iterations:
        ends(arguments)


if __name__ == "__main__":
    main()

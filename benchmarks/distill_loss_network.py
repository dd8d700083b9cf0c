"""Make the distilled loss network from VGG-19, or compare one with it.

    python benchmarks/distill_loss_network.py photos/ paintings/ stylized/ --vgg-weights vgg19.safetensors
    python benchmarks/distill_loss_network.py photos/ --vgg-weights vgg19.safetensors --check

First the factors of low rank in closed form (a minute), then a training for --minutes; interrupted, it goes
on from its state with the same command. --check prints, for each term of the objective `bold`, the value by
the distilled network divided by that by VGG-19 and the cosine of the angle between the two gradients, and the
speed of both in turn.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fast_nst.models.vgg import VGGFeatures, layer_names, load_vgg
from fast_nst.system.device import choose_device, to_device
from fast_nst.training.data.loader import PhotoBatches, as_images
from fast_nst.training.data.photos import open_photos
from fast_nst.training.distillation import TERMS, DistillationLoss, agreement, factorize, unfrozen

SIZE, BATCH = 128, 4
CPU = torch.device("cpu")
RATE = 1.5e-3  # of each tensor's own size
SOURCE = "derived from VGG-19 by the Visual Geometry Group, Oxford (Simonyan and Zisserman 2014), CC BY 4.0"


def crops(
    folder: Path, seed: int, count: int, device: torch.device, step: int = 0, workers: int = 1
) -> Iterator[Tensor]:
    """Endless batches ``(B, 3, S, S)`` in [0, 1] of crops of the images in a folder, from a step on."""
    batches = PhotoBatches(
        open_photos(folder),
        batch_size=count,
        image_size=SIZE,
        photo_size=2 * SIZE,
        seed=seed,
        start_step=step,
        workers=workers,
    )
    return (as_images(batch.images, device) for batch in batches)


def save(network: VGGFeatures, out: Path) -> None:
    """In half precision, with the origin of the weights in the metadata."""
    tensors = {k.removeprefix("body."): v.half().cpu().contiguous() for k, v in network.state_dict().items()}
    save_file(tensors, out, {"source": SOURCE, "layers": json.dumps(network.layers)})


def train(arguments: argparse.Namespace) -> None:
    """The closed form, then the training."""
    vgg = load_vgg("vgg19", layer_names("distilled"), file=arguments.vgg_weights)
    distilled = VGGFeatures("distilled", layer_names("distilled"))
    folders, state = arguments.images, arguments.out.with_suffix(".state")
    device = choose_device(arguments.device)
    saved: dict[str, Any] = {}
    if state.is_file():
        saved = torch.load(state, map_location="cpu", weights_only=True)
        distilled.load_state_dict(saved["network"])
    else:
        some = torch.cat([next(crops(folder, 0, 96 // len(folders), CPU)) for folder in folders])
        for layer, error in factorize(vgg, distilled, some):
            print(f"{layer}  squared error of the features {error:.3f}", flush=True)
    vgg, distilled = vgg.to(device), distilled.to(device)
    parameters = unfrozen(distilled)
    optimizer = torch.optim.Adam([{"params": [p]} for p in parameters], betas=(0.9, 0.98))
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
        sizes, step, used = saved["sizes"], saved["step"], saved["seconds"]
    else:
        sizes, step, used = [float(p.detach().square().mean().sqrt()) for p in parameters], 0, 0.0
    sources = [
        crops(folder, 1 + n, BATCH, device, step, arguments.workers) for n, folder in enumerate(folders)
    ]
    loss, generator, seconds = (
        DistillationLoss(vgg),
        torch.Generator().manual_seed(step),
        60 * arguments.minutes,
    )
    began = time.monotonic() - used
    while (elapsed := time.monotonic() - began) < seconds:
        warm = min(1.0, (step + 1) / 50)
        rate = RATE * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * elapsed / seconds)))
        for group, size in zip(optimizer.param_groups, sizes, strict=True):
            group["lr"] = rate * size
        batch = next(sources[step % len(sources)])
        if torch.rand((), generator=generator) < 0.3:
            batch = batch + 0.08 * to_device(torch.randn(batch.shape, generator=generator), device)
        # One term's gradient or that of all; relu1_1 is VGG's own.
        pick = int(torch.randint(1, len(TERMS) + 2, (), generator=generator))
        value = loss(distilled, batch, TERMS[pick : pick + 1] or TERMS)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        step += 1
        if step % 25 == 0:
            print(f"step {step}  loss {float(value.detach()):.3f}  {elapsed / 60:.1f} minutes", flush=True)
        if step % 100 == 0:
            parts = {"network": distilled.state_dict(), "optimizer": optimizer.state_dict(), "sizes": sizes}
            torch.save({**parts, "step": step, "seconds": time.monotonic() - began}, state)
    save(distilled, arguments.out)
    print(arguments.out)


def check(arguments: argparse.Namespace) -> None:
    """The table, and the ratio of the speeds."""
    vgg = load_vgg("vgg19", TERMS, file=arguments.vgg_weights)
    distilled = load_vgg("distilled", TERMS, file=arguments.out if arguments.out.is_file() else None)
    found = torch.cat([next(crops(folder, 12345, 8, CPU)) for folder in arguments.images])
    for term, (value, cosine) in agreement(vgg, distilled, found, found.roll(1, 0)).items():
        print(f"{term}  value {value:.3f}  cosine {cosine:.3f}")
    times: dict[str, list[float]] = {"vgg19": [], "distilled": []}
    for _ in range(7):
        for network in (vgg, distilled):
            began = time.perf_counter()
            pictures = found[:BATCH].clone().requires_grad_(True)
            with torch.no_grad():
                network(found[:BATCH], ["relu4_2"])
            torch.autograd.backward([f.square().mean() for f in network(pictures, TERMS).values()])
            times[network.arch].append(time.perf_counter() - began)
    ratio = statistics.median(a / b for a, b in zip(times["vgg19"], times["distilled"], strict=True))
    print(f"features and their gradients, {SIZE} pixels: {ratio:.2f} times as fast as vgg19")


def main() -> None:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", type=Path, nargs="+", help="folders of images")
    parser.add_argument("--vgg-weights", type=Path, required=True, help="VGG-19, as train.py takes it")
    parser.add_argument("--out", type=Path, default=Path("distilled-vgg19.safetensors"))
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--device", default="cpu", help="to train on")
    parser.add_argument("--workers", type=int, default=1, help="threads that read pictures")
    parser.add_argument("--check", action="store_true", help="compare --out, or else the bundled file")
    arguments = parser.parse_args()
    (check if arguments.check else train)(arguments)


if __name__ == "__main__":
    main()

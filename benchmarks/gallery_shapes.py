"""Multiply-adds and bytes of candidate shapes of a network of many styles, and their speed in turn.

    python benchmarks/gallery_shapes.py                    # at 640 x 480, with the fastest installed engine
    python benchmarks/gallery_shapes.py --rounds 0         # the arithmetic alone

Prints, for each part of each shape, multiply-adds and bytes written a pixel of the image (fp32, norms and
ReLUs in place), and the time of each shape as a multiple of full width's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from functools import partial

import numpy as np
import torch

from fast_nst.config import GalleryNetConfig, NetworkConfig
from fast_nst.inference.engine.backends.base import MixtureSource, Source
from fast_nst.inference.engine.backends.choice import open_backend
from fast_nst.inference.engine.folded_net import arrays_of, plan_of
from fast_nst.inference.engine.gallery_folding import fold_gallery
from fast_nst.inference.engine.gallery_graph import build_gallery_graph
from fast_nst.inference.engine.plan import Plan
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.transform_net import TransformNet

GALLERY = "16-48, 4 blocks, the gallery"


def plans() -> dict[str, Plan]:
    """Random weights of every shape; the first one is the reference."""
    found = {
        "full width": plan_of(TransformNet(NetworkConfig()).eval()),
        "32-32-32, 9x9 ends": plan_of(TransformNet(NetworkConfig(widths=(32, 32, 32), blocks=6)).eval()),
    }
    shapes = {
        GALLERY: GalleryNetConfig(),
        "16-48, 5 blocks": GalleryNetConfig(blocks=5),
        "16-40, 5 blocks": GalleryNetConfig(widths=(16, 40), blocks=5),
        "16-32, 5 blocks": GalleryNetConfig(widths=(16, 32), blocks=5),
        "16-32-64, 6 blocks": GalleryNetConfig(widths=(16, 32, 64), blocks=6),
    }
    for name, config in shapes.items():
        network = GalleryNet(config).eval()
        found[name] = fold_gallery(config, arrays_of(network), np.ones(1, np.float32))
    return found


def parts(plan: Plan) -> dict[str, tuple[float, float]]:
    """Multiply-adds and bytes written a pixel, by part: the layers' names without their numbers."""
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    scale = 1.0
    for layer in plan.layers:
        scale *= 4 if layer.fractional else 1 / layer.stride**2
        outputs = layer.weight.shape[1 if layer.fractional else 0]
        multiplications = layer.weight.size / (4 if layer.fractional else 1)
        name = layer.name.rstrip("0123456789_")
        found[name][0] += multiplications * scale
        found[name][1] += 4 * outputs * scale
    return {name: (adds, size) for name, (adds, size) in found.items()}


def _same(plan: Plan) -> Plan:
    return plan


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    networks = plans()
    for name, plan in networks.items():
        listed = parts(plan)
        total = [sum(values) for values in zip(*listed.values(), strict=True)]
        print(f"{name:<33} {total[0]:8.0f} multiply-adds {total[1]:7.0f} bytes a pixel")
        for part, (adds, size) in listed.items():
            print(f"    {part:<16} {adds:8.0f} {size:21.0f}")
    if not rounds:
        return
    image = np.random.default_rng(0).integers(0, 256, (1, 480, 640, 3), dtype=np.uint8)
    engines = {
        name: open_backend(Source({}, partial(_same, plan)), backend="auto", device="cpu", precision="fp32")
        for name, plan in networks.items()
    }
    network = GalleryNet(GalleryNetConfig()).eval()
    graph = partial(build_gallery_graph, network.config, arrays_of(network), {}, total=True)
    mixed = Source(
        {}, partial(_same, networks[GALLERY]), mixture=MixtureSource(np.ones(1, np.float32), graph)
    )
    engines["the gallery, mixture as an input"] = open_backend(
        mixed, backend="auto", device="cpu", precision="fp32"
    )
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            began = time.perf_counter()
            engine.run_uint8(image)
            times[name].append(time.perf_counter() - began)
    reference = statistics.median(times["full width"])
    for name, taken in times.items():
        print(f"{name:<33} {reference / statistics.median(taken):6.1f} times as fast as full width")


if __name__ == "__main__":
    main()

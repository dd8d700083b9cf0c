"""The precision in which a loss network and its gradient run faster: on processors it is measured.

That a processor has bf16 does not say that it is fast in it: on some a step takes twice as long as in fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from fast_nst.io.measured import remembered_times
from fast_nst.models.vgg import VGGFeatures
from fast_nst.system.device import autocast, choose_precision, cpu_has_bf16, processor_key
from fast_nst.system.timing import fastest, measure_in_turn

__all__ = ["loss_precision", "loss_times"]

PRECISIONS = ("fp32", "bf16")
_DEEPEST, _SIDE, _CALLS = "relu4_1", 96, 2


def loss_precision(name: str, device: torch.device, arch: str) -> str:
    """The precision for optimizing an image.

    Args:
        name: ``auto``, or what is asked for.
        arch: the loss network.
    """
    if name == "auto" and device.type == "cpu" and cpu_has_bf16():
        return fastest(loss_times(arch))
    return choose_precision(name, device)


def loss_times(arch: str) -> dict[str, float]:
    """Milliseconds of a forward and a backward pass of a loss network by precision, measured once."""
    return remembered_times(f"loss network {arch} {processor_key()}", PRECISIONS, lambda: _measure(arch))


def _measure(arch: str) -> dict[str, float]:
    with torch.random.fork_rng(devices=[]):
        network = VGGFeatures(arch, [_DEEPEST]).to(memory_format=torch.channels_last)
    images = torch.rand(1, 3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()

    def passes(precision: str) -> Callable[[], object]:
        def run() -> object:
            with autocast(torch.device("cpu"), precision):
                found = network(images, [_DEEPEST])[_DEEPEST]
            return torch.autograd.grad(found.float().square().mean(), images)

        return run

    calls = {precision: passes(precision) for precision in PRECISIONS}
    return {name: time.median for name, time in measure_in_turn(calls, calls=_CALLS, warmup=1).items()}

"""The precision of a run on a processor that has bf16: measured, since the faster one differs between them.

One step of the real network and objective in each precision, a second in all, once for a processor, network
and version of torch; the times are kept in the user's cache folder.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.config import RunConfig
from fast_nst.io.measured import remembered_times
from fast_nst.models.checkpoint import Network
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.loss_precision import PRECISIONS, faster_precision
from fast_nst.serialization import to_dict
from fast_nst.system.device import autocast, choose_precision, cpu_has_bf16, processor_key
from fast_nst.system.timing import measure_in_turn
from fast_nst.training.objective import CallableObjective, Objective
from fast_nst.training.process_group import ProcessGroup

__all__ = ["choose_run_precision", "step_times"]

SIDE, CALLS = 96, 2  # of a crop, pixels; steps timed in each precision


def choose_run_precision(
    config: RunConfig,
    network: Network,
    objective: Objective,
    *,
    device: torch.device,
    group: ProcessGroup,
    saved: str | None,
) -> tuple[str, dict[str, float]]:
    """The precision of a run, and the times that decided it; no times where nothing was measured.

    Args:
        saved: of the state that is resumed, which keeps its precision; empty: saved before precisions were
            measured. None: a new run.
    """
    by_device = choose_precision(config.precision, device)
    if config.precision != "auto":
        return by_device, {}
    if saved in PRECISIONS:
        return saved, {}
    if device.type != "cpu":
        return by_device, {}
    if saved is not None:  # when nothing was measured, the processor's flag decided
        return "bf16" if cpu_has_bf16() else "fp32", {}
    if isinstance(objective, CallableObjective):
        return by_device, {}
    times = step_times(network, objective.alone(), type(objective).__name__) if cpu_has_bf16() else {}
    chosen = faster_precision(times) if times else by_device
    return group.gather(chosen)[0], times


def step_times(network: Network, objective: Any, name: str) -> dict[str, float]:
    """Milliseconds of a training step on this processor by precision, from the cache where they are known.

    Args:
        network: on the CPU; it is left as it is.
        objective: as the training step has it.
        name: of the objective and what it depends on.
    """
    key = f"{name} {json.dumps(to_dict(network.config))} {processor_key()}"
    return remembered_times(key, PRECISIONS, lambda: _measure(network, objective))


def _measure(network: Network, objective: Any) -> dict[str, float]:
    tried = copy.deepcopy(network)  # a batch norm would take the measurement into its statistics
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    factor = getattr(network.config, "factor", 1)
    inputs = images if factor == 1 else F.avg_pool2d(images, factor)
    weights = [parameter for parameter in tried.parameters() if parameter.requires_grad]
    cpu = torch.device("cpu")
    rows: tuple[Tensor, ...] = ()
    mixture: tuple[Tensor, ...] = ()
    if isinstance(network, GalleryNet):
        rows = (torch.tensor([network.config.rows - 1]),)
        mixture = (torch.eye(network.config.rows)[rows],)

    def step(precision: str) -> Callable[[], object]:
        def take() -> object:
            with autocast(cpu, precision):
                terms = objective(tried(inputs, *mixture), objective.content_target(images, *rows))
            return torch.autograd.grad(sum(terms), weights, allow_unused=True)

        return take

    calls = {precision: step(precision) for precision in PRECISIONS}
    found = measure_in_turn(calls, calls=CALLS, warmup=1, device=cpu)
    return {name: timing.median for name, timing in found.items()}

"""One of several processes that take the first step of a run together; run by ``test_process_group.py``.

share.py FILE: the settings are in FILE, and the gradients of this process are left beside it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from fast_nst.config import TrainConfig
from fast_nst.io.images import load_image
from fast_nst.serialization import from_dict
from fast_nst.training import step as step_module
from fast_nst.training.builders import build_network
from fast_nst.training.motion import Motion
from fast_nst.training.objective_builders import build_objective
from fast_nst.training.process_group import ProcessGroup, joined_process_group
from fast_nst.training.step import TrainingStep

CPU = torch.device("cpu")


def step(config: TrainConfig) -> dict[str, torch.Tensor]:
    """Gradients and losses of a first step in float64, on this process's share of four pictures of noise."""
    group = ProcessGroup()
    everything = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = everything.chunk(group.size)[group.rank].contiguous(memory_format=torch.channels_last)
    painting = load_image(config.style, short_side=config.style_size)
    training_step = TrainingStep(
        build_network(config, CPU).double(),
        build_objective(config, painting, CPU, group).double(),
        averaging=config.averaging,
        temporal=config.temporal_weight if config.temporal else 0.0,
        border=config.border_weight,
        device=CPU,
        precision="fp32",
        compiled=False,
        group=group,
    )
    training_step.gradient_limit.mean = training_step.gradient_limit.mean.double()
    motion_of = step_module.motion_of
    step_module.motion_of = lambda *values, **share: Motion(
        *(part.double() for part in motion_of(*values, **share))
    )
    terms = training_step(share, 1e-3, 1)
    parameters = training_step.network.named_parameters()
    gradients = {name: p.grad for name, p in parameters if p.grad is not None}
    return gradients | {f"loss/{name}": value for name, value in terms._asdict().items()}


if __name__ == "__main__":
    settings = Path(sys.argv[1])
    with joined_process_group():
        found = step(from_dict(TrainConfig, json.loads(settings.read_text())))
        torch.save(
            found,
            settings.with_name(
                f"gradients{os.environ.get('RANK', '0')}-{os.environ.get('WORLD_SIZE', '1')}.pt"
            ),
        )

r"""Loss after equal training time: ours and a plain training loop, evaluated with the same objective.

    python benchmarks/equal_time.py --style starry.jpg --dataset photos/ --objective dimensionless \
        --loss-network vgg19 --minutes 15

takes the flags of train.py; the objective must be that of the plain loop. Both train the same architecture
on the same photographs for the same relative errors of content and style.
The plain loop is that of `benchmarks/training.py`: fp32, crops of 256, a
constant learning rate of 1e-3, as in pytorch/examples; it gets the time that ours took. Printed are content
and style, and their sum with the default weights, on a validation set, at 256 x 256; and
what averaging the weights did.
"""

from __future__ import annotations

import dataclasses
import sys
import time

import torch
from torch import nn
from training import PlainLoop

from fast_nst.cli.parsing import parse
from fast_nst.config import TrainConfig
from fast_nst.io.images import load_image
from fast_nst.models.losses import PerceptualLoss
from fast_nst.training.data.loader import PhotoBatches, as_images
from fast_nst.training.trainer import Trainer
from fast_nst.training.validation import Validation

SIZE = 256


def judged(name: str, steps: int, network: nn.Module, measure: Validation) -> None:
    """Print a line of the table."""
    found = measure(network.eval())
    total = found["content"] + found["style"]  # the plain loop knows no other terms
    print(f"| {name} | {steps} | {found['content']:.3f} | {found['style']:.3f} | {total:.3f} |", flush=True)


def plainly(trainer: Trainer, seconds: float) -> tuple[nn.Module, int]:
    """The plain loop for that long, and how many steps it took."""
    assert isinstance(trainer.config, TrainConfig)
    config = dataclasses.replace(
        trainer.config, image_size=SIZE, photo_size=None, start_size=None, start_steps=None
    )
    objective = trainer.training_step.objective
    assert isinstance(objective, PerceptualLoss)
    painting = load_image(config.style, short_side=config.style_size).to(trainer.device)
    torch.manual_seed(config.seed)
    loop = PlainLoop(objective.features, painting, config.batch_size)
    loop.network.to(trainer.device)
    steps, began = 0, time.perf_counter()
    with PhotoBatches(
        trainer.photos, batch_size=config.batch_size, image_size=SIZE, seed=config.seed
    ) as batches:
        for batch in batches:
            loop(as_images(batch.images, trainer.device).contiguous())
            steps += 1
            if time.perf_counter() - began >= seconds:
                break
    return loop.network, steps


def main() -> None:
    config = parse(TrainConfig, sys.argv[1:], prog="equal_time.py", description=__doc__ or "")
    trainer = Trainer(config)
    assert trainer.validation_photos is not None, "the dataset is too small for a validation set"
    measure = Validation(
        trainer.validation_photos,
        trainer.training_step.objective,
        image_size=SIZE,
        device=trainer.device,
        precision="fp32",
    )
    for report in trainer:
        print(report, file=sys.stderr, flush=True)
    print("| | steps | content | style | objective |\n|---|---|---|---|---|", flush=True)
    judged("ours", trainer.step, trainer.training_step.average.network, measure)
    judged("ours, last weights", trainer.step, trainer.network, measure)
    network, steps = plainly(trainer, trainer.elapsed)
    judged("plain loop", steps, network, measure)


if __name__ == "__main__":
    main()

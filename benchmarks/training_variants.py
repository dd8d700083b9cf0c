r"""Ways to train compared, in turn on the same machine: objective by VGG-19 after equal time or equal steps.

    python benchmarks/training_variants.py --style a.jpg b.jpg --dataset photos/ --content FOLDER \
        --vgg-weights vgg19.safetensors --minutes 3 --variants adam muon schedule-free

Every variant trains the same network from the same random weights (`--preset`). With --minutes they take
turns of a few seconds, so that each gets the same share of a machine whose speed changes, and each has that
much time of its own; with --steps they run one after the other. Printed are content and style (means over
the layers, unweighted), and their weighted sum, measured by VGG-19 on center crops of 256 pixels; --sheet
draws what each made of three of the content images.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contact_sheet import below_each_other, cell
from numpy.typing import NDArray
from torch import Tensor, nn
from training_optimizers import Muon, ScheduleFree

from fast_nst.config import NONE, LossConfig, TrainConfig
from fast_nst.io.images import Picture, find_pictures, load_image, save_image, to_uint8
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.vgg import load_vgg
from fast_nst.training.data.photos import PhotoSource, open_photos
from fast_nst.training.objective_builders import build_objective
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.trainer import Trainer
from fast_nst.training.validation import Validation

JUDGED_SIZE = 256  # side of the crops that are judged, pixels
TURN = 10.0  # seconds
CPU = torch.device("cpu")


class Windows:
    """The objective on a window of the results, at a random place: the network sees more than is judged."""

    def __init__(self, objective: PerceptualLoss, side: int) -> None:
        self.objective, self.side = objective, side
        self.random = torch.Generator().manual_seed(0)

    def content_target(self, photos: Tensor) -> Tensor:
        """The photographs: where the window lies is not known yet."""
        return photos

    def __call__(self, images: Tensor, photos: Tensor, /) -> Any:
        """The terms of the window."""
        free = [size - self.side + 1 for size in images.shape[2:]]
        top, left = (4 * int(torch.randint(-(-n // 4), (), generator=self.random)) for n in free)
        window = (..., slice(top, top + self.side), slice(left, left + self.side))
        return self.objective(images[window], self.objective.content_target(photos[window]))

    def alone(self) -> Windows:
        """Itself: there is one process."""
        return self


@dataclass(frozen=True)
class Variant:
    """One way to train: what differs from the usual."""

    says: str
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    """of the config"""
    start: float | None = None
    """size of the crops in a first stage, as a share of those later"""
    shrink: bool = True
    """whether the style image shrinks with them"""
    window: int | None = None
    """side of the windows that are judged in training, pixels"""
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None


VARIANTS = {
    "adam": Variant("Adam, cosine to zero, batches of 4"),
    "rate-2e-3": Variant("the same at 2e-3", {"learning_rate": 2e-3}),
    "batch-1": Variant("batches of 1", {"batch_size": 1}),
    "batch-2": Variant("batches of 2", {"batch_size": 2}),
    "averaging": Variant("weights averaged over the last tenth", {"averaging": 0.1}),
    "averaging-constant": Variant(
        "constant rate, weights averaged over the last fifth", {"averaging": 0.2, "decay": "constant"}
    ),
    "muon": Variant("Muon on kernels", optimizer=Muon),
    "muon-2e-3": Variant("Muon on kernels at 2e-3", {"learning_rate": 2e-3}, optimizer=Muon),
    "schedule-free": Variant(
        "Schedule-Free Adam at 2e-3", {"learning_rate": 2e-3, "decay": "constant"}, optimizer=ScheduleFree
    ),
    "small-first": Variant("crops and style image at 3/4 for 6/10 of the time", start=3 / 4),
    "batch-1-small-first": Variant("batches of 1, both at 3/4 for 6/10", {"batch_size": 1}, start=3 / 4),
    "small-crops": Variant("crops alone at 3/4 for 6/10 of the time", start=3 / 4, shrink=False),
    "windows": Variant("crops of 192, loss on windows of 128", {"image_size": 192}, window=128),
    "vgg19": Variant("VGG-19 itself", {"loss_network": "vgg19"}),
}


def trainer_of(config: TrainConfig, variant: Variant) -> Trainer:
    """A trainer that trains in that way."""
    objective, changes = None, dict(variant.changes)
    if variant.start is not None:
        multiple = config.multiple
        changes["start_size"] = round(variant.start * config.image_size / multiple) * multiple
        changes["start_style_size"] = None if variant.shrink else config.style_size
    config = dataclasses.replace(config, **changes)
    if variant.window is not None:
        style = load_image(config.style, short_side=config.style_size)
        objective = Windows(build_objective(config, style, CPU, ProcessGroup()), variant.window)
    trainer = Trainer(config, objective=objective)
    if variant.optimizer is not None:
        parameters = [p for p in trainer.network.parameters() if p.requires_grad]
        trainer.training_step.optimizer = variant.optimizer(parameters)  # type: ignore[assignment]
    return trainer


def seconds_of(trainer: Trainer) -> Iterator[float]:
    """Train; yields the seconds of training so far, after each step."""
    for _ in trainer:
        yield trainer.elapsed
    optimizer: Any = trainer.training_step.optimizer
    if isinstance(optimizer, ScheduleFree):
        optimizer.finish()
        trainer.training_step.average.update(trainer.network, trainer.step)
        trainer.save()


def in_turn(runs: dict[str, Iterator[float]], turn: float) -> None:
    """Let each run for some seconds, then the next, until all have ended."""
    spent = dict.fromkeys(runs, 0.0)
    while runs:
        for name in list(runs):
            until = spent[name] + turn
            while spent[name] < until:
                seconds = next(runs[name], None)
                if seconds is None:
                    del runs[name]
                    break
                spent[name] = seconds


def judge(style: Path, weights: Path | None, photos: PhotoSource) -> Validation:
    """The usual objective by VGG-19."""
    loss = LossConfig()
    layers = (*loss.content_layers, *loss.style_layers_for("vgg19"))
    features = load_vgg("vgg19", layers, file=weights)
    objective = PerceptualLoss(features, load_image(style, short_side=loss.preset.style_size), loss)
    return Validation(photos, objective, image_size=JUDGED_SIZE, device=CPU, precision="fp32")


@torch.inference_mode()
def row(name: str, network: nn.Module, photos: list[Tensor], height: int) -> NDArray[np.uint8]:
    """A row of a sheet."""
    pictures = [to_uint8(network(photo[None])[0]) for photo in photos]
    return np.concatenate([cell(Picture(p), name, height) for p in pictures], axis=1)


def config_of(style: Path, name: str, folder: Path, arguments: argparse.Namespace) -> TrainConfig:
    """The settings of a variant's run, without what is special to it."""
    return TrainConfig(
        style=style,
        dataset=arguments.dataset,
        out=folder / f"{style.stem}-{name}.safetensors",
        run=folder / name,
        preset=arguments.preset,
        warm_start=arguments.warm_start,
        image_size=arguments.image_size,
        steps=arguments.steps or 10**6,
        minutes=arguments.minutes,
        vgg_weights=arguments.vgg_weights if name == "vgg19" else None,
        precision="fp32",
        compile=arguments.compile,
        validation_images=0,
        report_every=1,
        save_every=10**6,
        preview_every=10**6,
        workers=1,
    )


def compared(
    style: Path, folder: Path, contents: PhotoSource, arguments: argparse.Namespace
) -> dict[str, nn.Module]:
    """Train a style in all ways and print a line for each; the networks by variant."""
    trainers = {
        name: trainer_of(config_of(style, name, folder, arguments), VARIANTS[name])
        for name in arguments.variants
    }
    runs = {name: seconds_of(trainer) for name, trainer in trainers.items()}
    in_turn(runs, TURN if arguments.minutes else float("inf"))
    measure = judge(style, arguments.vgg_weights, contents)
    networks: dict[str, nn.Module] = {}
    for name, trainer in trainers.items():
        networks[name] = trainer.training_step.average.network
        found = measure(networks[name])
        print(
            f"| {style.stem} | {VARIANTS[name].says} | {trainer.step} "
            f"| {trainer.step * trainer.config.batch_size} | {found['content']:.3f} "
            f"| {found['style'] / LossConfig().style_weight:.4f} | {found['objective']:.3f} |",
            flush=True,
        )
    return networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--style", type=Path, nargs="+", required=True, help="style images")
    parser.add_argument("--dataset", required=True, help="folder of photographs to train on")
    parser.add_argument("--content", type=Path, required=True, help="folder of content images to judge on")
    parser.add_argument("--limit", type=int, default=16, help="the most content images")
    parser.add_argument("--vgg-weights", type=Path, help="VGG-19 weights [default: downloaded once]")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--minutes", type=float, help="of each variant")
    amount.add_argument("--steps", type=int, help="of each variant")
    parser.add_argument("--preset", default="small", help="the network")
    parser.add_argument("--image-size", type=int, default=128, help="training crops, pixels")
    parser.add_argument("--warm-start", type=Path, default=NONE)
    parser.add_argument("--compile", default="off", choices=("on", "off"))
    parser.add_argument("--keep", type=Path, help="folder for the trained styles")
    parser.add_argument("--sheet", type=Path, help="picture to write")
    parser.add_argument("--height", type=int, default=256, help="of a picture on the sheet, pixels")
    arguments = parser.parse_args()

    contents = open_photos(str(arguments.content), max_images=arguments.limit)
    print(f"{len(contents.names)} content images", file=sys.stderr)
    shown = [load_image(p, size=512) for p in find_pictures(arguments.content)[:3]]
    rows: list[NDArray[np.uint8]] = []
    print("| painting | variant | steps | pictures | content | style | objective |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    for style in arguments.style:
        with tempfile.TemporaryDirectory() as scratch:
            networks = compared(style, Path(scratch), contents, arguments)
            if arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                for file in Path(scratch).glob("*.safetensors"):
                    shutil.copy(file, arguments.keep)
        if arguments.sheet:
            rows += [row(name, network, shown, arguments.height) for name, network in networks.items()]
            save_image(arguments.sheet, below_each_other(rows))


if __name__ == "__main__":
    main()

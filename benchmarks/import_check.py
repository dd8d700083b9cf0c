"""An imported network against the original project's own code, run from a checkout of that project.

python benchmarks/import_check.py --peer examples/ --model candy.pth --photo a.jpg [--sizes 256x320]

Without --model the project's own class makes a network of random weights, which is saved and imported.
Printed for each size: the largest difference of the two results in gray levels, over the picture and over its
interior (32 pixels from the border), before rounding, and the share of interior values that round apart.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fast_nst.io.images import MAX_LEVEL, fit, from_uint8, read_picture
from fast_nst.models.checkpoint import load_checkpoint, save_checkpoint
from fast_nst.models.convert import import_network

MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
INTERIOR = 32


@dataclass(frozen=True)
class Project:
    """Where a project's network is, and what its scripts do to a picture before and after it."""

    file: str
    name: str
    pixels: str
    key: str | None = None
    """under which its checkpoints keep the network"""


PROJECTS = (
    Project("fast_neural_style/neural_style/transformer_net.py", "TransformerNet", "levels"),
    Project("models/definitions/transformer_net.py", "TransformerNet", "imagenet", "state_dict"),
    Project("models/transformation_models.py", "TransformationModel", "imagenet", "model_state_dict"),
    Project("transformer.py", "TransformerNetwork", "bgr"),
    Project("deploy/model.py", "TransformerNet", "levels"),
    Project("models.py", "TransformerNet", "imagenet"),
)


def network_config(peer: Path, widths: tuple[int, ...] | None) -> tuple[nn.Module, Project]:
    """The project's own network; of other widths than it has, by way of its own layers' constructors."""
    project = next((p for p in PROJECTS if (peer / p.file).is_file()), None)
    if project is None:
        raise SystemExit(f"{peer} holds none of {', '.join(p.file for p in PROJECTS)}")
    sys.path.insert(0, str((peer / project.file).parent))
    module = importlib.import_module(Path(project.file).stem)
    if widths is None:
        return getattr(module, project.name)(), project
    conv, norm = nn.Conv2d.__init__, nn.InstanceNorm2d.__init__
    narrow = {3: 3, **dict(zip((32, 64, 128), widths, strict=True))}

    def conv_init(self: Any, inputs: int, outputs: int, *rest: Any, **options: Any) -> None:
        conv(self, narrow[inputs], narrow[outputs], *rest, **options)

    def norm_init(self: Any, channels: int, *rest: Any, **options: Any) -> None:
        norm(self, narrow[channels], *rest, **options)

    nn.Conv2d.__init__, nn.InstanceNorm2d.__init__ = conv_init, norm_init  # type: ignore[assignment]
    try:
        return getattr(module, project.name)(), project
    finally:
        nn.Conv2d.__init__, nn.InstanceNorm2d.__init__ = conv, norm  # type: ignore[method-assign]


def theirs(network: nn.Module, image: Tensor, pixels: str) -> Tensor:
    """Their result in levels, before it is rounded, from a picture in [0, 1]."""
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
    result: Tensor
    with torch.no_grad():
        if pixels == "imagenet":
            result = MAX_LEVEL * (network((image - mean) / std) * std + mean)
        elif pixels == "bgr":
            result = network(image.flip(1) * MAX_LEVEL).flip(1)
        else:
            result = network(image * MAX_LEVEL)
    return result


def randomise(network: nn.Module, image: Tensor, pixels: str) -> None:
    """Weights that use the range of a picture, in place of initial ones, whose result is nearly flat."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    assert last.bias is not None
    out = theirs(network, image, pixels)
    last.weight.data *= 60 / out.std()
    last.bias.data *= 60 / out.std()
    in_their_units = MAX_LEVEL * STD[1] if pixels == "imagenet" else 1
    last.bias.data += (MAX_LEVEL / 2 - theirs(network, image, pixels).mean()) / in_their_units


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="checkout of the project")
    parser.add_argument("--model", type=Path, help="a network it trained [default: random weights]")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--sizes", nargs="+", default=["256x320", "255x333"], help="height x width")
    arguments = parser.parse_args()

    photo = from_uint8(fit(read_picture(arguments.photo), 800).rgb)[None]
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or Path(folder) / "random.pth"
        if arguments.model is None:
            network, project = network_config(arguments.peer, None)
            randomise(network, photo[..., :256, :256], project.pixels)
            state: Any = network.state_dict()
            torch.save({project.key: state} if project.key else state, model)
        ours, metadata = import_network(model)
        save_checkpoint(Path(folder) / "style.safetensors", ours, metadata, half=False)
        ours = load_checkpoint(Path(folder) / "style.safetensors").network
        if arguments.model is not None:
            network, project = network_config(arguments.peer, ours.config.widths)
            state = torch.load(model, map_location="cpu", weights_only=True)
            state = state[project.key] if project.key else state
            network.load_state_dict({k: v for k, v in state.items() if ".running_" not in k})
    print(f"{metadata['imported']['project']}, widths {ours.config.widths}, {ours.config.blocks} blocks")
    for size in arguments.sizes:
        height, width = (int(side) for side in size.split("x"))
        image = photo[..., :height, :width]
        # Sides that are no multiples of 4 come out of their networks a few pixels longer.
        wanted = theirs(network.eval(), image, project.pixels)[..., :height, :width].clamp(0, MAX_LEVEL)
        found = (ours(image) * MAX_LEVEL).clamp(0, MAX_LEVEL)
        inside = (..., slice(INTERIOR, -INTERIOR), slice(INTERIOR, -INTERIOR))
        away = (found - wanted).abs()
        apart = (found.round() != wanted.round())[inside].float().mean()
        print(f"{size:>9}: whole {away.max():.5f}, interior {away[inside].max():.5f} levels, ", end="")
        print(f"{apart:.4%} of the interior round apart")


if __name__ == "__main__":
    main()

"""Styles of paintings that were never trained on, at once: ours and those of other projects.

    python benchmarks/any_painting.py PAINTINGS --content FOLDER --vgg-weights vgg19.safetensors --peers PEERS

Every tenth painting of the folder, in the order of names, is tested: those that train_style_predictor.py
leaves out. Printed for each way of stylizing, as means over paintings and content images, are the columns of
style_distance.py. --peers names a folder with Magenta's networks (Ghiasi et al. 2017) as
magenta/arbitrary_predict.onnx and magenta/arbitrary_transform.onnx, and those of MicroAST (Wang et al. 2023)
as microast/*.pth.tar; what is not there is left out. --refine MINUTES adds our rows trained for so long on
the content images (`refined`), for every painting. --sheet FILE writes a picture of the first paintings.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from new_painting import refine
from style_distance import (
    CONTENT_SIDE,
    LAYERS,
    STYLE_LAYERS,
    STYLE_SIDE,
    content_distance,
    features_of,
    style_distances,
)
from torch import Tensor

from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import find_pictures, load_image, save_image
from fast_nst.models.vgg import load_vgg

TESTED = 10  # as in train_style_predictor.py
SHOWN = 12  # paintings on the sheet

Method = Callable[[Path, Tensor], Tensor]
"""from a painting's file and a content image ``(3, H, W)`` in [0, 1] to the stylized image of that shape"""


def ours(painting: Path, content: Tensor) -> Tensor:
    """As ``stylize.py --style painting`` does."""
    return Stylizer.load(str(painting), precision="fp32")(content)


def refined(pictures: list[Path], minutes: float, folder: Path) -> Method:
    """As ``stylize.py --style painting --refine`` does for these pictures; rows are kept in the folder."""

    @functools.lru_cache(maxsize=1)
    def stylizer_of(painting: Path) -> Stylizer:
        style = folder / f"{painting.stem}.safetensors"
        refine(painting, style, pictures=pictures, minutes=minutes)
        return Stylizer.load(str(style), precision="fp32")

    return lambda painting, content: stylizer_of(painting)(content)


def magenta(folder: Path) -> Method:
    """Magenta's pair: a painting squeezed to 256 pixels to 100 numbers, images of 384 pixels."""
    import onnxruntime

    predict, transform = (
        onnxruntime.InferenceSession(folder / f"arbitrary_{name}.onnx") for name in ("predict", "transform")
    )

    def stylize(painting: Path, content: Tensor) -> Tensor:
        style = _resized(load_image(painting, short_side=STYLE_SIDE), 256, 256)
        code = predict.run(None, {predict.get_inputs()[0].name: _last(style)})[0]
        inputs = [entry.name for entry in transform.get_inputs()]
        small = _resized(content, 384, 384)
        (found,) = transform.run(None, dict(zip(inputs, (_last(small), code), strict=True)))
        return _resized(torch.from_numpy(found[0]).permute(2, 0, 1), *content.shape[1:])

    return stylize


def _last(image: Tensor) -> object:
    return image.permute(1, 2, 0)[None].contiguous().numpy()


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)


class MicroAST:
    """MicroAST from its four files: encoders of both images, a decoder modulated by the style's features."""

    def __init__(self, folder: Path) -> None:
        self.parts: dict[str, Mapping[str, Tensor]] = {
            part: torch.load(folder / f"{part}.pth.tar", weights_only=True)
            for part in ("content_encoder", "style_encoder", "modulator", "decoder")
        }

    @torch.inference_mode()
    def __call__(self, painting: Path, content: Tensor) -> Tensor:
        """See `Method`."""
        style = self._encoded("style_encoder", load_image(painting, short_side=STYLE_SIDE)[None])
        found = self._encoded("content_encoder", content[None])[1]
        for level, block in ((1, "dec1"), (0, "dec2")):
            found = self._residual(
                "decoder", block, _matched(found, style[level]), self._filters(style, level)
            )
        for first, second in (("dec3.1", "dec3.3"), ("dec3.6", "dec3.8")):
            larger = F.interpolate(found, scale_factor=2, mode="bilinear")
            found = F.relu(self._conv("decoder", second, F.relu(self._conv("decoder", first, larger))))
        result = self._conv("decoder", "dec3.10", found)[0].clamp(0, 1)
        return result[:, : content.shape[1], : content.shape[2]]

    def _encoded(self, part: str, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in (0, 2, 4, 6, 8):
            x = F.relu(self._conv(part, f"enc1.{layer}", x, stride=2 if layer in (2, 6) else 1))
        first = self._residual(part, "enc1.10", x)
        return first, self._residual(part, "enc2.0", first)

    def _filters(self, style: tuple[Tensor, Tensor], level: int) -> tuple[Tensor, Tensor]:
        weight, bias = (
            self._conv("modulator", f"{kind}{level + 1}.0", style[level]).mean(dim=(2, 3), keepdim=True)
            for kind in ("weight", "bias")
        )
        return weight, bias

    def _residual(
        self, part: str, name: str, x: Tensor, filters: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        branch = x
        for conv in ("conv1", "conv2"):
            before, branch = branch, self._conv(part, f"{name}.{conv}", branch)
            if filters is not None:
                branch = filters[0] * branch + filters[1] * before
            if conv == "conv1":
                branch = F.relu(branch)
        return x + branch

    def _conv(self, part: str, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = (self.parts[part][f"{name}.conv_layer.{kind}"] for kind in ("weight", "bias"))
        around = weight.shape[-1] // 2
        padded = F.pad(x, (around,) * 4, mode="reflect")
        return F.conv2d(padded, weight, bias, stride, groups=x.shape[1] // weight.shape[1])


def _matched(x: Tensor, style: Tensor) -> Tensor:
    """Adaptive instance normalization (Huang and Belongie 2017, equation 8)."""
    std, mean = torch.std_mean(x, dim=(2, 3), keepdim=True)
    wanted_std, wanted = torch.std_mean(style, dim=(2, 3), keepdim=True)
    return (x - mean) / (std + 1e-5) * wanted_std + wanted


def peers_in(folder: Path) -> dict[str, Method]:
    """The ways of other projects whose files are there, by name."""
    found: dict[str, Method] = {}
    if (folder / "magenta" / "arbitrary_predict.onnx").is_file():
        found["Magenta"] = magenta(folder / "magenta")
    if (folder / "microast" / "decoder.pth.tar").is_file():
        found["MicroAST"] = MicroAST(folder / "microast")
    return found


def main() -> None:
    """Parse the arguments, measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        compare(parsed(), Path(folder))


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paintings", type=Path, help="folder of paintings")
    parser.add_argument("--content", type=Path, required=True, help="folder of content images")
    parser.add_argument("--contents", type=int, default=2, help="use so many of them")
    parser.add_argument("--vgg-weights", type=Path, required=True, help="VGG-19, as train.py takes it")
    parser.add_argument("--peers", type=Path, default=None)
    parser.add_argument("--refine", type=float, default=None, help="minutes")
    parser.add_argument("--sheet", type=Path, default=None)
    parser.add_argument("--most", type=int, default=None, help="test so many paintings")
    return parser.parse_args()


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure every way and print; refined rows are kept in the folder meanwhile."""
    vgg = load_vgg("vgg19", LAYERS, file=arguments.vgg_weights)
    paintings = find_pictures(arguments.paintings)[::TESTED][: arguments.most]
    pictures = find_pictures(arguments.content)[: arguments.contents]
    contents = [load_image(file, size=CONTENT_SIDE) for file in pictures]
    before = [features_of(vgg, content) for content in contents]
    methods: dict[str, Method] = {"fast-nst": ours}
    if arguments.refine is not None:
        methods["refined"] = refined(pictures, arguments.refine, folder)
    if arguments.peers is not None:
        methods |= peers_in(arguments.peers)
    values: dict[str, list[list[float]]] = {name: [] for name in methods}
    sheet: list[Tensor] = []
    for painting in paintings:
        wanted, _ = features_of(vgg, load_image(painting, short_side=STYLE_SIDE))
        shown = [load_image(painting, short_side=STYLE_SIDE)]
        for name, stylize in methods.items():
            for content, (_, kept) in zip(contents, before, strict=True):
                result = stylize(painting, content)
                grams, features = features_of(vgg, result)
                by_layer = style_distances(grams, wanted)
                content_change = content_distance(features, kept)
                values[name].append([*by_layer, statistics.mean(by_layer), content_change])
                shown.append(result)
        sheet.append(_row(shown))
    print(f"{'':10}" + "".join(f"{name:>9}" for name in (*STYLE_LAYERS, "mean", "content")))
    for name, rows in values.items():
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        print(f"{name:10}" + "".join(f"{value:9.3f}" for value in means))
    names = list(values)
    for other in names[1:]:
        pairs = zip(values[names[0]], values[other], strict=True)
        print(f"nearer than {other}: {statistics.mean(a[-2] < b[-2] for a, b in pairs):.0%}")
    if arguments.sheet:
        save_image(arguments.sheet, torch.cat(sheet[:SHOWN], dim=1))


def _row(images: list[Tensor], side: int = 256) -> Tensor:
    """Images beside each other, each in the middle of a square."""
    cells = []
    for image in images:
        h, w = image.shape[1:]
        small = _resized(image, max(1, h * side // max(h, w)), max(1, w * side // max(h, w)))
        cell = torch.ones(3, side, side)
        top, left = (side - small.shape[1]) // 2, (side - small.shape[2]) // 2
        cell[:, top : top + small.shape[1], left : left + small.shape[2]] = small
        cells.append(cell)
    return torch.cat(cells, dim=2)


if __name__ == "__main__":
    main()

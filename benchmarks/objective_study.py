"""What each choice of the objective does to the picture at its minimum: pictures, a table and sheets.

    python benchmarks/objective_study.py --photos FOLDER --out study/ --sizes 512 1024 [STYLE ...]

For each bundled style, photograph and size the optimizer makes one picture by each variant of ``--objective
bold``. Pictures and their terms are kept in ``--out``; the same command goes on where it was stopped. The
table of a size has the content and style terms by `bold`, unchanged, so that all are measured alike: medians
over the pairs, and for the style term the largest too, which tells whether one setting suits every painting.
Sheets are ``SIZE-STYLE.jpg``: for each photograph the style image, the photograph and its variants.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from contact_sheet import below_each_other, cell
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.baseline.image_optimizer import PictureOptimizer
from fast_nst.baseline.objective import Objective
from fast_nst.config import LossConfig
from fast_nst.config.optimize import GATYS_PRESETS, GatysConfig
from fast_nst.inference.styles import choose_style
from fast_nst.io.images import (
    Picture,
    find_pictures,
    load_image,
    over_white,
    read_picture,
    save_image,
    to_uint8,
)
from fast_nst.models.losses import LossTerms, PerceptualLoss
from fast_nst.models.vgg import VGGFeatures, load_vgg
from fast_nst.system.memory import keep_freed_memory

BOLD = LossConfig()
COLUMNS = 6  # of a sheet
SIDE = 256  # shorter side of the style image, pixels
STYLES = ["starry-night", "the-great-wave", "the-scream", "composition-viii", "la-grande-jatte", "irises"]
Make = Callable[[VGGFeatures, Path], Objective]


class TwoScales(nn.Module):
    """Style at the image's own size and at half of it, each half of the term, with one style image.

    In half the size a stroke of the style image covers twice as much: the second asks for large strokes.
    """

    def __init__(self, objective: PerceptualLoss) -> None:
        super().__init__()
        self.objective = objective

    def content_target(self, images: Tensor) -> dict[str, Tensor]:
        return self.objective.content_target(images)

    def forward(self, images: Tensor, target: Mapping[str, Tensor]) -> LossTerms:
        own: LossTerms = self.objective(images, target)
        half = F.avg_pool2d(images, 2)
        small: LossTerms = self.objective(half, self.objective.content_target(half))
        return own._replace(style=(own.style + small.style) / 2)


class LayerWeights(PerceptualLoss):
    """Style layers of unequal weight."""

    weights: Mapping[str, float]

    def _style(self, features: Tensor, layer: str) -> Tensor:
        return self.weights[layer] * super()._style(features, layer)


def plain(loss: LossConfig = BOLD, side: int = SIDE) -> Make:
    return lambda features, painting: PerceptualLoss(features, load_image(painting, short_side=side), loss)


def two_scales(features: VGGFeatures, painting: Path) -> Objective:
    return TwoScales(PerceptualLoss(features, load_image(painting, short_side=SIDE), BOLD))


def weighted(*weights: float) -> Make:
    def make(features: VGGFeatures, painting: Path) -> Objective:
        objective = LayerWeights(features, load_image(painting, short_side=SIDE), BOLD)
        mean = statistics.fmean(weights)
        objective.weights = {k: w / mean for k, w in zip(objective.style_layers, weights, strict=True)}
        return objective

    return make


def one_balance(features: VGGFeatures, painting: Path) -> Objective:
    """Style terms relative to the Gram matrices of The Starry Night, whatever the style image."""
    objective = LayerWeights(features, load_image(painting, short_side=SIDE), BOLD)
    first = choose_style("starry-night").painting
    assert first is not None
    reference = objective.for_style(load_image(first, short_side=SIDE))
    objective.weights = {
        k: float(objective.style_gram(k).square().sum() / reference.style_gram(k).square().sum())
        for k in objective.style_layers
    }
    return objective


VARIANTS: dict[str, Make] = {
    "bold": plain(),
    "dimensionless": plain(LossConfig(objective="dimensionless"), 384),
    "content relu2_2": plain(replace(BOLD, content_layers=("relu2_2",))),
    "content relu3_1": plain(replace(BOLD, content_layers=("relu3_1",))),
    "content 2_2, 4_2": plain(replace(BOLD, content_layers=("relu2_2", "relu4_2"))),
    "style weight 2": plain(replace(BOLD, style_weight=2.0)),
    "style weight 50": plain(replace(BOLD, style_weight=50.0)),
    "without relu5_1": plain(replace(BOLD, style_layers=BOLD.style_layers_for("vgg19")[:-1])),
    "second layers": plain(replace(BOLD, style_layers=("relu1_2", "relu2_2", "relu3_2", "relu4_2"))),
    "deep layers x4": weighted(1, 1, 1, 4, 4),
    "shallow x4": weighted(4, 4, 4, 1, 1),
    "style image 128": plain(side=128),
    "style image 512": plain(side=512),
    "two scales": two_scales,
    "one balance": one_balance,
    "TV weight 100": plain(replace(BOLD, tv_weight=100.0)),
}
LAYERS = {"relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu4_1", "relu4_2", "relu5_1"}


def measured(objective: PerceptualLoss, image: Tensor, content: Tensor) -> tuple[float, float]:
    """The content and style terms of a ``(3, H, W)`` image, without their weights."""
    with torch.no_grad():
        terms = objective(image[None], objective.content_target(content[None]))
    return float(terms.content) / BOLD.content_weight, float(terms.style) / BOLD.style_weight


def make_picture(
    objective: Objective, yardstick: PerceptualLoss, content: Tensor, config: GatysConfig
) -> tuple[Tensor, tuple[float, float]]:
    """The picture at the objective's minimum, ``(3, H, W)``, and its terms."""
    optimizer = PictureOptimizer(content, content, config, objective=objective)
    for _ in optimizer:
        pass
    if optimizer.failure is not None:
        raise RuntimeError(optimizer.failure)
    picture = optimizer.picture()
    return picture, measured(yardstick, picture, content)


def sheet(
    folder: Path, style: str, painting: Path, photos: list[Path], variants: list[str], height: int
) -> NDArray[np.uint8]:
    """For each photograph the style image, itself, and the picture of each variant that there is."""
    rows = []
    for photo in photos:
        shown = to_uint8(load_image(painting, short_side=height)[..., : height * 4 // 3])
        cells = [cell(Picture(shown), "style image", height)]
        cells.append(cell(Picture(over_white(read_picture(photo))), "content image", height))
        for variant in variants:
            file = folder / f"{style} {photo.stem} {variant}.jpg"
            if file.exists():
                cells.append(cell(Picture(over_white(read_picture(file))), variant, height))
        rows += [np.concatenate(cells[k : k + COLUMNS], axis=1) for k in range(0, len(cells), COLUMNS)]
    return below_each_other(rows)


def table(size: int, terms: Mapping[str, tuple[float, float]], variants: list[str]) -> str:
    """Medians over the pairs; keys of ``terms`` end in the variant."""
    lines = [f"| {size} pixels | pairs | content term | style term | its largest |", "|---|---|---|---|---|"]
    for variant in variants:
        found = [pair for key, pair in terms.items() if key.endswith(f" {variant}")]
        if found:
            content, style = (statistics.median(pair[i] for pair in found) for i in (0, 1))
            largest = max(pair[1] for pair in found)
            lines.append(f"| {variant} | {len(found)} | {content:.2f} | {style:.3f} | {largest:.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", default=STYLES)
    parser.add_argument("--photos", type=Path, required=True, help="a folder")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512], help="longer sides, pixels")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=40, help="iterations of L-BFGS")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--height", type=int, default=320, help="of a picture on a sheet, pixels")
    parser.add_argument("--vgg-weights", type=Path, help="VGG-19 weights [default: the distilled network]")
    given = parser.parse_args()

    keep_freed_memory()
    config = replace(
        GATYS_PRESETS["default"], steps=given.steps, size=None, precision=given.precision, compile="off"
    )
    features = load_vgg("vgg19" if given.vgg_weights else "distilled", LAYERS, file=given.vgg_weights)
    photos = find_pictures(given.photos)
    paintings = dict[str, Path]()
    for style in given.styles:
        if (painting := choose_style(style).painting) is None:
            parser.error(f"{style} is no bundled style with its painting")
        paintings[style] = painting
    yardsticks = {
        style: PerceptualLoss(features, load_image(painting, short_side=SIDE), BOLD)
        for style, painting in paintings.items()
    }
    for size in given.sizes:
        folder = given.out / str(size)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "terms.json"
        terms = {k: tuple(v) for k, v in json.loads(kept.read_text()).items()} if kept.exists() else {}
        # Variant by variant, so that a study that was stopped has whole rows of its table.
        for variant in given.variants:
            for style, painting in paintings.items():
                names = {photo: f"{style} {photo.stem} {variant}" for photo in photos}
                left = {photo: name for photo, name in names.items() if name not in terms}
                if not left:
                    continue
                objective = VARIANTS[variant](features, painting)
                for photo, name in left.items():
                    picture, terms[name] = make_picture(
                        objective, yardsticks[style], load_image(photo, size=size), config
                    )
                    save_image(folder / f"{name}.jpg", picture, quality=90)
                    kept.write_text(json.dumps(terms, indent=1))
                    print(f"{size}, {name}: {terms[name][0]:.2f}, {terms[name][1]:.3f}", flush=True)
        for style, painting in paintings.items():
            made = sheet(folder, style, painting, photos, given.variants, given.height)
            save_image(given.out / f"{size}-{style}.jpg", made, quality=85)
        print(table(size, terms, given.variants))


if __name__ == "__main__":
    main()

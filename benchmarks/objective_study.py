"""What each choice of the objective does to the picture at its minimum: a sheet and a table.

    python benchmarks/objective_study.py --photo photo.jpg --out sheet.jpg [STYLE ...]

For each bundled style a picture by each variant of ``--objective bold``, made by the optimizer. The table has
their content and style terms by that objective, unchanged, so that all are measured alike: means over the
styles.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from contact_sheet import below_each_other, cell
from numpy.typing import NDArray
from torch import Tensor

from fast_nst.baseline.image_optimizer import PictureOptimizer
from fast_nst.config import LossConfig
from fast_nst.config.optimize import GATYS_PRESETS
from fast_nst.inference.styles import choose_style
from fast_nst.io.images import Picture, load_image, save_image, to_uint8
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.vgg import VGGFeatures, load_vgg

BOLD = LossConfig()
COLUMNS = 6  # of the sheet
SIDE = 256  # shorter side of the style image, pixels
VARIANTS: dict[str, tuple[LossConfig, int]] = {
    "bold": (BOLD, SIDE),
    "content relu2_2": (replace(BOLD, content_layers=("relu2_2",)), SIDE),
    "content relu3_1": (replace(BOLD, content_layers=("relu3_1",)), SIDE),
    "style weight 2": (replace(BOLD, style_weight=2.0), SIDE),
    "style weight 50": (replace(BOLD, style_weight=50.0), SIDE),
    "without relu5_1": (replace(BOLD, style_layers=BOLD.style_layers_for("vgg19")[:-1]), SIDE),
    "second layers": (replace(BOLD, style_layers=("relu1_2", "relu2_2", "relu3_2", "relu4_2")), SIDE),
    "style image 128": (BOLD, 128),
    "style image 512": (BOLD, 512),
    "TV weight 100": (replace(BOLD, tv_weight=100.0), SIDE),
}


def measured(objective: PerceptualLoss, image: Tensor, content: Tensor) -> tuple[float, float]:
    """The content and style terms of a ``(3, H, W)`` image, without their weights."""
    with torch.no_grad():
        terms = objective(image[None], objective.content_target(content[None]))
    return float(terms.content) / BOLD.content_weight, float(terms.style) / BOLD.style_weight


def rows_of(
    content: Tensor, painting: Path, features: VGGFeatures, steps: int, height: int
) -> tuple[NDArray[np.uint8], dict[str, tuple[float, float]]]:
    """The sheet's rows of a painting, and the terms of each variant."""
    yardstick = PerceptualLoss(features, load_image(painting, short_side=SIDE), BOLD)
    shown = load_image(painting, short_side=height)[..., : height * 4 // 3]
    cells = [cell(Picture(to_uint8(shown)), "style image", height)]
    found: dict[str, tuple[float, float]] = {}
    for name, (loss, side) in VARIANTS.items():
        objective = PerceptualLoss(features, load_image(painting, short_side=side), loss)
        config = replace(GATYS_PRESETS["default"], steps=steps, size=None, precision="fp32", compile="off")
        optimizer = PictureOptimizer(content, content, config, objective=objective)
        for _ in optimizer:
            pass
        picture = optimizer.picture()
        found[name] = measured(yardstick, picture, content)
        print(
            f"{painting.stem}, {name}: content {found[name][0]:.2f}, style {found[name][1]:.3f}", flush=True
        )
        cells.append(cell(Picture(to_uint8(picture)), name, height))
    rows = [np.concatenate(cells[i : i + COLUMNS], axis=1) for i in range(0, len(cells), COLUMNS)]
    return below_each_other(rows), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", default=["starry-night", "composition-viii", "la-grande-jatte"])
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=320, help="longer side of the pictures, pixels")
    parser.add_argument("--steps", type=int, default=80, help="iterations of L-BFGS")
    parser.add_argument("--height", type=int, default=320, help="of a picture on the sheet, pixels")
    parser.add_argument("--vgg-weights", type=Path, help="VGG-19 weights [default: the distilled network]")
    given = parser.parse_args()

    layers = {layer for loss, _ in VARIANTS.values() for layer in loss.content_layers}
    layers |= {layer for loss, _ in VARIANTS.values() for layer in loss.style_layers_for("vgg19")}
    features = load_vgg("vgg19" if given.vgg_weights else "distilled", layers, file=given.vgg_weights)
    content = load_image(given.photo, size=given.size)
    rows, terms = [], []
    for style in given.styles:
        painting = choose_style(style).painting
        if painting is None:
            parser.error(f"{style} is no bundled style with its painting")
        made, found = rows_of(content, painting, features, given.steps, given.height)
        rows.append(made)
        terms.append(found)
    save_image(given.out, below_each_other(rows), quality=85)
    print("| variant | content term | style term |\n|---|---|---|")
    for name in VARIANTS:
        means = [statistics.fmean(found[name][term] for found in terms) for term in (0, 1)]
        print(f"| {name} | {means[0]:.2f} | {means[1]:.3f} |")


if __name__ == "__main__":
    main()

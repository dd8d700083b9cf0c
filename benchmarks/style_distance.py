"""How far trained styles bring photographs towards their paintings, and how much of the photograph stays.

    python benchmarks/style_distance.py --photos FOLDER --paintings FOLDER --vgg-weights FILE [STYLE ...]

For each style: the style distance, mean over relu1_2, relu2_2, relu3_2, relu4_2 of VGG-19 of
|G - G_s|^2 / |G_s|^2, stylized and untouched, and the content distance at relu2_2 in units of the
photograph's mean square; photographs with longer side 512, painting with shorter side 384. The painting
is the file that the checkpoint names.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch
from torch import Tensor

from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import find_pictures, load_image, save_image
from fast_nst.models.checkpoint import bundled_styles, find_style, read_tensors
from fast_nst.models.losses import feature_loss, gram_matrix, style_loss
from fast_nst.models.vgg import VGGFeatures, load_vgg

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2")
CONTENT_LAYER = "relu2_2"


def style_distance(grams: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Mean over the layers of the relative squared distance of Gram matrices."""
    terms = [style_loss(grams[k], wanted[k]) / wanted[k].square().sum() for k in STYLE_LAYERS]
    return float(torch.stack(terms).mean())


def features_of(vgg: VGGFeatures, image: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The Gram matrices and the content features of one ``(3, H, W)`` image."""
    with torch.inference_mode():
        found = vgg(image[None])
        return {k: gram_matrix(found[k]) for k in STYLE_LAYERS}, found[CONTENT_LAYER]


def frame(stylized: Tensor, photo: Tensor) -> float:
    """Mean of stylized - photograph in the outer 16 pixels less that in the next 16, in levels of 255."""
    change = (stylized - photo).mean(dim=0) * 255
    h, w = change.shape
    inside = torch.zeros(h, w, dtype=torch.int)
    inside[16 : h - 16, 16 : w - 16] = 1
    inside[32 : h - 32, 32 : w - 32] = 2
    return float(change[inside == 0].mean() - change[inside == 1].mean())


def measure(
    style: str, photos: list[Tensor], painting: Tensor, vgg: VGGFeatures, sheet: Path | None
) -> dict[str, float]:
    stylize = Stylizer.load(style, precision="fp32")
    wanted, _ = features_of(vgg, painting)
    rows: list[tuple[float, float, float, float]] = []
    for i, photo in enumerate(photos):
        stylized = stylize(photo)
        before, kept = features_of(vgg, photo)
        after, now = features_of(vgg, stylized)
        content = float(feature_loss(now, kept) / kept.square().mean())
        rows.append(
            (style_distance(after, wanted), style_distance(before, wanted), content, frame(stylized, photo))
        )
        if sheet is not None:
            sheet.mkdir(parents=True, exist_ok=True)
            save_image(sheet / f"{stylize.style}_{i:02}.jpg", stylized)
    stylised_distance, untouched, content, border = (
        statistics.fmean(column) for column in zip(*rows, strict=True)
    )
    return {
        "stylized": stylised_distance,
        "untouched": untouched,
        "ratio": stylised_distance / untouched,
        "content": content,
        "frame": border,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", help="names or files [default: all bundled]")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--pattern", default="coco_*.jpg", help="which files of the folder")
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder to write the stylized pictures to")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    vgg = load_vgg("vgg19", STYLE_LAYERS, file=arguments.vgg_weights)
    files = [p for p in find_pictures(arguments.photos) if p.match(arguments.pattern)][: arguments.limit]
    photos = [load_image(p, size=512) for p in files]
    print(f"{len(photos)} photographs", file=sys.stderr)
    rows = {}
    for style in arguments.styles or sorted(bundled_styles()):
        checkpoint = find_style(style)
        name, about = checkpoint.stem, read_tensors(checkpoint)[1]
        painting = load_image(arguments.paintings / about["recipe"]["style"], short_side=384)
        rows[name] = measure(style, photos, painting, vgg, arguments.pictures)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print("| style | style distance | untouched | ratio | content distance | border frame, levels |")
    print("|---|---|---|---|---|---|")
    for name, r in rows.items():
        print(
            f"| {name} | {r['stylized']:.3f} | {r['untouched']:.3f} | {r['ratio']:.3f} "
            f"| {r['content']:.2f} | {r['frame']:+.2f} |"
        )


if __name__ == "__main__":
    main()

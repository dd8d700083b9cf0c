"""How near trained styles bring content images to their style image by layer, and how much content stays.

    python benchmarks/style_distance.py --content FOLDER --vgg-weights vgg19.safetensors [STYLE ...]

Printed for each style, as means over the content images (longer side 512 pixels):

* the style distance |G - G_s|^2 / |G_s|^2 between Gram matrices at relu1_1 ... relu5_1 of VGG-19, against the
  style image at a short side of 256 pixels; their mean; and that mean over the same of the unchanged images
* the content distance |F - F_c|^2 / |F_c|^2 at relu4_2
* the border: the change of brightness in the outer 16 pixels less that in the next 16, in gray levels

The style images of bundled styles come with the package; those of other styles are looked for in
--style-images FOLDER by the name that the checkpoint records, or in paintings/ beside the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from fast_nst.inference.styles import StyleChoice, bundled_styles, choose_style, gallery_styles
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import find_pictures, load_image, save_image
from fast_nst.models.checkpoint import read_tensors
from fast_nst.models.gram import gram_matrix
from fast_nst.models.losses import feature_loss, style_loss
from fast_nst.models.model_files import find_gallery
from fast_nst.models.vgg import VGGFeatures, load_vgg

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
LAYERS = (*STYLE_LAYERS, CONTENT_LAYER)
STYLE_SIDE = 256  # short side of the style image, pixels
CONTENT_SIDE = 512  # longer side of the content images, pixels


def style_distances(grams: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[float]:
    """The relative squared distance of Gram matrices at each style layer."""
    return [float(style_loss(grams[k], wanted[k]) / wanted[k].square().sum()) for k in STYLE_LAYERS]


def content_distance(features: Tensor, kept: Tensor) -> float:
    """The relative squared distance of content features from those of the content image."""
    return float(feature_loss(features, kept) / kept.square().mean())


def features_of(vgg: VGGFeatures, image: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The Gram matrices and the content features of one ``(3, H, W)`` image."""
    with torch.inference_mode():
        found = vgg(image[None])
        return {k: gram_matrix(found[k]) for k in STYLE_LAYERS}, found[CONTENT_LAYER]


def frame(stylized: Tensor, content: Tensor) -> float:
    """Mean of stylized - content in the outer 16 pixels less that in the next 16, in levels of 255."""
    change = (stylized - content).mean(dim=0) * 255
    h, w = change.shape
    inside = torch.zeros(h, w, dtype=torch.int)
    inside[16 : h - 16, 16 : w - 16] = 1
    inside[32 : h - 32, 32 : w - 32] = 2
    return float(change[inside == 0].mean() - change[inside == 1].mean())


def measure(
    style: str, contents: list[Tensor], style_image: Tensor, vgg: VGGFeatures, results: Path | None
) -> dict[str, float]:
    """Means over the content images, by name.

    Args:
        style: name or file.
        contents, style_image: ``(3, H, W)`` in [0, 1].
        vgg: with `LAYERS`.
        results: the stylized images are written to it with ``_00.jpg``, ``_01.jpg`` and so on.
    """
    stylize = Stylizer.load(style, precision="fp32")
    wanted, _ = features_of(vgg, style_image)
    rows: list[dict[str, float]] = []
    for i, content in enumerate(contents):
        stylized = stylize(content)
        before, kept = features_of(vgg, content)
        after, now = features_of(vgg, stylized)
        distances = style_distances(after, wanted)
        row = dict(zip(STYLE_LAYERS, distances, strict=True))
        row["stylized"] = statistics.fmean(distances)
        row["unchanged"] = statistics.fmean(style_distances(before, wanted))
        row["content"] = content_distance(now, kept)
        row["frame"] = frame(stylized, content)
        rows.append(row)
        if results is not None:
            results.parent.mkdir(parents=True, exist_ok=True)
            save_image(results.with_name(f"{results.name}_{i:02}.jpg"), stylized)
    means = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    return means | {"ratio": means["stylized"] / means["unchanged"]}


def labels_of(names: list[str], choices: list[StyleChoice]) -> list[str]:
    """The names of styles; of those that share one, as they were given."""
    count = Counter(choice.name for choice in choices)
    return [c.name if count[c.name] == 1 else given for given, c in zip(names, choices, strict=True)]


def style_image_of(style: StyleChoice, folder: Path | None) -> Tensor:
    """The style image of a style, ``(3, H, W)`` in [0, 1] at `STYLE_SIDE`."""
    name = read_tensors(style.file)[1]["recipe"].get("style") or f"{style.name}.jpg"
    if folder is not None and (folder / name).is_file():
        return load_image(folder / name, short_side=STYLE_SIDE)
    beside = style.file.parent / "paintings" / f"{style.name}.jpg"
    path = style.painting or beside
    if not path.is_file():
        sys.exit(f"the style image {name} was not found; give its folder with --style-images")
    return load_image(path, short_side=STYLE_SIDE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", help="names or files [default: all bundled]")
    parser.add_argument("--content", "--photos", type=Path, required=True, help="folder of content images")
    parser.add_argument("--pattern", default="*", help="which files of the folder")
    parser.add_argument("--limit", type=int, default=32, help="the most content images")
    parser.add_argument("--style-images", "--paintings", type=Path, help="folder of style images")
    parser.add_argument("--vgg-weights", type=Path, help="VGG-19 weights [default: downloaded once]")
    parser.add_argument("--results", "--pictures", type=Path, help="folder for the stylized images")
    parser.add_argument("--gallery", help="all styles of a gallery, by bundled name or file, instead")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    vgg = load_vgg("vgg19", LAYERS, file=arguments.vgg_weights)
    files = [p for p in find_pictures(arguments.content) if p.match(arguments.pattern)][: arguments.limit]
    if not files:
        parser.error(f"--content {arguments.content} contains no images that match {arguments.pattern}")
    contents = [load_image(p, size=CONTENT_SIDE) for p in files]
    print(f"{len(contents)} content images", file=sys.stderr)
    rows = {}
    names = list(dict.fromkeys(arguments.styles)) or list(bundled_styles())
    if arguments.gallery:
        file = find_gallery(arguments.gallery)
        names = [f"{file}#{name}" for name in gallery_styles(file)]
    # All style images before the first measurement: a missing one costs nothing then.
    choices = [choose_style(style) for style in names]
    images = [style_image_of(choice, arguments.style_images) for choice in choices]
    for style, label, image in zip(names, labels_of(names, choices), images, strict=True):
        results = None if arguments.results is None else arguments.results / label.replace("/", "_")
        rows[label] = measure(style, contents, image, vgg, results)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"| style | {' | '.join(STYLE_LAYERS)} | mean | mean / unchanged | content | border, levels |")
    print("|---" * (len(STYLE_LAYERS) + 5) + "|")
    for name, r in rows.items():
        layers = " | ".join(f"{r[layer]:.3f}" for layer in STYLE_LAYERS)
        print(
            f"| {name} | {layers} | {r['stylized']:.3f} | {r['ratio']:.2f} | {r['content']:.2f} "
            f"| {r['frame']:+.1f} |"
        )


if __name__ == "__main__":
    main()

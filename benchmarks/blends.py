"""How style and content change from one style of a gallery to another, or from the content image to a style.

    python benchmarks/blends.py STYLE [STYLE] --content FOLDER --vgg-weights vgg19.safetensors [--sheet FILE]

Eleven mixtures, as ``--style a:0.9,b:0.1`` or ``--strength`` give them. Printed for each, as means over the
content images, are the style distance to each style's painting and the content distance, as in
style_distance.py, and below them the largest step of each column against its way.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from contact_sheet import below_each_other, cell
from style_distance import (
    CONTENT_SIDE,
    LAYERS,
    content_distance,
    features_of,
    style_distances,
    style_image_of,
)

from fast_nst.inference.styles import choose_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture, find_pictures, from_uint8, load_image, save_image, to_uint8
from fast_nst.models.model_files import find_gallery
from fast_nst.models.vgg import load_vgg

STEPS = 10


def mixtures(gallery: Stylizer, styles: Sequence[str]) -> dict[str, Stylizer]:
    """From the first of two styles to the second, or from the content image to the only one; by label."""
    ways = {}
    for share in (k / STEPS for k in range(STEPS + 1)):
        if len(styles) == 1:
            ways[f"{share:.1f}"] = gallery.mix({styles[0]: 1.0}, strength=share)
        else:
            weights = dict(zip(styles, (1 - share, share), strict=True))
            ways[f"{share:.1f}"] = gallery.mix({name: w for name, w in weights.items() if w > 0})
    return ways


def against_its_way(values: Sequence[float]) -> float:
    """The largest step of a sequence in the direction opposite to that from its first to its last value."""
    sign = np.sign(values[-1] - values[0])
    return max(0.0, *(float(-sign * step) for step in np.diff(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="+", help="one or two styles of the gallery")
    parser.add_argument("--gallery", default="gallery", help="bundled name or file")
    parser.add_argument("--content", type=Path, required=True, help="folder of content images")
    parser.add_argument("--limit", type=int, default=8, help="the most content images")
    parser.add_argument("--vgg-weights", type=Path, help="VGG-19 weights [default: downloaded once]")
    parser.add_argument("--sheet", type=Path, help="the mixtures of the first two content images")
    parser.add_argument("--height", type=int, default=240, help="of a picture on the sheet, pixels")
    given = parser.parse_args()
    if len(given.styles) > 2:
        parser.error("give one style or two")

    file = find_gallery(given.gallery)
    gallery = Stylizer.load(str(file), precision="fp32")
    vgg = load_vgg("vgg19", LAYERS, file=given.vgg_weights)
    choices = [choose_style(f"{file}#{style}") for style in given.styles]
    wanted = [features_of(vgg, style_image_of(choice, None))[0] for choice in choices]
    photos = [load_image(file, size=CONTENT_SIDE) for file in find_pictures(given.content)[: given.limit]]
    kept = [features_of(vgg, photo)[1] for photo in photos]

    names = [*(f"to {name}" for name in given.styles), "content"]
    print(f"| share | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    columns: list[list[float]] = [[] for _ in names]
    cells = [[cell(Picture(to_uint8(photo)), "content image", given.height)] for photo in photos[:2]]
    for label, stylize in mixtures(gallery, given.styles).items():
        found = []
        for i, (photo, before) in enumerate(zip(photos, kept, strict=True)):
            stylized = from_uint8(stylize(to_uint8(photo)))
            grams, after = features_of(vgg, stylized)
            distances = [statistics.fmean(style_distances(grams, target)) for target in wanted]
            found.append([*distances, content_distance(after, before)])
            if i < len(cells):
                cells[i].append(cell(Picture(to_uint8(stylized)), label, given.height))
        means = [statistics.fmean(values) for values in zip(*found, strict=True)]
        for column, mean in zip(columns, means, strict=True):
            column.append(mean)
        print(f"| {label} | {' | '.join(f'{mean:.3f}' for mean in means)} |", flush=True)
    print(f"| against its way | {' | '.join(f'{against_its_way(c):.3f}' for c in columns)} |")
    if given.sheet is not None:
        half = 1 + (STEPS + 1) // 2
        rows = [np.concatenate(part, axis=1) for row in cells for part in (row[:half], row[half:])]
        save_image(given.sheet, below_each_other(rows), quality=90)


if __name__ == "__main__":
    main()

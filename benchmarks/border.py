"""How a style paints along the edges of an image, against what it paints there when the image goes on.

    python benchmarks/border.py [STYLE ...] --content photos/

Each photograph, reduced to a longer side of --size pixels, is stylized as it is and extended by reflection
on all sides, and then cropped. Printed is the mean absolute difference of the two in gray levels, in the
outer 8, the next 8 and the next 16 pixels and inside of 64: a frame is what the first have above the last.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.inference.styles import bundled_styles
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import find_pictures, load_image

BANDS = ((0, 8), (8, 16), (16, 32))
INSIDE, EXTENSION = 64, 48


def ring(difference: Tensor, outer: int, inner: int) -> float:
    """Mean of ``(H, W)`` between two distances from the edge."""
    h, w = difference.shape
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[outer : h - outer, outer : w - outer] = True
    mask[inner : h - inner, inner : w - inner] = False
    return float(difference[mask].mean())


def differences(stylize: Stylizer, photo: Tensor) -> list[float]:
    """Of a ``(3, H, W)`` photograph, gray levels: in each band, and inside."""
    m = EXTENSION
    extended = F.pad(photo[None], (m,) * 4, mode="reflect")[0]
    alone, context = stylize(photo).cpu(), stylize(extended).cpu()[..., m:-m, m:-m]
    difference = 255 * (alone - context).abs().mean(dim=0)
    return [*(ring(difference, *band) for band in BANDS), ring(difference, INSIDE, max(difference.shape))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", help="names or files [default: all bundled]")
    parser.add_argument("--content", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--size", type=int, default=512, help="longer side, pixels")
    arguments = parser.parse_args()
    found = find_pictures(arguments.content)[: arguments.limit]
    photos = [load_image(path, size=arguments.size) for path in found]
    print(f"{len(photos)} photographs")
    print(f"| style | {' | '.join(f'{outer} to {inner}' for outer, inner in BANDS)} | inside |")
    print("|---" * (len(BANDS) + 2) + "|")
    for style in arguments.styles or list(bundled_styles()):
        stylize = Stylizer.load(style, precision="fp32")
        means = map(statistics.mean, zip(*(differences(stylize, photo) for photo in photos), strict=True))
        print(f"| {stylize.style} | {' | '.join(f'{mean:.1f}' for mean in means)} |")


if __name__ == "__main__":
    main()

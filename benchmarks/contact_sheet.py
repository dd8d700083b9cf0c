"""One sheet of photographs by styles: the untouched photographs first, then a column a style.

python benchmarks/contact_sheet.py --photos a.jpg b.jpg --out sheet.jpg [--height 240] [STYLE ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture, fit, over_white, read_picture, save_image
from fast_nst.models.checkpoint import bundled_styles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", help="names or files [default: all bundled]")
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512, help="longer side at which they are stylized")
    parser.add_argument("--height", type=int, default=240, help="of a row of the sheet, pixels")
    arguments = parser.parse_args()

    stylizers = [Stylizer.load(s, precision="fp32") for s in arguments.styles or sorted(bundled_styles())]
    rows = []
    for path in arguments.photos:
        photo = fit(Picture(over_white(read_picture(path))), arguments.size)
        cells = [photo, *(stylize.pictures([photo])[0] for stylize in stylizers)]
        width = round(photo.width * arguments.height / photo.height)
        scaled = [fit(cell, max(width, arguments.height)).rgb for cell in cells]
        rows.append(
            np.concatenate([np.pad(c, ((2, 2), (2, 2), (0, 0)), constant_values=255) for c in scaled], 1)
        )
    wide = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    save_image(arguments.out, np.concatenate(padded), quality=88)


if __name__ == "__main__":
    main()

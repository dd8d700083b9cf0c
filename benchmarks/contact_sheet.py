"""A labeled sheet of content images and stylized images: one row per content image.

python benchmarks/contact_sheet.py --photos a.jpg b.jpg --out sheet.jpg [--height 240] [STYLE ...]
python benchmarks/contact_sheet.py --photos a.jpg b.jpg --out sheet.jpg --share

With --share each style is shown once: the styles are divided evenly among the photographs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fast_nst.inference.styles import bundled_styles
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture, fit, over_white, read_picture, save_image

GAP = 6  # pixels of white around a cell
LABEL = 36  # height of the line of text below a cell, pixels


def cell(picture: Picture, label: str, height: int) -> NDArray[np.uint8]:
    """A picture scaled to a height in pixels, its label below it: ``(height + borders, width, 3)``."""
    width = round(picture.width * height / picture.height)
    scaled = Image.fromarray(picture.rgb).resize((width, height), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (width + 2 * GAP, height + GAP + LABEL), "white")
    sheet.paste(scaled, (GAP, GAP))
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 24)
    middle = GAP + width // 2, height + GAP + LABEL // 2
    ImageDraw.Draw(sheet).text(middle, label, fill=(60, 60, 60), font=font, anchor="mm")
    return np.asarray(sheet)


def below_each_other(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """One sheet of several rows, white where a row is shorter."""
    wide = max(row.shape[1] for row in rows)
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", help="names or files [default: all bundled]")
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512, help="longer side at which they are stylized")
    parser.add_argument("--height", type=int, default=240, help="of a picture on the sheet, pixels")
    parser.add_argument("--share", action="store_true", help="show each style on one photograph only")
    arguments = parser.parse_args()

    styles = arguments.styles or list(bundled_styles())
    stylizers = [Stylizer.load(style, precision="fp32") for style in styles]
    parts = len(arguments.photos) if arguments.share else 1
    rows = []
    for i, path in enumerate(arguments.photos):
        photo = fit(Picture(over_white(read_picture(path))), arguments.size)
        cells = [cell(photo, "content image", arguments.height)]
        for stylize in stylizers[i % parts :: parts]:
            cells.append(cell(stylize.pictures([photo])[0], stylize.style, arguments.height))
        rows.append(np.concatenate(cells, axis=1))
    save_image(arguments.out, below_each_other(rows), quality=90)


if __name__ == "__main__":
    main()

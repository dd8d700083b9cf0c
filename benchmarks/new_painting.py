"""How near each way to a style of a painting comes that no gallery has: predicted, refined, added.

    python benchmarks/new_painting.py PAINTING --dataset photos/ --content FOLDER --vgg-weights VGG19

Printed for each painting, as means over the content images, are the columns of style_distance.py: for the row
as it is predicted, refined on these content images for --refine minutes, and added (`add-style`) with each
number of --minutes on --dataset. The styles are kept in --out; what is there is not trained again.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from style_distance import CONTENT_SIDE, LAYERS, STYLE_LAYERS, STYLE_SIDE, measure

from fast_nst.config import AddStyleConfig
from fast_nst.inference.any_painting import style_of_painting
from fast_nst.io.images import find_pictures, load_image
from fast_nst.models.model_files import find_gallery
from fast_nst.models.vgg import load_vgg
from fast_nst.training.refining import refine_style
from fast_nst.training.trainer import Trainer


def predict(painting: Path, out: Path) -> None:
    """As ``--style painting`` does."""
    shutil.copyfile(style_of_painting(painting, find_gallery("gallery")), out)


def refine(painting: Path, out: Path, *, pictures: list[Path], minutes: float) -> None:
    """As ``--style painting --refine`` does."""
    gallery = find_gallery("gallery")
    style = style_of_painting(painting, gallery)
    refine_style(painting, gallery, style, pictures, out, minutes=minutes, on_report=lambda *_: None)


def add(painting: Path, out: Path, *, dataset: str, minutes: float) -> None:
    """As ``add-style`` does."""
    run = out.with_suffix("")
    config = AddStyleConfig(
        styles=painting, dataset=dataset, minutes=minutes, out=out, run=run, resume=True, validation_images=0
    )
    for report in Trainer(config):
        print(f"\r{out.stem}: {report}", end="", flush=True)
    print()


def main() -> None:
    """Parse the arguments, make the styles, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paintings", type=Path, nargs="+")
    parser.add_argument("--dataset", required=True, help="content images to train on")
    parser.add_argument(
        "--content", type=Path, required=True, help="folder of content images, to measure with"
    )
    parser.add_argument("--limit", type=int, default=6, help="the most of these")
    parser.add_argument("--vgg-weights", type=Path, required=True, help="VGG-19, as train.py takes it")
    parser.add_argument("--refine", type=float, default=3.0, help="minutes")
    parser.add_argument("--minutes", type=float, nargs="+", default=[8.0, 24.0], help="of add-style")
    parser.add_argument("--out", type=Path, default=Path("new-paintings"))
    arguments = parser.parse_args()
    pictures = find_pictures(arguments.content)[: arguments.limit]
    contents = [load_image(file, size=CONTENT_SIDE) for file in pictures]
    vgg = load_vgg("vgg19", LAYERS, file=arguments.vgg_weights)
    ways: dict[str, Callable[[Path, Path], None]] = {"predicted": predict}
    ways[f"refined-{arguments.refine:g}"] = partial(refine, pictures=pictures, minutes=arguments.refine)
    for minutes in arguments.minutes:
        ways[f"added-{minutes:g}"] = partial(add, dataset=arguments.dataset, minutes=minutes)
    for painting in arguments.paintings:
        image = load_image(painting, short_side=STYLE_SIDE)
        print(f"{painting.stem:24}" + "".join(f"{name:>9}" for name in (*STYLE_LAYERS, "mean", "content")))
        for name, make in ways.items():
            out = _folder(arguments.out / name) / f"{painting.stem}.safetensors"
            if not out.is_file():
                make(painting, out)
            found = measure(str(out), contents, image, vgg, None)
            values = [found[column] for column in (*STYLE_LAYERS, "stylized", "content")]
            print(f"{name:24}" + "".join(f"{value:9.3f}" for value in values), flush=True)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    main()

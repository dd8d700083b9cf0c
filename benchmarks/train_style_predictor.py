"""Train the style predictor: rows of a gallery for any painting.

    python benchmarks/train_style_predictor.py PAINTINGS --dataset photos/ --minutes 68

PAINTINGS is a folder of style images; every tenth, in the order of names, is left out and tested: the mean
style distance of its predicted rows, by the loss network, is printed now and then. Interrupted, it goes on
from its state with the same command. The result belongs into style-predictors/ beside the gallery's file.
"""

from __future__ import annotations

import argparse
import itertools
import math
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fast_nst.config import LossConfig
from fast_nst.inference.any_painting import SIZE
from fast_nst.io.images import find_pictures, load_image
from fast_nst.models.checkpoint import GalleryCheckpoint, load_gallery
from fast_nst.models.gallery_files import GalleryRow, gallery_rows
from fast_nst.models.gallery_loss import GalleryLoss
from fast_nst.models.model_files import bundled_style_image, find_gallery
from fast_nst.models.style_prediction import load_predictor, save_predictor
from fast_nst.models.style_predictor import StylePredictorNet
from fast_nst.models.vgg import VGGFeatures, load_vgg
from fast_nst.system.compiling import Compiled
from fast_nst.system.device import autocast, choose_device, choose_precision, to_device
from fast_nst.training.data.loader import PhotoBatches, as_images
from fast_nst.training.data.photos import PhotoSource, open_photos
from fast_nst.training.data.sampling import rows_of
from fast_nst.training.predictor import (
    PredictedGallery,
    StylePool,
    component_noise,
    new_predictor,
    style_pool,
    varied_styles,
)

BATCH, TESTED, TEST_PHOTOS, TEST_SIZE = 4, 10, 16, 256
SOURCE = "statistics of features derived from VGG-19 by the Visual Geometry Group, Oxford, CC BY 4.0"


class PredictorTraining:
    """The predictor, its style images and its objective.

    Args:
        file: of the gallery.
        paintings: to train on.
        tested: to test with.
    """

    def __init__(
        self,
        file: Path,
        paintings: Sequence[Path],
        tested: Sequence[Path],
        variants: int,
        device: torch.device,
        precision: str,
    ) -> None:
        self.device, self.precision = device, precision
        self.gallery: GalleryCheckpoint = load_gallery(file)
        rows, config = gallery_rows(file, self.gallery.metadata), LossConfig()
        layers = config.style_layers_for("distilled")
        features = load_vgg("distilled", (*layers, *config.content_layers))
        features = features.to(device).to(memory_format=torch.channels_last)
        scales = sorted({row.scale for row in rows if row.style is not None})
        pool = style_pool(varied_styles(paintings, scales, SIZE, variants, seed=0), features, layers)
        test = style_pool(varied_styles(tested, scales, SIZE, 0, seed=0), features, layers)
        own = _own_styles(file, rows, features, layers)
        trained = self.gallery.network.to(device)
        predictor = new_predictor(trained, rows, own, pool, seed=0)
        network = PredictedGallery(trained, predictor)
        self.network = network.to(memory_format=torch.channels_last)
        self.loss, self.described = GalleryLoss(features, pool.grams, config), pool.described
        self.test_loss, self.tested = GalleryLoss(features, test.grams, config), test.described

    def start_from(self, file: Path) -> None:
        """Take what another predictor has learned, but the rows' mean and spread are this gallery's."""
        predictor, other = self.network.predictor, load_predictor(file, self.gallery.network)
        learned = {k: v for k, v in other.state_dict().items() if not k.startswith("row_")}
        predictor.load_state_dict(learned, strict=False)

    def terms(self, images: Tensor, rows: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """The weighted terms of one batch."""
        with autocast(self.device, self.precision):
            results = self.network(images, self.described.at(rows), noise)
            return tuple(self.loss(results, self.loss.content_target(images, rows)))

    @torch.no_grad()
    def measure(self, photos: Tensor) -> str:
        """The mean style distance and content term over the style images that are tested."""
        distances, contents = [], []
        for row in range(len(self.tested.mean)):
            of, photo = torch.tensor([row], device=self.device), photos[row % len(photos)][None]
            result = self.network(photo, self.tested.at(of))
            distances.append(float(self.test_loss.style_distances(result, of)))
            target = self.test_loss.content_target(photo, of)
            contents.append(float(self.test_loss(result, target).content))
        means = [sum(values) / len(values) for values in (distances, contents)]
        return f"tested: style distance {means[0]:.4f}  content {means[1]:.3f}"


def _own_styles(
    file: Path, rows: Sequence[GalleryRow], features: VGGFeatures, layers: Sequence[str]
) -> StylePool:
    """The gallery's own style images, for each row that is a style."""
    named = [(bundled_style_image(file, row.style), row.scale) for row in rows if row.style is not None]
    images = ((load_image(image, short_side=round(scale * SIZE)), scale) for image, scale in named if image)
    return style_pool(images, features, layers)


def crops(
    photos: PhotoSource, size: int, *, seed: int, step: int = 0, zoom: float = 1.0, workers: int = 1
) -> PhotoBatches:
    """Endless batches of crops from a step on."""
    return PhotoBatches(
        photos,
        batch_size=BATCH,
        image_size=size,
        photo_size=size * 9 // 8,
        seed=seed,
        start_step=step,
        workers=workers,
        zoom=zoom,
    )


@dataclass
class Progress:
    """How far the training has come, and the file that keeps it."""

    file: Path
    predictor: StylePredictorNet
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def load(self) -> None:
        """Go on from the file, if there is one."""
        if not self.file.is_file():
            return
        saved: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
        self.predictor.load_state_dict(saved["predictor"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.seconds = saved["step"], saved["seconds"]

    def save(self) -> None:
        """Replace the file."""
        parts = {"predictor": self.predictor.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save({**parts, "step": self.step, "seconds": self.seconds}, self.file.with_suffix(".tmp"))
        self.file.with_suffix(".tmp").replace(self.file)


def training_for(arguments: argparse.Namespace) -> tuple[PredictorTraining, int]:
    """The training on the paintings that are not tested, and their number."""
    paintings = find_pictures(arguments.paintings)[: arguments.most]
    tested = paintings[::TESTED]
    learned = [painting for painting in paintings if painting not in tested]
    began = time.monotonic()
    device = choose_device(arguments.device)
    training = PredictorTraining(
        find_gallery(arguments.gallery),
        learned,
        tested,
        arguments.variants,
        device,
        choose_precision(arguments.precision, device),
    )
    minutes = (time.monotonic() - began) / 60
    print(f"{len(training.described.mean)} style images, {minutes:.1f} minutes", flush=True)
    return training, len(learned)


def steps(
    training: PredictorTraining, progress: Progress, photos: PhotoSource, arguments: argparse.Namespace
) -> Iterator[tuple[Tensor, ...]]:
    """One optimizer step after the other until the time is over; the weighted terms of each."""
    batches = crops(
        photos, arguments.size, seed=0, step=progress.step, zoom=arguments.zoom, workers=arguments.workers
    )
    device = training.device
    terms_of, began = Compiled(training.terms, on=True), time.monotonic() - progress.seconds
    predictor, optimizer = progress.predictor, progress.optimizer
    while (share := progress.seconds / (60 * arguments.minutes)) < 1:
        step = progress.step
        cosine = 0.02 + 0.49 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * min(1.0, (step + 1) / 50) * cosine
        rows = torch.tensor(rows_of(0, step, BATCH, len(training.described.mean)))
        noise = component_noise(BATCH, predictor.config.components, 0, step)
        images = as_images(next(batches).images, device)
        terms = terms_of(images, to_device(rows, device), to_device(noise, device))
        optimizer.zero_grad()
        torch.autograd.backward(sum(terms[1:], terms[0]))
        torch.nn.utils.clip_grad_norm_(predictor.parameters(), 5.0)
        optimizer.step()
        progress.step, progress.seconds = step + 1, time.monotonic() - began
        yield terms


def train(arguments: argparse.Namespace) -> None:
    """Make the pools, then train for the given time."""
    training, learned = training_for(arguments)
    if arguments.warm_start is not None:
        training.start_from(arguments.warm_start)
    predictor, photos = training.network.predictor, open_photos(arguments.dataset)
    optimizer = torch.optim.Adam(predictor.parameters(), betas=(0.9, 0.99))
    progress = Progress(arguments.out.with_suffix(".state"), predictor, optimizer)
    progress.load()
    test_batches = itertools.islice(crops(photos, TEST_SIZE, seed=1), TEST_PHOTOS // BATCH)
    test_photos = torch.cat([as_images(batch.images, training.device) for batch in test_batches])
    stopped, sums = list[int](), defaultdict[str, Tensor | float](float)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(1))
    print(f"step {progress.step}  {training.measure(test_photos)}", flush=True)
    for terms in steps(training, progress, photos, arguments):
        for name, value in zip(("content", "style", "identity", "tv", "grid"), terms, strict=False):
            sums[name] = sums[name] + value.detach()
        if progress.step % 50 == 0:
            shown = "  ".join(f"{name} {float(value) / 50:.3f}" for name, value in sums.items())
            print(f"step {progress.step}  {shown}  {progress.seconds / 60:.1f} minutes", flush=True)
            sums.clear()
        if progress.step % 200 == 0:
            progress.save()
        if progress.step % 500 == 0:
            print(f"step {progress.step}  {training.measure(test_photos)}", flush=True)
        if stopped:
            break
    progress.save()
    print(f"step {progress.step}  {training.measure(test_photos)}", flush=True)
    save_predictor(
        arguments.out,
        predictor,
        training.gallery.metadata["sha256"],
        licence="MIT",
        source=SOURCE,
        steps=progress.step,
        seconds=round(progress.seconds),
        paintings=learned,
        photographs=len(photos.names),
    )
    print(arguments.out)


def main() -> None:
    """Parse the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paintings", type=Path, help="folder of style images")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of content images")
    parser.add_argument("--gallery", default="gallery", help="file or bundled name")
    parser.add_argument("--out", type=Path, default=Path("style-predictor.safetensors"))
    parser.add_argument("--minutes", type=float, default=68.0)
    parser.add_argument("--size", type=int, default=160, help="side of the crops, pixels")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--zoom", type=float, default=2.0, help="as train.py has it")
    parser.add_argument("--variants", type=int, default=1, help="of each style image at each stroke scale")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", help="of the convolutions")
    parser.add_argument("--workers", type=int, default=1, help="threads that read photographs")
    parser.add_argument("--warm-start", type=Path, help="a predictor for an earlier gallery of this shape")
    parser.add_argument("--most", type=int, default=None, help="use so many style images")
    train(parser.parse_args())


if __name__ == "__main__":
    main()

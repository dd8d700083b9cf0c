"""Super-resolution models evaluated as in the literature: Set5, Set14, BSD100 downscaled and upscaled again.

Low-resolution images are made as in training (`resampling`) and rounded to 8 bits, as if saved to a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fast_nst.config import EvaluateConfig
from fast_nst.errors import InputError
from fast_nst.evaluation.metrics import WINDOW, luma, psnr, ssim
from fast_nst.inference.upscaler import Upscaler
from fast_nst.io.images import Levels, Picture, find_pictures, from_uint8, over_white, read_picture
from fast_nst.models.losses import feature_loss
from fast_nst.models.resampling import downsample, upsample
from fast_nst.models.vgg import load_vgg
from fast_nst.system.device import choose_device

__all__ = ["BICUBIC", "PAPER", "Evaluation", "Measured", "Score"]

BICUBIC = "bicubic"


class Score(NamedTuple):
    """Similarity of a result to the original, or the mean over a set."""

    psnr: float
    """decibels"""
    ssim: float
    feature: float | None = None
    """squared distance of the features, relative to the original's; None if not measured"""


# Johnson et al. 2016, table 1 (x4) and table 2 (x8), means over each set, by set and method. The SSIM of the
# feature loss on BSD100 is printed there as 63.17.
PAPER: dict[int, dict[str, dict[str, Score]]] = {
    4: {
        "Set5": {
            "bicubic": Score(28.43, 0.8114),
            "pixel loss": Score(28.40, 0.8205),
            "SRCNN": Score(30.48, 0.8628),
            "feature loss": Score(27.09, 0.7680),
        },
        "Set14": {
            "bicubic": Score(25.99, 0.7301),
            "pixel loss": Score(25.75, 0.6994),
            "SRCNN": Score(27.49, 0.7503),
            "feature loss": Score(24.99, 0.6731),
        },
        "BSD100": {
            "bicubic": Score(25.96, 0.682),
            "pixel loss": Score(25.91, 0.6680),
            "SRCNN": Score(26.90, 0.7101),
            "feature loss": Score(24.95, 0.6317),
        },
    },
    8: {
        "Set5": {
            "bicubic": Score(23.80, 0.6455),
            "pixel loss": Score(24.77, 0.6864),
            "feature loss": Score(23.26, 0.7058),
        },
        "Set14": {
            "bicubic": Score(22.37, 0.5518),
            "pixel loss": Score(23.02, 0.5787),
            "feature loss": Score(21.64, 0.5837),
        },
        "BSD100": {
            "bicubic": Score(22.11, 0.5322),
            "pixel loss": Score(22.54, 0.5526),
            "feature loss": Score(21.35, 0.5474),
        },
    },
}


@dataclass(frozen=True)
class Measured:
    """One test image, upscaled by every method."""

    set: str
    picture: str
    scores: dict[str, Score]
    """by method"""
    shown: dict[str, Levels] = field(default_factory=dict, repr=False)
    """``(H, W, 3)`` by method, with the low resolution and the original; empty if not shown"""


class Evaluation:
    """Evaluates methods on test sets; iterate over it to run, each item is one test image.

    Raises:
        InputError: a folder without images, a model of another factor, weights that cannot be read.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        self.config = config
        folders = [Path(folder) for folder in config.data]
        self.pictures = [(folder.name, file) for folder in folders for file in _pictures(folder)]
        self.methods = {Path(name).stem: self._upscaler(name) for name in config.model}
        if len(self.methods) < len(config.model):
            raise InputError("two models have the same name; rename one of the files")
        self.measured: list[Measured] = []
        device = choose_device(config.device)
        self._features = None
        if layer := config.feature_layer:
            self._features = load_vgg(config.loss_network, [layer], file=config.vgg_weights).to(device)
        self._device = device
        count = min(config.crops, len(self.pictures))
        self._to_show = {i * len(self.pictures) // count for i in range(count)}

    def _upscaler(self, name: str) -> Upscaler:
        match = {"auto": None, "on": True, "off": False}[self.config.match_histogram]
        c = self.config
        upscaler = Upscaler(name, device=c.device, precision=c.precision, match=match)
        if upscaler.factor != c.factor:
            raise InputError(f"{name} upscales by {upscaler.factor}, got --factor {c.factor}; leave it out")
        return upscaler

    def __iter__(self) -> Iterator[Measured]:
        for i, (name, file) in enumerate(self.pictures):
            found = self._measure(name, file, show=i in self._to_show)
            self.measured.append(found)
            yield found

    def means(self) -> dict[str, dict[str, Score]]:
        """The mean scores, by set and method."""
        return {
            name: {method: _mean([one.scores[method] for one in self._of(name)]) for method in self.names}
            for name in dict.fromkeys(one.set for one in self.measured)
        }

    @property
    def names(self) -> list[str]:
        """The methods, bicubic interpolation first."""
        return [BICUBIC, *self.methods]

    def _of(self, name: str) -> Iterator[Measured]:
        return (one for one in self.measured if one.set == name)

    def _measure(self, name: str, file: Path, *, show: bool) -> Measured:
        original = self._original(file)
        low = downsample(original.transpose(2, 0, 1), self.config.factor)
        small = np.ascontiguousarray(low.transpose(1, 2, 0))
        made = {BICUBIC: upsample(low, self.config.factor).transpose(1, 2, 0)}
        for method, upscaler in self.methods.items():
            made[method] = upscaler.pictures([Picture(small)])[0].rgb
        scores = {method: self._score(picture, original) for method, picture in made.items()}
        cells = small.repeat(self.config.factor, axis=0).repeat(self.config.factor, axis=1)
        shown = {"low resolution": cells, **made, "original": original} if show else {}
        return Measured(name, file.name, scores, shown)

    def _original(self, file: Path) -> Levels:
        """A test image, cropped to multiples of the factor."""
        rgb = over_white(read_picture(file))
        height, width = (side - side % self.config.factor for side in rgb.shape[:2])
        least = WINDOW + 2 * self.config.factor
        if min(height, width) < least:
            raise InputError(f"{file} is too small: its sides must have at least {least} pixels")
        return rgb[:height, :width]

    def _score(self, made: Levels, original: Levels) -> Score:
        pair = [luma(picture, self.config.factor) for picture in (made, original)]
        return Score(psnr(*pair), ssim(*pair), self._distance(made, original))

    @torch.no_grad()
    def _distance(self, made: Levels, original: Levels) -> float | None:
        if self._features is None:
            return None
        images = (from_uint8(np.ascontiguousarray(picture))[None] for picture in (made, original))
        first, second = (self._features(image.to(self._device)) for image in images)
        layer = self.config.feature_layer
        whole = second[layer].square().mean().clamp_min(1e-12)
        return float(feature_loss(first[layer], second[layer]) / whole)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"--data {folder} is not a folder")
    if not (found := find_pictures(folder)):
        raise InputError(f"--data {folder} contains no images")
    return found


def _mean(scores: Sequence[Score]) -> Score:
    features = [score.feature for score in scores if score.feature is not None]
    mean = np.mean([(score.psnr, score.ssim) for score in scores], axis=0)
    return Score(float(mean[0]), float(mean[1]), float(np.mean(features)) if features else None)

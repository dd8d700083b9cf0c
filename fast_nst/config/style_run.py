"""Settings that the training of one style and of a gallery have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fast_nst.config.checks import check_least
from fast_nst.config.loss import BY_OBJECTIVE, LossConfig, LossNetwork
from fast_nst.config.recipe import SOURCE
from fast_nst.config.run import AUTO, NONE, RunConfig
from fast_nst.errors import InputError

__all__ = ["LEAST_STYLE_SIZE", "StyleRunConfig"]

LEAST_STYLE_SIZE = 32  # shorter side, pixels: relu5_1 has two rows of it


@dataclass(frozen=True)
class StyleRunConfig(RunConfig):
    """The settings of a training run that learns to stylize."""

    style_size: int = 256
    """shorter side of the style images, pixels: larger makes larger brush strokes"""

    warm_start: Path | None = field(default=AUTO, metadata=SOURCE)
    """initialize the weights from another checkpoint of this network, a file or a bundled name: far fewer
    steps. auto: on a processor from the bundled style whose painting is nearest, or the bundled gallery, if
    it has this network; none: random weights. With --extend: a style that was added before"""

    zoom: float = 1.0
    """crops show up to so many times less of a content image, at random for each: 1 always shows a scene, and
    from 2 to 4 also the smooth details that fill a large picture"""

    temporal: bool = False
    """add a temporal loss for video: strokes follow motion and do not flicker; 1.5 times the work"""
    temporal_weight: float = 20.0
    """with --temporal: weight of the temporal loss"""

    loss_network: LossNetwork = BY_OBJECTIVE
    """the frozen network whose features are compared; distilled comes with the package and is several times
    as fast as vgg19, which it stands for [default: distilled, or vgg19 with --vgg-weights; --objective
    dimensionless, paper: vgg16]"""
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        if self.loss_network is None:
            object.__setattr__(self, "loss_network", self.loss.preset.loss_network_for(self.vgg_weights))
        if self.warm_start is None:  # which a file of settings cannot say
            object.__setattr__(self, "warm_start", NONE)
        super().__post_init__()
        check_least(self, {"style_size": LEAST_STYLE_SIZE, "temporal_weight": 0})
        if not 1 <= self.zoom <= 8:
            raise InputError(f"--zoom is a number from 1 to 8, got {self.zoom}")

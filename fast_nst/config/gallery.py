"""Settings for training the network of many styles."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fast_nst.config.network import GalleryNetConfig
from fast_nst.config.recipe import EXTERNAL, FREE, SOURCE
from fast_nst.config.run import TaskName
from fast_nst.config.style_run import StyleRunConfig
from fast_nst.errors import InputError

__all__ = ["AddStyleConfig", "GalleryTrainConfig"]


@dataclass(frozen=True)
class _Styles:
    """The first option: fields come in the order of the base classes, from the last to the first."""

    styles: Path = field(metadata=EXTERNAL)
    """style images: a folder, one image, or a .toml file with a table for each style (docs/gallery.md)"""


@dataclass(frozen=True)
class GalleryTrainConfig(StyleRunConfig, _Styles):
    """Train one network for many styles from a folder of style images and a folder of content images."""

    task: TaskName = "gallery"
    """what to train; --styles means gallery"""
    style_size: int = 256
    """shorter side of the style images at stroke scale 1, pixels: larger makes larger brush strokes"""
    scales: tuple[float, ...] = (1.0, 2.0)
    """stroke scales: each style gets a row of norm parameters for each"""

    extend: Path | None = field(default=None, metadata=SOURCE)
    """add the styles to this gallery, a file or a bundled name: only their rows are trained, and written"""

    def __post_init__(self) -> None:
        for name in ("styles", "extend"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        super().__post_init__()
        if self.task != "gallery":
            raise InputError(f"GalleryTrainConfig is for the task gallery, got {self.task!r}")
        if not self.scales or not all(0.25 <= scale <= 4 for scale in self.scales):
            raise InputError(f"--scales are numbers from 0.25 to 4, got {self.scales}")
        if len(set(self.scales)) < len(self.scales):
            raise InputError(f"--scales has a number twice: {self.scales}")
        if not self.loss.preset.relative:
            raise InputError(
                f"a gallery needs --objective bold or dimensionless, got {self.loss.objective}: "
                "in the paper's sums one style outweighs others"
            )

    @property
    def multiple(self) -> int:
        """The side of a crop is a multiple of this."""
        return self.network.stride

    @property
    def name(self) -> str:
        """The name of the folder or list."""
        return self.styles.stem

    @property
    def network(self) -> GalleryNetConfig:
        """The architecture; the number of rows is known once the styles are read."""
        return GalleryNetConfig()


# A row alone has few numbers: minutes of small crops are enough.
@dataclass(frozen=True)
class AddStyleConfig(GalleryTrainConfig):
    """Add styles to a gallery: only their rows are trained, in minutes, and written as a small file."""

    extend: Path | None = field(default=Path("gallery"), metadata=SOURCE)
    """the gallery, a file or a bundled name"""
    minutes: float | None = field(default=8.0, metadata=FREE)
    """stop after this many minutes; the learning rate decays to fit"""
    image_size: int = 160
    """side of the square training crops, pixels"""
    validation_images: int = 8
    """size of the validation set, at most a tenth of the dataset where it is taken from it"""
    validate_every: int = field(default=100, metadata=FREE)
    """steps between evaluations on the validation set"""

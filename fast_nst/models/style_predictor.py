"""The style predictor: a small network from statistics of a style image to a row of a gallery.

After Ghiasi et al. 2017, section 3, whose predictor has an Inception network of its own; here the statistics
are those of the loss network's features, in whose terms styles are compared. They are reduced to their
principal components, and the rest is trained through a frozen gallery (`fast_nst.training.predictor`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.config import StylePredictorConfig
from fast_nst.models.gallery_net import color_root
from fast_nst.models.vgg import VGGFeatures

__all__ = ["StyleDescription", "StylePredictorNet", "describe_style", "relative_colors"]

_FAR = 4.0  # standard deviations at which components are cut off: paintings unlike all of the training


class StyleDescription(NamedTuple):
    """What a row is predicted from; each field may have images as its first dimension."""

    statistics: Tensor
    """``(S,)``, mean and standard deviation of each channel of the style layers"""
    mean: Tensor
    """``(3,)``, of the colors"""
    root: Tensor
    """``(3, 3)``, the symmetric root of the colors' covariance"""
    scale: Tensor
    """``()``, the logarithm of the stroke scale to base 2"""

    def at(self, index: Tensor | list[int] | None) -> StyleDescription:
        """Each field indexed: some of the images, or with None one image as a batch."""
        return StyleDescription(*(part[index] for part in self))


@torch.no_grad()
def describe_style(
    style: Tensor, scale: float, features: VGGFeatures, layers: Iterable[str]
) -> StyleDescription:
    """What a row is predicted from.

    Args:
        style: ``(3, H, W)`` in [0, 1], the style image at the size of its stroke scale.
        scale: the stroke scale.
        features: the loss network.
        layers: style layers, of those that it was built for.
    """
    return description_of(style, scale, features(style[None], layers))


def description_of(style: Tensor, scale: float, found: Mapping[str, Tensor]) -> StyleDescription:
    """As `describe_style`, from the features of the style image, ``(1, C, H, W)`` by layer."""
    statistics = torch.cat([part for features in found.values() for part in _moments(features)])
    mean, root = (part.to(style) for part in color_root(style))
    return StyleDescription(statistics, mean, root, style.new_tensor(scale).log2())


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of ``(1, C, H, W)``; `torch.std_mean` is far slower."""
    flat = features[0].flatten(1)
    mean = flat.mean(dim=1)
    return mean, (flat.square().mean(dim=1) - mean.square()).clamp_min(0).sqrt()


class StylePredictorNet(nn.Module):
    """Descriptions of style images in, the tensors of rows out.

    Args:
        config: the numbers of statistics and components, and the width.
        shapes: of the row's tensors by name, without the rows' dimension, as `row_shapes` gives them.

    A description's components and the features of two hidden layers give each number of the row, as so many
    standard deviations from its mean over the gallery's rows. A color matrix and an offset are relative to
    the colors of the style image.
    """

    def __init__(self, config: StylePredictorConfig, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()
        self.config = config
        self.shapes = {name: shapes[name] for name in sorted(shapes)}
        numbers = sum(shape.numel() for shape in self.shapes.values())
        self.register_buffer("center", torch.zeros(config.statistics))
        self.register_buffer("components", torch.zeros(config.statistics, config.components))
        self.register_buffer("row_mean", torch.zeros(numbers))
        self.register_buffer("row_spread", torch.ones(numbers))
        inputs, width = config.components + 1, config.width
        self.first, self.second = nn.Linear(inputs, width), nn.Linear(width, width)
        self.row = nn.Linear(inputs + width, numbers)
        nn.init.zeros_(self.row.weight)
        nn.init.zeros_(self.row.bias)

    center: Tensor
    components: Tensor
    row_mean: Tensor
    row_spread: Tensor

    @torch.no_grad()
    def fit_statistics(self, statistics: Tensor) -> None:
        """Take the principal components of style images' statistics, ``(N, S)``, scaled to variance 1."""
        self.center.copy_(statistics.mean(dim=0))
        spread = statistics.std(dim=0)
        spread = spread.clamp_min(0.05 * float(spread.mean()))  # channels that are silent count little
        standard = (statistics - self.center) / spread
        _, values, directions = torch.linalg.svd(standard.double(), full_matrices=False)
        kept = slice(self.config.components)
        scaled = directions[kept] / (values[kept, None] / len(statistics) ** 0.5).clamp_min(1e-6)
        self.components.copy_(scaled.T / spread[:, None])

    @torch.no_grad()
    def fit_rows(self, rows: Mapping[str, Tensor]) -> None:
        """Take the mean and the spread of a gallery's rows, by name with the rows as the first dimension.

        Args:
            rows: with colors and offsets that are relative, see `relative_colors`.
        """
        flat = torch.cat([rows[name].flatten(1) for name in self.shapes], dim=1)
        self.row_mean.copy_(flat.mean(dim=0))
        self.row_spread.copy_(flat.std(dim=0))

    def forward(self, described: StyleDescription, noise: Tensor | None = None) -> dict[str, Tensor]:
        """The tensors of a row for each style image, by name, with the images as the first dimension.

        Args:
            described: with the images as the first dimension.
            noise: ``(B, K)``, added to the components in training.
        """
        found = ((described.statistics - self.center) @ self.components).clamp(-_FAR, _FAR)
        if noise is not None:
            found = found + noise
        inputs = torch.cat([found, described.scale[:, None]], dim=1)
        hidden = F.relu(self.second(F.relu(self.first(inputs))))
        flat = self.row_mean + self.row_spread * self.row(torch.cat([inputs, hidden], dim=1))
        parts = torch.split(flat, [shape.numel() for shape in self.shapes.values()], dim=1)
        rows = {
            name: part.view(-1, *shape)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }
        rows["color"] = described.root @ rows["color"]
        rows["offset"] = described.mean + torch.einsum("boc,bc->bo", described.root, rows["offset"])
        return rows


def relative_colors(color: Tensor, offset: Tensor, mean: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """Color matrices ``(B, 3, 3)`` and offsets ``(B, 3)`` relative to the colors of their style images.

    Args:
        mean, root: as in `StyleDescription`, with the images as the first dimension.
    """
    return torch.linalg.solve(root, color), torch.linalg.solve(root, offset - mean)

"""Contact sheets with captions, and plots of objectives by iteration, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # no pyplot: no global state, no display
from torch import Tensor

from fast_nst.io.images import to_uint8

__all__ = ["COLORS", "Curve", "contact_sheet", "plot_curves"]

# Okabe and Ito's palette: told apart by color-blind readers.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
Cell = tuple[str, Tensor]


def contact_sheet(rows: Sequence[Sequence[Cell]], path: Path, *, inches: float = 2.2) -> None:
    """Pictures, ``(3, H, W)`` in [0, 1], in rows, each under its caption.

    Args:
        inches: width of a cell, at 100 pixels an inch.
    """
    columns = max(len(row) for row in rows)
    tallest = [max(image.shape[-2] / image.shape[-1] for _, image in row) for row in rows]
    height = sum(inches * ratio + 0.35 for ratio in tallest)
    figure = Figure(figsize=(columns * inches, height), layout="constrained", dpi=100)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes in axes_row:
            axes.axis("off")
        for axes, (caption, image) in zip(axes_row, row, strict=False):
            axes.imshow(to_uint8(image), interpolation="lanczos")
            axes.set_title(caption, fontsize=8)
    figure.savefig(path)


@dataclass(frozen=True)
class Curve:
    """An objective by iteration, the first after one evaluation."""

    label: str
    values: Sequence[float]
    spread: Sequence[float] = ()
    """standard deviation over the photographs, drawn as a band"""
    dashed: bool = False
    """a variant of the curve before it, in the same color"""


def plot_curves(
    panels: Mapping[str, tuple[Sequence[Curve], Mapping[str, float]]], path: Path, *, ylabel: str
) -> None:
    """Curves on logarithmic axes of loss, a panel for each title, with horizontal lines by their labels.

    Panels of the same curves share one legend beside them.
    """
    figure = Figure(figsize=(6.4 * len(panels), 4.4), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, (curves, lines)) in zip(grid, panels.items(), strict=True):
        for color, curve in zip(_colors(curves), curves, strict=True):
            _draw(axes, curve, color)
        for i, (label, value) in enumerate(lines.items()):
            axes.axhline(value, color="black", linestyle=(":", "-.", "--")[i % 3], linewidth=1.2, label=label)
        axes.set(title=title, xlabel="iteration", ylabel=ylabel, yscale="log")
        axes.grid(alpha=0.3, which="both")
    legends = [axes.get_legend_handles_labels() for axes in grid]
    if len(legends) > 1 and all(labels == legends[0][1] for _, labels in legends):
        figure.legend(*legends[0], fontsize=8, loc="outside right upper")
    else:
        for axes in grid:
            axes.legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=100)


def _colors(curves: Sequence[Curve]) -> list[str | tuple[float, ...]]:
    """One for each curve that is not dashed, which the dashed ones behind it share."""
    numbers = list(accumulate((not curve.dashed for curve in curves[1:]), initial=0))
    palette = COLORS if numbers[-1] < len(COLORS) else [colormaps["tab20"](i) for i in range(20)]
    return [palette[i % len(palette)] for i in numbers]


def _draw(axes: Axes, curve: Curve, color: str | tuple[float, ...]) -> None:
    values = np.asarray(curve.values)
    steps = np.arange(1, len(values) + 1)
    axes.plot(steps, values, "--" if curve.dashed else "-", color=color, linewidth=1.5, label=curve.label)
    if curve.spread:
        low, high = values - np.asarray(curve.spread), values + np.asarray(curve.spread)
        axes.fill_between(steps, np.maximum(low, values / 4), high, color=color, alpha=0.15, linewidth=0)

"""Contact sheets with captions, and plots of objectives by iteration, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # no pyplot: no global state, no display
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from torch import Tensor

from fast_nst.io.images import to_uint8

__all__ = ["COLORS", "Curve", "balanced_rows", "contact_sheet", "plot_curves"]

# Okabe and Ito's palette, distinguishable for color-blind readers.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
DPI = 100
Cell = tuple[str, Tensor]


def balanced_rows(cells: Sequence[Cell], most: int) -> list[list[Cell]]:
    """Cells in as few rows as hold at most ``most`` each, of lengths that differ by at most one."""
    count = -(-len(cells) // most)
    cuts = [len(cells) * i // count for i in range(count + 1)]
    return [list(cells[a:b]) for a, b in pairwise(cuts)]


def contact_sheet(rows: Sequence[Sequence[Cell]], path: Path, *, inches: float = 2.2) -> None:
    """Images, ``(3, H, W)`` in [0, 1], each under its caption; shorter rows are centered.

    Args:
        inches: width of a cell, at 100 pixels an inch.
    """
    gap, line = 0.06 * inches, 0.16
    captions = [[fill(caption, round(inches * 15)) for caption, _ in row] for row in rows]
    heads = [line * (1.6 + max(caption.count("\n") for caption in row)) for row in captions]
    bodies = [inches * max(image.shape[-2] / image.shape[-1] for _, image in row) for row in rows]
    width = max(len(row) for row in rows) * (inches + gap) - gap
    height = sum(heads) + sum(bodies) + gap * (len(rows) - 1)
    figure = Figure(figsize=(width, height), dpi=DPI)
    bottom = height
    for row, words, head, body in zip(rows, captions, heads, bodies, strict=True):
        bottom -= head + body
        left = (width - len(row) * (inches + gap) + gap) / 2
        for caption, (_, image) in zip(words, row, strict=True):
            tall = inches * image.shape[-2] / image.shape[-1]
            place = (left / width, (bottom + body - tall) / height, inches / width, tall / height)
            axes = figure.add_axes(place)
            axes.axis("off")
            axes.imshow(to_uint8(image), interpolation="lanczos", aspect="auto")
            axes.set_title(caption, fontsize=8, pad=3)
            left += inches + gap
        bottom -= gap
    figure.savefig(path)


@dataclass(frozen=True)
class Curve:
    """An objective by iteration; the first value is that of the first evaluation."""

    label: str
    values: Sequence[float]
    spread: Sequence[float] = ()
    """standard deviation over the content images, drawn as a band"""


def plot_curves(
    panels: Mapping[str, tuple[Sequence[Curve], Mapping[str, float]]],
    path: Path,
    *,
    ylabel: str,
    columns: int = 3,
) -> None:
    """Plot loss curves on logarithmic axes, one panel a title, and one legend below all panels.

    Args:
        panels: by title, curves and labeled horizontal lines; equal positions have equal colors.
        columns: the most panels in a row.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    small = rows > 1
    size = (3.4 * columns, 2.5 * rows + 0.5) if small else (max(5.6, 4.6 * columns), 4.2)
    figure = Figure(figsize=size, layout="constrained", dpi=DPI)
    grid = figure.subplots(rows, columns, squeeze=False)
    legend: dict[str, Artist] = {}
    for axes, (title, (curves, lines)) in zip(grid.flat, panels.items(), strict=False):
        for i, curve in enumerate(curves):
            _draw(axes, curve, COLORS[i % len(COLORS)])
        for i, (label, value) in enumerate(lines.items()):
            axes.axhline(value, color="black", linestyle=(":", "-.", "--")[i % 3], linewidth=1.2, label=label)
        axes.set_title(title, fontsize=9 if small else 11)
        _label(axes, ylabel)
        legend |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    labels = list(legend)
    figure.legend(
        list(legend.values()), labels, fontsize=9, ncols=min(4, len(labels)), loc="outside lower center"
    )
    figure.savefig(path)


def _label(axes: Axes, ylabel: str) -> None:
    """Axis labels, and ticks on the logarithmic axis as plain numbers: 0.5, 1, 2."""
    axes.set(xlabel="iteration", ylabel=ylabel, yscale="log")
    low, high = axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low < 1e3 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.grid(alpha=0.3)


def _draw(axes: Axes, curve: Curve, color: str) -> None:
    values = np.asarray(curve.values, dtype=float)
    values[values <= 0] = np.nan  # such as a content loss of 0 at the content image: not on a log axis
    steps = np.arange(1, len(values) + 1)
    axes.plot(steps, values, color=color, linewidth=1.5, label=curve.label)
    if curve.spread:
        low, high = values - np.asarray(curve.spread), values + np.asarray(curve.spread)
        axes.fill_between(steps, np.maximum(low, values / 4), high, color=color, alpha=0.15, linewidth=0)

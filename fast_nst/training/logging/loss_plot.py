"""A plot of the weighted loss terms by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["plot_losses", "smooth"]


def smooth(values: Sequence[float], share: float = 0.05) -> list[float]:
    """An exponential mean over about ``share`` of the curve, started without bias."""
    keep = 1 - 1 / max(1.0, share * len(values))
    out: list[float] = []
    total = weight = 0.0
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight if weight else value)
    return out


# Okabe and Ito's palette, which color-blind readers can distinguish.
COLORS = {
    "content": "#0072B2",
    "style": "#D55E00",
    "tv": "#009E73",
    "grid": "#CC79A7",
    "temporal": "#E69F00",
    "border": "#F0E442",
    "feature": "#0072B2",
    "pixel": "#56B4E9",
    "total": "#000000",
}


def _own_terms(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Terms of an objective of the caller's own."""
    return list(lines[0].get("values", {})) if lines else []


def plot_losses(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Each weighted term by step, raw and smoothed, on a logarithmic axis."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display
    from matplotlib.ticker import LogLocator, NullLocator

    # Margins by hand: a layout that is found takes most of a second, as long as all the rest.
    figure = Figure(figsize=(9, 4.5))
    axes = figure.add_axes((0.08, 0.12, 0.74, 0.84))
    steps = [line["step"] for line in lines]
    floor = 1e-12  # a logarithmic axis has no zero
    for name, color in {**dict.fromkeys(_own_terms(lines), "#56B4E9"), **COLORS}.items():
        values = [max(float(line.get(name, 0)), floor) for line in lines]
        if max(values) <= floor:  # a term of weight 0 would stretch the axis over twelve decades
            continue
        axes.plot(steps, values, color=color, alpha=0.2, linewidth=0.8)
        axes.plot(steps, smooth(values), color=color, linewidth=1.6, label=name)
    measured = [line for line in lines if line.get("validation") is not None]
    if measured:
        axes.plot(
            [line["step"] for line in measured],
            [line["validation"] for line in measured],
            color="#000000",
            linestyle="none",
            marker="o",
            markersize=4,
            label="total,\nvalidation set",
        )
    axes.set(xlabel="step", ylabel="weighted loss", yscale="log")
    # Marks at 1, 2 and 5 of a decade, which read well also where the losses stay within one. Unlabeled ones
    # between them would take as long as all the rest.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    if axes.lines:
        figure.legend(loc="upper right", bbox_to_anchor=(0.995, 0.965))  # beside the curves, not over them
    figure.savefig(path, dpi=110)

"""The report of a comparison: table.md, results.json, speed.png, loss.png, image sheets and index.html."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from matplotlib.figure import Figure

from fast_nst.baseline.compare import PAPER_ITERATIONS, Comparison, LossRow, SpeedRow, square
from fast_nst.baseline.comparison_page import STYLE_IMAGE, Section, markdown, page
from fast_nst.baseline.sheets import COLORS, Curve, contact_sheet, plot_curves
from fast_nst.io.images import load_image, save_image

__all__ = ["write_comparison"]

STARTS = {"noise": "noise", "content": "the content image", "style": "the style image"}


def write_comparison(comparison: Comparison) -> Path:
    """Write the report of a finished comparison to its folder; returns index.html."""
    folder = comparison.config.out
    (folder / "pictures").mkdir(exist_ok=True)
    save_image(folder / STYLE_IMAGE, comparison.style_image, quality=90, overwrite=True)
    sections = [make(comparison) for make in (_speed, _loss, _images)]
    known = [section for section in sections if section is not None]
    title = f"{comparison.style}: network against optimizer"
    summary, setup = _summary(comparison), _setup(comparison)
    (folder / "table.md").write_text(markdown(title, summary, known, setup), encoding="utf-8")
    results = {
        "about": comparison.setup,
        "speed": [row._asdict() for row in comparison.speed],
        "loss": [row._asdict() | {"mean_passes": row.mean_passes} for row in comparison.losses],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    index = folder / "index.html"
    index.write_text(page(title, summary, known, setup), encoding="utf-8")
    return index


def _speed(comparison: Comparison) -> Section | None:
    """The paper's Table 1; the optimizer's times are multiples of one iteration's."""
    rows = comparison.speed
    if not rows:
        return None
    head = ["size, pixels", "network, one pass", "optimizer, one iteration"]
    head += [f"{n} iterations" for n in PAPER_ITERATIONS]
    head += [f"speed-up over {n} iterations" for n in PAPER_ITERATIONS]
    table = [head]
    for row in rows:
        line = [_size(row.size), _seconds(row.network / 1e3), _seconds(row.iteration / 1e3)]
        line += [_seconds(n * row.iteration / 1e3) for n in PAPER_ITERATIONS]
        line += [f"{_rounded(row.ratio(n))}×" for n in PAPER_ITERATIONS]
        table.append(line)
    spread = max(max(row.network_p95 / row.network, row.iteration_p95 / row.iteration) for row in rows)
    note = (
        f"Medians of {rows[0].timed} passes and iterations, measured alternately after a warm-up; the 95th "
        f"percentile is at most {spread:.2f} times the median. Times of {PAPER_ITERATIONS[0]} and more "
        "iterations are multiples of one."
    )
    _plot_speed(rows, comparison.config.out / "speed.png")
    caption = "Time for one image (logarithmic scale)."
    return Section("Speed", table, [note], [("speed.png", caption)])


def _loss(comparison: Comparison) -> Section | None:
    """The paper's Figure 5, and the same in numbers."""
    rows = comparison.losses
    if not rows:
        return None
    head = ["size, pixels", "optimizer starts from", "content images", "loss of the content image"]
    head += ["loss of the network", "loss of the optimizer", "optimizer reaches the network's loss at"]
    table = [head]
    for row in rows:
        spread = f" ± {row.spread[-1]:.3f}" if row.images > 1 else ""
        end = f"{row.curve[-1]:.3f}{spread} after {_count(len(row.curve), 'iteration')}"
        line = [_size(row.size), STARTS[row.start], str(row.images), f"{row.content_image:.3f}"]
        table.append([*line, f"{row.network:.3f}", end, _passes(row)])
    c = comparison.config
    notes = [
        "The loss is the objective that the network was trained to minimize; lower is better. Of the "
        f"optimizer it is the lowest up to each iteration. Noise is drawn with seed {c.seed}.",
    ]
    if any(row.images > 1 for row in rows):
        notes.append("Losses are means over the content images; ± and bands are standard deviations.")
    plot_curves(_panels(rows), c.out / "loss.png", ylabel="loss")
    return Section("Loss", table, notes, [("loss.png", "Loss by iteration of the optimizer.")])


def _size(size: int) -> str:
    return f"{size} × {size}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _rounded(ratio: float) -> str:
    """A ratio to two digits or the nearest one: 2.5, 38, 2,500."""
    if ratio < 10:
        return f"{ratio:.1f}"
    return f"{round(ratio, 1 - len(str(int(ratio))) + 1):,.0f}"


def _seconds(seconds: float) -> str:
    """A time in the unit that suits: 12 ms, 3.4 s, 5.6 min."""
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds / 60:.3g} min"


def _passes(row: LossRow) -> str:
    mean = f"iteration {row.mean_passes}" if row.mean_passes else f"not within {len(row.curve)}"
    known = [n for n in row.passes if n is not None]
    if row.images == 1 or not known:
        return mean
    missing = f", not reached for {row.images - len(known)}" if len(known) < row.images else ""
    if min(known) == max(known):
        return f"{mean} ({missing.removeprefix(', ')})" if missing else mean
    between = f"{min(known)} to {max(known)}, median {statistics.median(known):g}"
    return f"{mean} (single images: {between}{missing})"


def _summary(comparison: Comparison) -> list[str]:
    """The results in a sentence or two."""
    out = []
    if comparison.speed:
        row, n = comparison.speed[-1], PAPER_ITERATIONS[-1]
        out.append(
            f"At {_size(row.size)} pixels one pass of the network takes {_seconds(row.network / 1e3)}, "
            f"{n} iterations of the optimizer take {_seconds(n * row.iteration / 1e3)}: "
            f"{_rounded(row.ratio(n))} times as long."
        )
    for loss in comparison.losses:
        reached = loss.mean_passes
        verb = "reaches" if reached else "is still above"
        end = _count(reached or len(loss.curve), "iteration")
        out.append(
            f"At {_size(loss.size)} pixels the optimizer, started from {STARTS[loss.start]}, "
            f"{verb} the network's loss after {end}."
        )
    return out


def _setup(comparison: Comparison) -> dict[str, str]:
    """What was compared, by name."""
    setup, loss = comparison.setup, comparison.loss
    style_layers = loss.style_layers_for(comparison.config.loss_network)
    steps = setup["steps"]
    trained = f"{setup['style']}, {_count(int(steps), 'training step')}" if steps else str(setup["style"])
    copy = " (the bundled copy, short side 512 pixels)" if setup["bundled_style_image"] else ""
    weights = (
        "" if setup["same_loss_network_as_trained"] else "; not the weights the style was trained against"
    )
    network = str(setup["loss_network"]).upper().replace("VGG", "VGG-")
    terms = [
        f"content at {', '.join(loss.content_layers)} (weight {loss.content_weight:g})",
        f"style at {', '.join(style_layers)} (weight {loss.style_weight:g})",
        f"total variation (weight {loss.tv_weight:g})",
    ]
    terms += [f"grid (weight {loss.grid_weight:g})"] if loss.grid_weight else []
    device = str(setup["device"])
    machine = f"{device}, {_count(setup['threads'], 'thread')}" if device == "cpu" else device
    return {
        "network": trained,
        "style image": f"{setup['style_image']}{copy}",
        "objective": f"{loss.objective}: {'; '.join(terms)}",
        "loss network": f"{network}{weights}",
        "optimizer": "projected L-BFGS; one iteration is one evaluation of the objective and its gradient",
        "machine": f"{machine}, {setup['precision']}",
    }


def _panels(rows: list[LossRow]) -> dict[str, tuple[list[Curve], dict[str, float]]]:
    panels: dict[str, tuple[list[Curve], dict[str, float]]] = {}
    for row in rows:
        title = f"{_size(row.size)} pixels, {_count(row.images, 'content image')}"
        curves, lines = panels.setdefault(title, ([], {}))
        label = f"optimizer from {STARTS[row.start]}"
        curves.append(Curve(label, row.curve, row.spread if row.images > 1 else ()))
        lines["network, one pass"] = row.network
        lines["content image, unchanged"] = row.content_image
    return panels


def _plot_speed(rows: list[SpeedRow], path: Path) -> None:
    figure = Figure(figsize=(max(5.6, 2.8 * len(rows)), 4.2), layout="constrained", dpi=100)
    axes = figure.add_subplot()
    names = [f"{_size(row.size)} pixels" for row in rows]
    series = {"network, one pass": [row.network / 1e3 for row in rows]}
    series |= {
        f"optimizer, {n} iterations": [n * row.iteration / 1e3 for row in rows] for n in PAPER_ITERATIONS
    }
    width = 0.8 / len(series)
    for i, (label, seconds) in enumerate(series.items()):
        places = [x + (i - (len(series) - 1) / 2) * width for x in range(len(rows))]
        bars = axes.bar(places, seconds, width, color=COLORS[i], label=label)
        axes.bar_label(bars, [_seconds(s) for s in seconds], fontsize=7, padding=2)
    axes.set(yscale="log", ylabel="seconds for one image", xticks=range(len(rows)), xticklabels=names)
    axes.margins(y=0.1)
    figure.legend(fontsize=9, ncols=2, loc="outside upper center")
    figure.savefig(path)


def _images(comparison: Comparison) -> Section | None:
    """A sheet for each size: content image, network, and optimizer from each start, side by side."""
    c, store = comparison.config, comparison.store
    if not comparison.losses:
        return None
    figures = []
    for i, size in enumerate(c.sizes):
        rows = []
        for file in comparison.files[: c.images[min(i, len(c.images) - 1)]]:
            row = [("content image", square(file, size))]
            row.append(("network, one pass", load_image(store.picture(f"{size}_network_{file.stem}"))))
            for start in c.starts:
                result = load_image(store.picture(f"{size}_{start}_{file.stem}"))
                caption = f"optimizer from {STARTS[start]}, {_count(c.iterations, 'iteration')}"
                row.append((caption, result))
            rows.append(row)
        contact_sheet(rows, c.out / f"pictures/{size}.png", inches=2.56)
        figures.append((f"pictures/{size}.png", f"{_size(size)} pixels."))
    return Section("Images", [], [], figures)

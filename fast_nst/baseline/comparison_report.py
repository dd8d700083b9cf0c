"""What a comparison leaves to read: table.md, results.json, speed.png, loss.png, pictures and index.html."""

from __future__ import annotations

import html
import json
import statistics
from pathlib import Path

from matplotlib.figure import Figure

from fast_nst.baseline.compare import PAPER_ITERATIONS, Comparison, LossRow, SpeedRow, square
from fast_nst.baseline.sheets import COLORS, Curve, contact_sheet, plot_curves
from fast_nst.io.images import load_image

__all__ = ["write_comparison"]

Table = list[list[str]]


def write_comparison(comparison: Comparison) -> Path:
    """Write the report of a finished comparison to its folder; returns index.html."""
    folder = comparison.config.out
    tables: dict[str, Table] = {}
    pictures: list[str] = []
    if comparison.speed:
        tables["Speed"] = _speed_table(comparison.speed)
        _plot_speed(comparison.speed, folder / "speed.png")
        pictures.append("speed.png")
    if comparison.losses:
        tables["Loss"] = _loss_table(comparison.losses)
        plot_curves(_panels(comparison.losses), folder / "loss.png", ylabel="objective")
        pictures += ["loss.png", *_sheets(comparison)]
    notes = _notes(comparison)
    (folder / "table.md").write_text(_markdown(tables, notes), encoding="utf-8")
    results = {
        "about": comparison.about,
        "speed": [row._asdict() for row in comparison.speed],
        "loss": [row._asdict() | {"mean_passes": row.mean_passes} for row in comparison.losses],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    index = folder / "index.html"
    index.write_text(_page(comparison.style, tables, notes, pictures), encoding="utf-8")
    return index


def _speed_table(rows: list[SpeedRow]) -> Table:
    """The paper's Table 1, the optimizer's times multiplied from one iteration's."""
    head = ["size", "one pass, ms (p95)", "one iteration, ms (p95)"]
    head += [f"{n} iterations, s" for n in PAPER_ITERATIONS] + [f"ratio at {n}" for n in PAPER_ITERATIONS]
    table = [head]
    for row in rows:
        line = [f"{row.size}²", f"{row.network:.1f} ({row.network_p95:.1f})"]
        line.append(f"{row.iteration:.0f} ({row.iteration_p95:.0f})")
        line += [f"{n * row.iteration / 1e3:.1f}" for n in PAPER_ITERATIONS]
        line += [f"{row.ratio(n):.0f}×" for n in PAPER_ITERATIONS]
        table.append(line)
    return table


def _loss_table(rows: list[LossRow]) -> Table:
    """The paper's Figure 5 in numbers."""
    table = [
        [
            "size",
            "start",
            "photographs",
            "untouched",
            "network",
            "optimizer at the end",
            "passes the network at",
        ]
    ]
    for row in rows:
        end = f"{row.curve[-1]:.4f} ± {row.spread[-1]:.4f} (iteration {len(row.curve)})"
        table.append(
            [
                f"{row.size}²",
                row.start,
                str(row.photos),
                f"{row.photo:.4f}",
                f"{row.network:.4f}",
                end,
                _passes(row),
            ]
        )
    return table


def _passes(row: LossRow) -> str:
    mean = f"iteration {row.mean_passes}" if row.mean_passes else f"not within {len(row.curve)}"
    known = [n for n in row.passes if n is not None]
    if row.photos == 1 or not known:
        return mean
    return f"{mean}; by photograph {min(known)} to {max(known)}, median {statistics.median(known):g}"


def _notes(comparison: Comparison) -> list[str]:
    """What the numbers mean, a sentence each."""
    about, c = comparison.about, comparison.config
    notes = [
        f"Style {about['style']} ({about['steps']} steps of training), painting {about['painting']}. Both "
        f"minimize the objective it was trained with, one object: {json.dumps(about['objective'])}.",
        f"Both in {about['precision']} on {about['device']}, {about['threads']} threads; the optimizer is "
        "projected L-BFGS, an iteration one evaluation of the objective with its gradient.",
    ]
    if comparison.speed:
        notes.append(
            f"Times are medians of {comparison.speed[0].timed} after a warm-up, taken in turn and waiting "
            "for the device; those of 100, 300 and 500 iterations are one iteration's, multiplied."
        )
    if comparison.losses:
        notes.append(
            "Losses are means over the photographs, of the optimizer the lowest up to each iteration; "
            f"noise has seed {c.seed}."
        )
    if not about["same_loss_network_as_trained"]:
        notes.append("The loss network's weights are not those that the style was trained against.")
    return notes


def _panels(rows: list[LossRow]) -> dict[str, tuple[list[Curve], dict[str, float]]]:
    panels: dict[str, tuple[list[Curve], dict[str, float]]] = {}
    for row in rows:
        title = f"{row.size} x {row.size}, {row.photos} photograph{'s' * (row.photos > 1)}"
        curves, lines = panels.setdefault(title, ([], {}))
        curves.append(Curve(f"optimizer from {row.start}", row.curve, row.spread if row.photos > 1 else ()))
        lines["network, one pass"] = row.network
        lines["untouched photograph"] = row.photo
    return panels


def _plot_speed(rows: list[SpeedRow], path: Path) -> None:
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    names = [f"{row.size} x {row.size}" for row in rows]
    series = {"network, one pass": [row.network / 1e3 for row in rows]}
    series |= {
        f"optimizer, {n} iterations": [n * row.iteration / 1e3 for row in rows] for n in PAPER_ITERATIONS
    }
    width = 0.8 / len(series)
    for i, (label, seconds) in enumerate(series.items()):
        places = [x + (i - (len(series) - 1) / 2) * width for x in range(len(rows))]
        bars = axes.bar(places, seconds, width, color=COLORS[i], label=label)
        axes.bar_label(bars, [f"{s:.2g}" if s < 10 else f"{s:.0f}" for s in seconds], fontsize=7)
    axes.set(yscale="log", ylabel="seconds", xticks=range(len(rows)), xticklabels=names)
    axes.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=100)


def _sheets(comparison: Comparison) -> list[str]:
    """A sheet for each size: photograph, network and optimizer from each start, side by side."""
    c, store = comparison.config, comparison.store
    (c.out / "pictures").mkdir(exist_ok=True)
    names = []
    for i, size in enumerate(c.sizes):
        rows = []
        for file in comparison.files[: c.photos[min(i, len(c.photos) - 1)]]:
            row = [("photograph", square(file, size))]
            row.append(("network, one pass", load_image(store.picture(f"{size}_network_{file.stem}"))))
            for start in c.starts:
                picture = load_image(store.picture(f"{size}_{start}_{file.stem}"))
                row.append((f"optimizer from {start}, {c.iterations} iterations", picture))
            rows.append(row)
        contact_sheet(rows, c.out / f"pictures/{size}.png", inches=2.56)
        names.append(f"pictures/{size}.png")
    return names


def _markdown(tables: dict[str, Table], notes: list[str]) -> str:
    parts = []
    for title, (head, *rows) in tables.items():
        lines = [head, ["---"] * len(head), *rows]
        parts.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*parts, *notes]) + "\n"


def _page(style: str, tables: dict[str, Table], notes: list[str], pictures: list[str]) -> str:
    """A page that needs nothing but the files beside it."""
    parts = [f"<h1>{html.escape(style)} against the optimizer</h1>"]
    for title, (head, *rows) in tables.items():
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        parts.append(f"<h2>{title}</h2><table><tr>{cells}</tr>{body}</table>")
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    parts += [f'<p><img src="{name}" alt="{name}"></p>' for name in pictures]
    style_sheet = (
        "body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
        "table{border-collapse:collapse}td,th{border:1px solid #999;padding:.2em .6em;text-align:left}"
        "img{max-width:100%}"
    )
    title = html.escape(f"{style} against the optimizer")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style_sheet}</style><body>{''.join(parts)}</body></html>\n"
    )

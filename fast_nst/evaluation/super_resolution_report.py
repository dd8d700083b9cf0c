"""The report of an evaluation: table.md, results.json and crops side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fast_nst.evaluation.metrics import luma
from fast_nst.evaluation.super_resolution import BICUBIC, PAPER, Evaluation, Measured, Score
from fast_nst.io.images import MAX_LEVEL, Levels, save_image
from fast_nst.serialization import to_dict

__all__ = ["write_evaluation"]

SIDE, GAP, ZOOM = 96, 8, 2  # side of a crop, gap between two, pixels; and the factor they are shown at


def write_evaluation(evaluation: Evaluation) -> Path:
    """Write the report of a finished evaluation to its folder; returns table.md."""
    folder = evaluation.config.out
    folder.mkdir(parents=True, exist_ok=True)
    crops = [_show(one, folder) for one in evaluation.measured if one.shown]
    means = evaluation.means()
    results = {
        "settings": to_dict(evaluation.config),
        "means": {name: {m: s._asdict() for m, s in rows.items()} for name, rows in means.items()},
        "pictures": [
            {"set": one.set, "picture": one.picture, **{m: s._asdict() for m, s in one.scores.items()}}
            for one in evaluation.measured
        ],
        "models": {name: upscaler.metadata for name, upscaler in evaluation.methods.items()},
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    table = folder / "table.md"
    table.write_text(_markdown(evaluation, means, crops), encoding="utf-8")
    return table


def _markdown(evaluation: Evaluation, means: dict[str, dict[str, Score]], crops: list[str]) -> str:
    c = evaluation.config
    layer = f" {c.loss_network} {c.feature_layer}" if c.feature_layer else ""
    lines = [
        f"# Super-resolution x{c.factor}",
        "",
        f"Means over each set. PSNR and SSIM on BT.601 luma, {c.factor} border pixels excluded.",
        "",
        f"| set | method | PSNR, dB | SSIM | feature distance{layer} | relative to bicubic |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in means.items():
        base = rows[BICUBIC].feature
        lines += [_line(name, method, score, base) for method, score in rows.items()]
        paper = PAPER.get(c.factor, {}).get(name, {})
        lines += [_line(name, f"Johnson et al.: {method}", score, None) for method, score in paper.items()]
    if crops:
        columns = ", ".join(["low resolution", *evaluation.names, "original"])
        lines += ["", f"Crops at {ZOOM} times their size, from left to right: {columns}.", ""]
        lines += [f"![{name}]({name})" for name in crops]
    return "\n".join(lines) + "\n"


def _line(name: str, method: str, score: Score, base: float | None) -> str:
    cells = [name, method, f"{score.psnr:.2f}", f"{score.ssim:.4f}"]
    cells.append("" if score.feature is None else f"{score.feature:.4f}")
    cells.append("" if score.feature is None or not base else f"{100 * score.feature / base:.0f} %")
    return f"| {' | '.join(cells)} |"


def _show(one: Measured, folder: Path) -> str:
    """Write the same crop of every version of an image, side by side; returns the file's name."""
    top, left = _most_detailed(one.shown["original"])
    parts: list[Levels] = []
    for picture in one.shown.values():
        part = picture[top : top + SIDE, left : left + SIDE]
        parts += [part, np.full((len(part), GAP // ZOOM, 3), MAX_LEVEL, np.uint8)]
    sheet = np.concatenate(parts[:-1], axis=1)
    name = f"{one.set}_{Path(one.picture).stem}.png"
    save_image(folder / name, np.ascontiguousarray(sheet.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)))
    return name


def _most_detailed(picture: Levels) -> tuple[int, int]:
    """Top left corner of the crop with the most detail, where methods differ most."""
    y = luma(picture)
    height, width = y.shape
    places = [(t, u) for t in _starts(height) for u in _starts(width)]

    def detail(place: tuple[int, int]) -> float:
        part = y[place[0] : place[0] + SIDE, place[1] : place[1] + SIDE]
        return float(np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean())

    return max(places, key=detail)


def _starts(side: int) -> range:
    return range(0, max(1, side - SIDE + 1), SIDE // 2)

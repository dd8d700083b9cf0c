"""What a study leaves to read: report.md with claims checked, results.json, loss.png and sheet.png."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fast_nst.baseline.sheets import Curve, contact_sheet, plot_curves
from fast_nst.baseline.studies import Outcome, Study

__all__ = ["Claim", "check_claims", "write_study"]


class Claim(NamedTuple):
    """A sentence of the analysis, and whether these runs bear it out."""

    claim: str
    holds: bool
    evidence: str


Outcomes = dict[str, Outcome]


def check_claims(study: str, outcomes: list[Outcome]) -> list[Claim]:
    """The claims of the analysis that a study speaks about."""
    return _CHECKS[study]({outcome.name: outcome for outcome in outcomes})


def _start(found: Outcomes) -> list[Claim]:
    noise, photo = found["noise"], found["photo"]
    level = max(noise.total[-1], photo.total[-1])
    needed = {o.name: _reaches(o.total, level) for o in (noise, photo)}
    told = f"to {level:.3g}: from noise {needed['noise']}, from the photograph {needed['photo']}"
    return [Claim("fewer iterations from the photograph", needed["photo"] < needed["noise"], told)]


def _reaches(curve: list[float], level: float) -> int:
    """The iteration, from 1, at which a curve first lies at or under a level that it does reach."""
    return next(i for i, loss in enumerate(curve, start=1) if loss <= level)


def _content(found: Outcomes) -> list[Claim]:
    one = [found[f"content_{layer}"] for layer in ("conv2_2", "conv3_3", "conv4_4", "conv5_4")]
    pool = found["content_block5_pool5"]
    style = [o.style_distance for o in one]
    told = ", ".join(f"{o.name.removeprefix('content_')} {o.style_distance:.3f}" for o in one)
    falling = style == sorted(style, reverse=True)
    return [
        Claim("deeper content layers mix better", falling, f"style distance {told}"),
        Claim("conv5_4 is best", min(style) == style[-1], f"style distance {told}"),
        Claim(
            "block 5 with pool5 has a higher loss",
            pool.total[-1] > one[-1].total[-1],
            f"{pool.total[-1]:.3g} against {one[-1].total[-1]:.3g} of conv5_4",
        ),
        Claim(
            "and less noise",
            pool.noise < one[-1].noise,
            f"total variation {pool.noise:.3f} against {one[-1].noise:.3f}",
        ),
    ]


def _style(found: Outcomes) -> list[Claim]:
    base, every = found["noise"], found["style_all"]
    claims = []
    for i in (1, 2):
        o = found[f"style_candidate_{i}"]
        for term, wanted in (("style", 0.96), ("total", 0.94)):
            values: list[list[float]] = [getattr(run, term) for run in (base, o)]
            cut = 1 - values[1][-1] / values[0][-1]
            claim = f"candidate {i} cuts the {term} loss by about {wanted:.0%} of the baseline"
            claims.append(Claim(claim, abs(cut - wanted) <= 0.05, f"cut by {cut:.0%}"))
    few = found["style_first_of_blocks"]
    told = f"style loss {every.style[-1]:.3g} of all layers against {few.style[-1]:.3g} of one a block"
    return [*claims, Claim("more style layers do not lower it", every.style[-1] >= few.style[-1], told)]


def _tv(found: Outcomes) -> list[Claim]:
    pairs = [(o, found[f"{name}_tv"]) for name, o in found.items() if f"{name}_tv" in found]
    quieter = [(off, on) for off, on in pairs if on.noise < off.noise]
    closer = [(off, on) for off, on in pairs if on.style_distance <= 1.05 * off.style_distance]
    return [
        Claim(
            "total variation lowers noise",
            len(quieter) == len(pairs),
            f"in {len(quieter)} of {len(pairs)} runs",
        ),
        Claim(
            "at a style distance within 5 %",
            len(closer) == len(pairs),
            f"in {len(closer)} of {len(pairs)} runs",
        ),
    ]


_CHECKS: dict[str, Callable[[Outcomes], list[Claim]]] = {
    "start": _start,
    "content": _content,
    "style": _style,
    "tv": _tv,
}


def write_study(study: Study) -> Path:
    """Write the report of a finished study to ``OUT/NAME``; returns report.md."""
    folder = study.config.out / study.name
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = study.outcomes
    claims = check_claims(study.name, outcomes)
    terms = {"content": "content", "style": "style", "total": "all terms"}
    panels = {
        title: ([Curve(o.name, getattr(o, term), dashed=o.variant.tv) for o in outcomes], dict[str, float]())
        for term, title in terms.items()
    }
    plot_curves(panels, folder / "loss.png", ylabel="weighted loss")
    cells = [("photograph", study.photo), ("painting", study.painting)]
    cells += [(outcome.name, outcome.picture) for outcome in outcomes]
    contact_sheet([cells[i : i + 4] for i in range(0, len(cells), 4)], folder / "sheet.png")
    results = {
        "study": study.name,
        "size": study.config.size,
        "steps": study.config.steps,
        "optimizer": study.config.optimizer,
        "runs": [_record(outcome) for outcome in outcomes],
        "claims": [claim._asdict() for claim in claims],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    report = folder / "report.md"
    report.write_text(_markdown(study, claims), encoding="utf-8")
    return report


def _record(o: Outcome) -> dict[str, object]:
    return {
        "name": o.name,
        "content_layers": o.variant.config.content_layers,
        "style_layers": o.variant.config.style_layers,
        "start": o.variant.config.start,
        "content": o.content[-1],
        "style": o.style[-1],
        "total": o.total[-1],
        "content_distance": o.content_distance,
        "style_distance": o.style_distance,
        "noise": o.noise,
    }


def _markdown(study: Study, claims: list[Claim]) -> str:
    c = study.config
    height, width = study.photo.shape[-2:]
    lines = [
        f"# Study: {study.name}",
        "",
        f"{c.steps} iterations of {c.optimizer} at {width} x {height}, losses as means, 1e3 for content, "
        "1e-2 for style. Losses over different layers do not compare; the distances and the noise, taken of "
        "every result in the same way, do.",
        "",
        "| run | content loss | style loss | all | content distance | style distance | noise |",
        "|---|---|---|---|---|---|---|",
    ]
    for o in study.outcomes:
        lines.append(
            f"| {o.name} | {o.content[-1]:.3g} | {o.style[-1]:.3g} | {o.total[-1]:.3g} "
            f"| {o.content_distance:.3f} | {o.style_distance:.3f} | {o.noise:.2f} |"
        )
    lines += ["", "Content distance: to the photograph at relu4_2, style distance: to the painting's Gram"]
    lines += ["matrices, both relative; noise: mean squared difference of neighbors, times 1000.", ""]
    lines += [
        f"* *{claim}*: {'holds' if holds else 'does not hold'} here ({told})."
        for claim, holds, told in claims
    ]
    lines += ["", "![loss by iteration](loss.png)", "", "![results](sheet.png)", ""]
    return "\n".join(lines)

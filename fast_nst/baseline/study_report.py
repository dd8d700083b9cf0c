"""The report of a study: report.md with claims checked, results.json, loss.png and sheet.png."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fast_nst.baseline.sheets import Curve, balanced_rows, contact_sheet, plot_curves
from fast_nst.baseline.studies import Outcome, Study

__all__ = ["Claim", "check_claims", "write_study"]


class Claim(NamedTuple):
    """A published claim, and whether these runs support it."""

    claim: str
    holds: bool
    evidence: str


Outcomes = dict[str, Outcome]


def check_claims(study: str, outcomes: list[Outcome]) -> list[Claim]:
    """Check the published claims that a study is about."""
    return _CHECKS[study]({outcome.name: outcome for outcome in outcomes})


def _start(found: Outcomes) -> list[Claim]:
    noise, content = found["noise"], found["content"]
    level = max(noise.total[-1], content.total[-1])
    needed = {o.name: _reaches(o.total, level) for o in (noise, content)}
    evidence = (
        f"loss {level:.3g} after {needed['noise']} from noise, {needed['content']} from the content image"
    )
    return [Claim("fewer iterations from the content image", needed["content"] < needed["noise"], evidence)]


def _reaches(curve: list[float], level: float) -> int:
    """The first iteration, from 1, at which a curve is at or below a level that it reaches."""
    return next(i for i, loss in enumerate(curve, start=1) if loss <= level)


def _content(found: Outcomes) -> list[Claim]:
    one = [found[f"content_{layer}"] for layer in ("conv2_2", "conv3_3", "conv4_4", "conv5_4")]
    pool = found["content_block5_pool5"]
    style = [o.style_distance for o in one]
    evidence = ", ".join(f"{o.name.removeprefix('content_')} {o.style_distance:.3f}" for o in one)
    falling = style == sorted(style, reverse=True)
    return [
        Claim("deeper content layers mix better", falling, f"style distance {evidence}"),
        Claim("conv5_4 is best", min(style) == style[-1], f"style distance {evidence}"),
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
    evidence = f"style loss {every.style[-1]:.3g} of all layers against {few.style[-1]:.3g} of one a block"
    return [*claims, Claim("more style layers do not lower it", every.style[-1] >= few.style[-1], evidence)]


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
    plot_curves(_panels(study), folder / "loss.png", ylabel="weighted loss", columns=4)
    inputs = [("content image", study.content_image), ("style image", study.style_image)]
    # With total variation, the two runs of a pair stand side by side.
    most = 4 if study.name == "tv" else 3
    results = balanced_rows([(outcome.variant.title, outcome.picture) for outcome in outcomes], most)
    contact_sheet([inputs, *results], folder / "sheet.png")
    _write_results(study, claims, folder / "results.json")
    report = folder / "report.md"
    report.write_text(_markdown(study, claims), encoding="utf-8")
    return report


def _panels(study: Study) -> dict[str, tuple[list[Curve], dict[str, float]]]:
    """One panel for each term; with total variation, one for each pair of runs with and without it."""
    if study.name != "tv":
        terms = {"content": "content loss", "style": "style loss", "total": "total loss"}
        return {
            title: ([Curve(o.variant.title, getattr(o, term)) for o in study.outcomes], {})
            for term, title in terms.items()
        }
    with_tv = {o.name.removesuffix("_tv"): o for o in study.outcomes if o.variant.tv}
    return {
        o.variant.title: (
            [Curve("without total variation", o.total), Curve("with total variation", with_tv[o.name].total)],
            {},
        )
        for o in study.outcomes
        if not o.variant.tv
    }


def _write_results(study: Study, claims: list[Claim], path: Path) -> None:
    results = {
        "study": study.name,
        "size": study.config.size,
        "steps": study.config.steps,
        "optimizer": study.config.optimizer,
        "runs": [_record(outcome) for outcome in study.outcomes],
        "claims": [claim._asdict() for claim in claims],
    }
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


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


VARIED = {
    "start": "the starting image",
    "content": "the content layer",
    "style": "the style layers",
    "tv": "total variation",
}
OPTIMIZERS = {"adam": "Adam", "lbfgs": "L-BFGS"}


def _markdown(study: Study, claims: list[Claim]) -> str:
    c = study.config
    height, width = study.content_image.shape[-2:]
    lines = [
        f"# Study: {VARIED[study.name]}",
        "",
        f"{c.steps} iterations of {OPTIMIZERS[c.optimizer]} at {width} × {height} pixels. Losses are means "
        "over activations and Gram matrix entries, with weights 1000 for content and 0.01 for style.",
        "",
        "![results](sheet.png)",
        "",
        "## Claims",
        "",
    ]
    lines += [f"* {c.claim}: **{'holds' if c.holds else 'does not hold'}** ({c.evidence})" for c in claims]
    lines += [
        "",
        "## Runs",
        "",
        "| run | content loss | style loss | total loss | content distance | style distance | noise |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {o.variant.title} | {o.content[-1]:.3g} | {o.style[-1]:.3g} | {o.total[-1]:.3g} "
        f"| {o.content_distance:.3f} | {o.style_distance:.3f} | {o.noise:.2f} |"
        for o in study.outcomes
    ]
    lines += [
        "",
        "Losses over different layers cannot be compared. The last three columns can, because they are "
        "computed in the same way for every result: the content distance at relu4_2 and the style distance "
        "between Gram matrices are relative errors; noise is 1000 times the mean squared difference of "
        "neighboring pixels.",
        "",
        "![loss by iteration](loss.png)",
        "",
    ]
    return "\n".join(lines)

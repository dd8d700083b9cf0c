"""Studies: what is varied, and when a claim is said to hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fast_nst.baseline.studies import STUDIES, Outcome, Study, variants_of
from fast_nst.baseline.study_report import check_claims, write_study
from fast_nst.config.baseline import StudyConfig
from fast_nst.config.optimize import GATYS_PRESETS
from fast_nst.errors import InputError
from fast_nst.io.images import load_image

BASE = GATYS_PRESETS["wang"]


def outcome(
    variant: Any,
    style: Any = 1.0,
    content: Any = 1.0,
    curve: Any = (4.0, 2.0, 1.0),
    distance: Any = 0.5,
    noise: Any = 1.0,
) -> Outcome:
    total = [content + style] if curve is None else list(curve)
    return Outcome(variant, [content], [style], total, 0.5, distance, noise, torch.zeros(3, 4, 4))


def outcomes(study: str, **by_name: dict[str, object]) -> list[Outcome]:
    return [outcome(v, **by_name.get(v.name, {})) for v in variants_of(study, BASE)]


def verdicts(study: str, **by_name: dict[str, object]) -> dict[str, bool]:
    return {claim.claim: claim.holds for claim in check_claims(study, outcomes(study, **by_name))}


def test_a_study_varies_one_thing() -> None:
    for study, field in (("start", "start"), ("content", "content_layers")):
        configs = [variant.config for variant in variants_of(study, BASE)]
        assert len({getattr(config, field) for config in configs}) == len(configs)
        assert len({replace(c, start="content", content_layers=("relu1_1",)) for c in configs}) == 1


def test_the_study_of_total_variation_runs_all_of_the_others_with_and_without() -> None:
    names = [variant.name for variant in variants_of("tv", BASE)]
    for study in STUDIES[:-1]:
        for variant in variants_of(study, BASE):
            assert {variant.name, f"{variant.name}_tv"} <= set(names)
    assert len(names) == len(set(names))


def test_an_unknown_study_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="unknown study 'tvv'; known: start, content, style, tv"):
        variants_of("tvv", BASE)


@pytest.mark.parametrize(
    ("noise", "photo", "holds"), [((4, 3, 2), (3, 2, 1), True), ((3, 1, 1), (4, 3, 1), False)]
)
def test_fewer_iterations_are_those_to_an_equal_loss(
    noise: tuple[int, int, int], photo: tuple[int, int, int], holds: bool
) -> None:
    found = verdicts("start", noise={"curve": noise}, content={"curve": photo})
    assert found == {"fewer iterations from the content image": holds}


def test_the_claims_of_content_layers_follow_the_runs() -> None:
    one = {
        f"content_{layer}": {"distance": d}
        for layer, d in zip(("conv2_2", "conv3_3", "conv4_4", "conv5_4"), (0.4, 0.3, 0.2, 0.1), strict=True)
    }
    found = verdicts("content", **one, content_block5_pool5={"curve": (4, 3), "noise": 0.5})
    assert all(found.values())
    one["content_conv5_4"] = {"distance": 0.9, "noise": 0.1}
    found = verdicts("content", **one, content_block5_pool5={"curve": (1, 0.5), "noise": 0.5})
    assert not any(found.values())


def test_the_cut_of_the_candidates_is_measured_against_the_baseline() -> None:
    few = {"style": 4.0, "curve": (9, 6.0)}
    base = {"style": 100.0, "curve": (200, 100.0)}
    found = verdicts(
        "style", noise=base, style_candidate_1=few, style_candidate_2={"style": 50.0}, style_all={"style": 2}
    )
    assert found["candidate 1 cuts the style loss by about 96% of the baseline"]
    assert found["candidate 1 cuts the total loss by about 94% of the baseline"]
    assert not found["candidate 2 cuts the style loss by about 96% of the baseline"]
    assert found["more style layers do not lower it"]


@pytest.mark.weights
def test_a_study_writes_its_report_and_an_interrupted_one_goes_on(shared: Path, tmp_path: Path) -> None:
    photo = load_image(shared / "data/content/chicago.jpg", size=48)
    painting = load_image(shared / "data/styles/starry_night.jpg", size=48)
    config = StudyConfig(
        vgg_weights=shared / "weights/vgg19-imagenet-fp16.safetensors",
        out=tmp_path,
        size=32,
        steps=3,
        precision="fp32",
    )
    next(iter(Study("start", photo, painting, config)))  # and killed there
    kept = (tmp_path / "runs/noise.json").stat().st_mtime_ns
    study = Study("start", photo, painting, config)
    assert [done.done for done in study] == [1, 2]
    assert (tmp_path / "runs/noise.json").stat().st_mtime_ns == kept
    report = write_study(study).read_text()
    assert "fewer iterations from the content image" in report
    assert {p.name for p in (tmp_path / "start").iterdir()} == {
        "report.md",
        "results.json",
        "loss.png",
        "sheet.png",
    }
    with pytest.raises(InputError, match=r"other settings \(steps differ\)"):
        Study("start", photo, painting, replace(config, steps=4))

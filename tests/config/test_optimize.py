"""The optimizer's settings: published numbers, limits, and their way through JSON and back."""

from __future__ import annotations

import json
import tomllib
import typing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from fast_nst.config import LossConfig, baseline
from fast_nst.config.optimize import GATYS_PRESETS, GatysConfig, GatysPreset
from fast_nst.errors import InputError
from fast_nst.models.vgg import layer_names
from fast_nst.serialization import from_dict, to_dict, to_toml

presets = pytest.mark.parametrize("config", GATYS_PRESETS.values(), ids=GATYS_PRESETS.keys())


def test_every_preset_is_on_the_command_line_and_knows_its_name() -> None:
    assert set(typing.get_args(GatysPreset)) == GATYS_PRESETS.keys()
    assert all(config.preset == name for name, config in GATYS_PRESETS.items())
    assert GATYS_PRESETS["default"] == GatysConfig()


@presets
def test_every_layer_of_a_preset_exists(config: GatysConfig) -> None:
    known = layer_names(config.loss_network)
    assert {*config.content_layers, *config.style_layers} <= set(known)


@presets
def test_a_preset_comes_back_from_json_and_toml(config: GatysConfig) -> None:
    assert from_dict(GatysConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(GatysConfig, tomllib.loads(to_toml(config))) == config


def test_the_baseline_of_the_feed_forward_paper_has_the_objective_of_training() -> None:
    config = GATYS_PRESETS["johnson2016-baseline"]
    assert config.loss == LossConfig(objective="dimensionless")
    assert (config.start, config.bounds, config.steps, config.optimizer) == (
        "noise",
        "projected",
        500,
        "lbfgs",
    )


def test_published_numbers_are_as_published() -> None:
    gatys, wang, kim = (GATYS_PRESETS[name] for name in ("gatys2016", "wang", "gokalp-kim"))
    assert gatys.content_weight / gatys.style_weight == 1e-3
    assert (gatys.pooling, gatys.activations, gatys.content_factor) == ("average", "normalized", 0.5)
    assert (wang.learning_rate, wang.beta1, wang.epsilon, wang.pixels) == (5, 0.99, 0.1, "levels")
    assert (wang.content_layers, wang.steps, wang.start) == (("conv5_1",), 5000, "noise")
    assert (kim.steps, kim.restart_every, kim.median) == (400, 20, True)
    assert GATYS_PRESETS["sharma"].content_factor == 1
    assert len(GATYS_PRESETS["wang-candidate-1"].style_layers) == 12
    assert len(GATYS_PRESETS["wang-candidate-2"].style_layers) == 7


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"size": 8}, "--size must be at least 16, got 8"),
        ({"style_weight": float("nan")}, "--style-weight must be a finite number of at least 0, got nan"),
        ({"learning_rate": 0.0}, "--learning-rate must be a finite number above 0"),
        ({"beta1": 1.0}, "--beta1 must be at least 0 and below 1"),
        ({"minutes": 0.0}, "--minutes must be a finite number above 0"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "all 0: there is nothing to optimize"),
        (
            {"objective": "gatys", "style_layer_weights": (1.0,)},
            "--style-layer-weights has 1 numbers for 5 layers: one each",
        ),
        ({"objective": "gatys", "content_layer_weights": (-1.0,)}, "--content-layer-weights must be finite"),
        ({"content_layer_weights": (1.0,)}, "takes no weights of layers; --objective gatys does"),
        ({"objective": "gatys", "style_layers": ()}, "--style-layers needs at least one layer"),
        ({"objective": "gatys", "grid_weight": 1.0}, "--objective gatys has no grid term"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_its_flag(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        replace(GatysConfig(), **changes)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("cls", "changes", "told"),
    [
        (baseline.OptimizeConfig, {"quality": 101}, "--quality goes from 1 to 100"),
        (baseline.CompareConfig, {"sizes": (16,)}, "--sizes must be at least 32, got 16"),
        (baseline.CompareConfig, {"images": ()}, "--images needs at least one value"),
        (baseline.StudyConfig, {"steps": 1}, "--steps must be at least 2, got 1"),
        (baseline.ReconstructConfig, {"layers": ()}, "--layers needs at least one layer"),
    ],
)
def test_the_jobs_around_it_have_limits_too(cls: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        cls(**changes)


def test_strings_are_paths_where_paths_are_meant() -> None:
    config = GatysConfig(vgg_weights="a.pth", activation_images="b")
    assert [type(getattr(config, f.name)).__name__ for f in fields(config) if "vgg_w" in f.name] == [
        "PosixPath"
    ]


def test_older_flags_and_values_are_aliases() -> None:
    from fast_nst.cli.parsing import parse

    old = [
        "--start",
        "painting",
        "--painting-size",
        "own",
        "--activations",
        "normalised",
        "--activation-photos",
        "a",
    ]
    new = [
        "--start",
        "style",
        "--style-size",
        "own",
        "--activations",
        "normalized",
        "--activation-images",
        "a",
    ]
    first, second = (parse(GatysConfig, flags, prog="test", description="") for flags in (old, new))
    assert first == second
    assert (first.start, first.activations) == ("style", "normalized")
    table = {"start": "photo", "painting_size": "own", "activation_photos": "a"}
    read = from_dict(GatysConfig, table)
    assert (read.start, read.style_size, read.activation_images) == ("content", "own", Path("a"))
    old = ["--content", "a", "--painting", "b.jpg", "--photos", "2", "1", "--starts", "noise", "photo"]
    new = ["--content", "a", "--style-image", "b.jpg", "--images", "2", "1", "--starts", "noise", "content"]
    compare = [parse(baseline.CompareConfig, flags, prog="test", description="") for flags in (old, new)]
    assert compare[0] == compare[1]

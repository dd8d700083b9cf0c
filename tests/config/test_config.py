"""The dataclasses of every tunable: their limits, and their way through JSON and back."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from fast_nst.config import (
    PRESETS,
    GalleryTrainConfig,
    LossConfig,
    NetworkConfig,
    StylizeConfig,
    TrainConfig,
)
from fast_nst.errors import InputError, first_line
from fast_nst.serialization import from_dict, parse_bytes, show_bytes, to_dict, to_toml

CHANGED = [
    NetworkConfig((3, 5, 7), 2, norm="batch", upsample="free", padding="paper", output="tanh", tanh_scale=1),
    LossConfig("paper", 2, 3.5, 0, content_layers=("relu3_3", "relu1_1"), style_layers=("relu1_1",)),
    TrainConfig(
        style=Path("a/dots.png"),
        dataset="photos",
        out=Path("b.safetensors"),
        minutes=5.5,
        photo_size=300,
        max_images=7,
        preset="tiny",
        loss=LossConfig(style_weight=9),
        vgg_weights=Path("vgg.pth"),
        resume="must",
    ),
    StylizeConfig(style="x.safetensors", out="-", size=512, overwrite=True, precision="bf16"),
]
UNCHANGED = [*PRESETS.values(), LossConfig(), TrainConfig(Path("a.png"), "photos"), StylizeConfig()]


def train(**changes: Any) -> TrainConfig:
    return TrainConfig(style=Path("dots.png"), dataset="photos", **changes)


@pytest.mark.parametrize("config", [*CHANGED, *UNCHANGED], ids=lambda c: type(c).__name__)
def test_a_config_comes_back_from_json_as_it_went(config: Any) -> None:
    back = from_dict(type(config), json.loads(json.dumps(to_dict(config))))
    assert back == config
    for f in fields(config):
        kinds = {type(getattr(c, f.name)) for c in (back, config)}
        assert len(kinds) == 1 or kinds == {int, float}, f.name


@pytest.mark.parametrize("config", [*CHANGED, *UNCHANGED], ids=lambda c: type(c).__name__)
def test_a_config_comes_back_from_toml_as_it_went(config: Any) -> None:
    assert from_dict(type(config), tomllib.loads(to_toml(config))) == config


@pytest.mark.parametrize("name", ['a "b"', "c\\d", "naïve\ttab", "line\nbreak", "del\x7f", "日本"])
def test_any_name_of_a_file_comes_back_from_toml(name: str) -> None:
    config = TrainConfig(style=Path(name), dataset=name)
    assert from_dict(TrainConfig, tomllib.loads(to_toml(config))) == config


def test_what_is_none_is_left_out_for_toml_has_no_word_for_it() -> None:
    assert "minutes" not in to_dict(train())
    assert to_dict(train())["style"] == "dots.png"


def test_whole_numbers_become_floats_where_a_float_is_meant() -> None:
    config = from_dict(TrainConfig, {"style": "a", "dataset": "b", "minutes": 5, "loss": {"style_weight": 7}})
    assert (type(config.minutes), type(config.loss.style_weight)) == (float, float)


def test_a_config_cannot_be_changed_by_accident() -> None:
    with pytest.raises(FrozenInstanceError):
        train().steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("cls", "values", "reason"),
    [
        (
            LossConfig,
            {"style_weigth": 1},
            "LossConfig has no option 'style_weigth'; did you mean 'style_weight'?",
        ),
        (
            NetworkConfig,
            {"xyz": 1},
            "NetworkConfig has no option 'xyz'; known keys: alignment, blocks, norm, output, padding",
        ),
        (
            TrainConfig,
            {"style": "a", "dataset": "b", "loss": {"layers": 1}},
            "LossConfig has no option 'layers'",
        ),
        (TrainConfig, {}, "TrainConfig needs style and dataset"),
        (TrainConfig, {"style": "a"}, "TrainConfig needs dataset"),
        (NetworkConfig, {"norm": "layer"}, "NetworkConfig.norm must be one of instance, batch, got 'layer'"),
        (NetworkConfig, {"blocks": 2.5}, "NetworkConfig.blocks must be of type int, got 2.5"),
        (NetworkConfig, {"blocks": True}, "NetworkConfig.blocks must be of type int, got True"),
        (NetworkConfig, {"widths": "wide"}, "NetworkConfig.widths must be of type"),
        (NetworkConfig, {"widths": [1, "2", 3]}, "NetworkConfig.widths must be of type int, got '2'"),
        (LossConfig, {"tv_weight": "1"}, "LossConfig.tv_weight must be of type float, got '1'"),
        (LossConfig, {"tv_weight": True}, "LossConfig.tv_weight must be of type float, got True"),
        (TrainConfig, {"style": 3, "dataset": "b"}, "TrainConfig.style must be of type Path, got 3"),
        (
            TrainConfig,
            {"style": "a", "dataset": "b", "loss": 3},
            "TrainConfig.loss must be of type LossConfig",
        ),
        (
            TrainConfig,
            {"style": "a", "dataset": "b", "overwrite": "no"},
            "TrainConfig.overwrite must be of type bool",
        ),
        (
            TrainConfig,
            {"style": "a", "dataset": "b", "resume": "no"},
            "TrainConfig.resume must be one of True, False, must, got 'no'",
        ),
        (LossConfig, [1, 2], "LossConfig must be a table of options, got [1, 2]"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_their_place_and_the_allowed_ones(
    cls: Any, values: dict[str, Any] | list[int], reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        from_dict(cls, values)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "values", "reason"),
    [
        (
            NetworkConfig,
            {"widths": (1, 2)},
            "widths are three numbers of channels from 1 to 4096, got (1, 2)",
        ),
        (NetworkConfig, {"widths": ()}, "got ()"),
        (NetworkConfig, {"widths": (1, 0, 3)}, "from 1 to 4096, got (1, 0, 3)"),
        (NetworkConfig, {"widths": (1, 2, 4097)}, "from 1 to 4096, got (1, 2, 4097)"),
        (NetworkConfig, {"blocks": -1}, "blocks must lie between 0 and 100, got -1"),
        (NetworkConfig, {"blocks": 101}, "blocks must lie between 0 and 100, got 101"),
        (NetworkConfig, {"tanh_scale": 0.0}, "tanh_scale must be a finite number above 0, got 0.0"),
        (NetworkConfig, {"tanh_scale": NAN}, "got nan"),
        (
            LossConfig,
            {"content_weight": -1.0},
            "--content-weight must be a finite number of at least 0, got -1.0",
        ),
        (LossConfig, {"style_weight": INF}, "--style-weight must be a finite number of at least 0, got inf"),
        (LossConfig, {"tv_weight": NAN}, "--tv-weight must be a finite number of at least 0, got nan"),
        (LossConfig, {"content_layers": ()}, "--content-layers needs at least one layer, such as relu4_2"),
        (train, {"steps": 0}, "--steps must be at least 1, got 0"),
        (train, {"batch_size": 0}, "--batch-size must be at least 1, got 0"),
        (train, {"image_size": 28}, "--image-size must be at least 32, got 28"),
        (train, {"image_size": 254}, "--image-size must be a multiple of 4, got 254; take 256"),
        (train, {"style_size": 31}, "--style-size must be at least 32, got 31"),
        (train, {"photo_size": 255}, "--photo-size must be at least --image-size 256, got 255"),
        (train, {"start_steps": 9}, "--start-steps needs --start-size, the size of that stage's crops"),
        (
            train,
            {"start_steps": 9, "start_size": 30},
            "multiple of 4, at least 32 and below --image-size 256, got 30",
        ),
        (
            train,
            {"start_steps": 9, "start_size": 256},
            "multiple of 4, at least 32 and below --image-size 256, got 256",
        ),
        (
            train,
            {"steps": 9, "start_steps": 9, "start_size": 64},
            "--start-steps must lie between 1 and --steps 9, got 9",
        ),
        (train, {"start_style_size": 64}, "--start-style-size needs --start-size"),
        (
            train,
            {"start_style_size": 31, "start_size": 64},
            "--start-style-size must be at least 32, got 31",
        ),
        (train, {"save_every": 0}, "--save-every must be at least 1, got 0"),
        (train, {"report_every": 0}, "--report-every must be at least 1, got 0"),
        (train, {"preview_every": 0}, "--preview-every must be at least 1, got 0"),
        (train, {"warmup": -1}, "--warmup must be at least 0, got -1"),
        (train, {"workers": -1}, "--workers must be at least 0, got -1"),
        (train, {"seed": -1}, "--seed must be at least 0, got -1"),
        (train, {"minutes": 0.0}, "--minutes must be a finite number above 0, got 0.0"),
        (train, {"minutes": NAN}, "--minutes must be a finite number above 0, got nan"),
        (train, {"max_images": 0}, "--max-images must be at least 1, got 0"),
        (train, {"max_bad": 1.5}, "--max-bad is a share from 0 to 1, got 1.5"),
        (train, {"max_bad": -0.1}, "--max-bad is a share from 0 to 1, got -0.1"),
        (train, {"learning_rate": 0.0}, "--learning-rate must lie between 0 and 1, got 0.0"),
        (train, {"learning_rate": 1.0}, "--learning-rate must lie between 0 and 1, got 1.0"),
        (train, {"learning_rate": NAN}, "--learning-rate must lie between 0 and 1, got nan"),
        (StylizeConfig, {"size": 0}, "--size must be at least 1, got 0"),
        (StylizeConfig, {"batch_size": 0}, "--batch-size must be at least 1, got 0"),
        (StylizeConfig, {"max_pixels": 0}, "--max-pixels must be at least 1, got 0"),
        (StylizeConfig, {"quality": 0}, "--quality must be at least 1, got 0"),
        (StylizeConfig, {"quality": 101}, "--quality goes from 1 to 100, got 101"),
        (StylizeConfig, {"overwrite": True, "skip_existing": True}, "exclude each other; give one"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_flag_the_value_and_the_limit(
    make: Any, values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        make(**values)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_network_of_a_run_is_its_preset_with_what_overrides_it() -> None:
    assert train().network == PRESETS["default"]
    assert train(preset="tiny").network.widths == (8, 16, 32)
    tiny_free = train(preset="tiny", upsample="free").network
    assert (tiny_free.widths, tiny_free.upsample) == ((8, 16, 32), "free")


def test_the_paper_preset_is_the_papers() -> None:
    paper = PRESETS["paper"]
    assert (paper.norm, paper.upsample, paper.padding, paper.output) == ("batch", "paper", "paper", "tanh")
    assert paper.widths == (32, 64, 128)
    assert paper.blocks == 5


def test_the_config_is_read_without_torch() -> None:
    code = "import sys, fast_nst.config; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_another_librarys_reason_is_cut_to_its_first_line() -> None:
    assert first_line(ValueError("this\nand a page of advice")) == "this"
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(ValueError("\nlate")) == "ValueError"


def test_paths_may_be_given_as_text() -> None:
    config = TrainConfig(style="painting.jpg", dataset="photos", run="runs/painting")
    assert config.style == Path("painting.jpg")
    assert config.run == Path("runs/painting")


def test_minutes_and_a_first_stage_exclude_each_other() -> None:
    with pytest.raises(InputError, match="--start-steps cannot be used with --minutes"):
        train(minutes=5, start_steps=4, start_size=64)


@pytest.mark.parametrize(
    ("objective", "content", "style", "weight", "size", "network"),
    [
        ("bold", "relu4_2", "relu5_1", 10.0, 256, "distilled"),
        ("dimensionless", "relu2_2", "relu4_3", 5.0, 384, "vgg16"),
        ("paper", "relu2_2", "relu4_3", 5.0, 384, "vgg16"),
    ],
)
def test_an_objective_sets_what_is_not_given_and_nothing_else(
    objective: str, content: str, style: str, weight: float, size: int, network: str
) -> None:
    chosen = train(loss=LossConfig(objective=objective))
    loss = chosen.loss
    assert (loss.content_layers, loss.style_layers_for("vgg16")[-1]) == ((content,), style)
    assert (loss.style_weight, chosen.style_size, chosen.loss_network) == (weight, size, network)
    assert to_dict(chosen)["style_size"] == size  # a checkpoint records the values, not their absence
    own = LossConfig(objective, style_weight=3, content_layers=("relu3_1",), style_layers=("relu1_1",))
    other = "vgg16" if network == "vgg19" else "vgg19"
    given = train(loss=own, style_size=99, loss_network=other)
    assert (given.loss.style_weight, given.loss.content_layers) == (3, ("relu3_1",))
    assert (given.loss.style_layers_for("vgg16"), given.style_size) == (("relu1_1",), 99)
    assert given.loss_network == other


@pytest.mark.parametrize("kind", [TrainConfig, GalleryTrainConfig])
def test_weights_of_vgg_mean_vgg19_unless_a_loss_network_is_named(kind: Any) -> None:
    first = {"style": "a.png"} if kind is TrainConfig else {"styles": "a/"}
    common = {**first, "dataset": "photos"}
    assert kind(**common).loss_network == "distilled"
    assert kind(**common, vgg_weights="vgg.pth").loss_network == "vgg19"
    assert kind(**common, vgg_weights="vgg.pth", loss_network="vgg16").loss_network == "vgg16"
    if kind is TrainConfig:
        paper = kind(**common, vgg_weights="vgg.pth", loss=LossConfig(objective="paper"))
        assert paper.loss_network == "vgg16"


def test_a_style_begins_with_the_nearest_one_unless_it_is_told_otherwise() -> None:
    assert train().warm_start == Path("auto")
    assert train(warm_start="none").warm_start == train(warm_start=None).warm_start == Path("none")
    assert train(warm_start="the-scream").warm_start == Path("the-scream")


def test_bold_is_the_default_objective_and_an_unknown_one_is_refused() -> None:
    assert train().loss.objective == "bold"
    with pytest.raises(InputError, match="--objective must be one of bold, dimensionless, paper, got 'soft'"):
        LossConfig(objective="soft")


def test_an_objective_without_any_term_is_refused() -> None:
    with pytest.raises(InputError, match="set at least one above 0"):
        LossConfig(content_weight=0, style_weight=0, tv_weight=0)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", 512_000_000),
        ("2GB", 2_000_000_000),
        ("2 gb", 2_000_000_000),
        ("1.5GiB", 3 * 2**29),
        ("64k", 64_000),
        ("1000", 1000),
        ("10B", 10),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "2XB", "1e9", "two", "0", "0.1B", "1GB 2"])
def test_what_is_no_size_is_refused_by_the_name_of_its_flag(text: str) -> None:
    with pytest.raises(InputError, match=r"--memory .* is no size; write 512MB, 2GB or 1\.5GiB"):
        parse_bytes(text, "--memory")


def test_sizes_are_shown_in_the_unit_that_suits() -> None:
    assert [show_bytes(size) for size in (5, 64_000_000, 12_800_000_000)] == ["1 MB", "64 MB", "12.8 GB"]

"""Configs from command lines: aliases, repeated flags, and files, for every command's config."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
import tyro

from fast_nst.cli.forms import flags_of
from fast_nst.cli.parsing import parse, parse_with_sources
from fast_nst.config import (
    EvaluateConfig,
    ExportConfig,
    StylizeConfig,
    TrainConfig,
    UpscaleConfig,
    UpscaleTrainConfig,
)
from fast_nst.config.baseline import CompareConfig, OptimizeConfig, ReconstructConfig, StudyConfig
from fast_nst.errors import InputError
from fast_nst.serialization import from_dict

CONFIGS = [
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    OptimizeConfig,
    ReconstructConfig,
    StudyConfig,
    StylizeConfig,
    TrainConfig,
    UpscaleConfig,
    UpscaleTrainConfig,
]


@pytest.mark.parametrize(
    ("words", "resume"),
    [
        ([], False),
        (["--resume"], True),
        (["--resume", "--seed", "1"], True),
        (["--resume", "must"], "must"),
        (["--resume=must"], "must"),
        (["--no-resume"], False),
    ],
)
def test_a_switch_may_have_a_named_form(words: list[Any], resume: bool | str) -> None:
    found = parse(TrainConfig, [*words, "--style", "a", "--dataset", "b"], prog="test", description="")
    assert found.resume == resume


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--resume", "mst"], "--resume must be one of must, no, got 'mst'; did you mean must"),
        (["--resume", "must", "b"], "--resume takes at most one value, got must b"),
        (["--resume", "--no-resume"], "--resume and --no-resume exclude each other"),
        (["--no-resume=must"], "--no-resume takes no value"),
    ],
)
def test_a_wrong_form_of_a_switch_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse(TrainConfig, ["--style", "a", "--dataset", "b", *words], prog="test", description="")


@dataclass(frozen=True)
class Inner:
    """Settings inside others."""

    names: tuple[str, ...] = ("a",)
    """some names"""
    weight: Annotated[float, tyro.conf.arg(aliases=["--mass"])] = 1.0
    """of something"""


@dataclass(frozen=True)
class Config:
    """Settings."""

    smoothing: Annotated[float, tyro.conf.arg(aliases=["--steadiness"])] = 0.5
    """share of the frame before"""
    live: Annotated[bool, tyro.conf.arg(aliases=["--now"])] = False
    """at once"""
    sizes: tuple[int, ...] = (1, 2)
    """sides of squares"""
    title: str | None = None
    """what it is called [default: nothing]"""
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.smoothing > 1:
            raise InputError(f"--smoothing must be at most 1, got {self.smoothing}")


def read(*words: str) -> Config:
    return parse(Config, words, prog="test", description="")


def refusal(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        read(*words)
    return str(caught.value)


def test_a_flag_may_be_given_by_its_alias() -> None:
    assert read("--steadiness", "0.25") == Config(smoothing=0.25) == read("--smoothing=0.25")
    assert read("--mass", "2") == Config(inner=Inner(weight=2))
    assert read("--now") == Config(live=True)
    assert read("--no-now") == read("--no-live") == Config()


def test_a_file_may_use_an_alias_and_a_flag_overrides_it(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("steadiness = 0.25\n[inner]\nmass = 3.0\n")
    found = read("--config", str(file))
    assert found == Config(smoothing=0.25, inner=Inner(weight=3))
    assert read("--config", str(file), "--smoothing", "0.75").smoothing == 0.75
    with pytest.raises(InputError, match=r"Config\.smoothing is given under two names"):
        from_dict(Config, {"steadiness": 0.1, "smoothing": 0.2})


def test_help_lists_an_alias_beside_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--help")
    assert "--steadiness FLOAT, --smoothing FLOAT" in capsys.readouterr().out


def test_a_flag_and_its_alias_are_one_flag() -> None:
    assert refusal("--smoothing", "0.1", "--steadiness", "0.2") == "--smoothing is given twice; give it once"


def test_flags_that_take_several_values_lose_none() -> None:
    assert read("--sizes", "3", "4", "--title", "x") == Config(sizes=(3, 4), title="x")
    assert read("--names", "b", "c").inner.names == ("b", "c")
    assert (
        refusal("--sizes", "3", "--sizes", "4") == "--sizes is given twice; give its values after one --sizes"
    )
    assert refusal("--sizes", "3", "four") == "--sizes must be a whole number, got 'four'"


def test_words_between_flags_are_sources_in_their_order() -> None:
    words = ["a", "--title", "x", "b", "-", "--live", "c", "--", "-d", "--live"]
    sources, found = parse_with_sources(Config, words, prog="test", description="", help="files")
    assert (sources, found) == (["a", "b", "-", "c", "./-d", "./--live"], Config(title="x", live=True))


def test_a_value_may_look_like_a_flag_behind_an_equals_sign() -> None:
    assert read("--title=--live") == Config(title="--live")
    assert refusal("--title", "--live") == "--title needs a value; --help says which"


def test_the_limits_of_a_config_hold_for_flags_too() -> None:
    assert refusal("--smoothing", "2") == "--smoothing must be at most 1, got 2.0"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.__name__)
def test_every_flag_with_a_value_is_refused_when_it_is_given_twice(config: Any) -> None:
    for flag, (name, hint) in flags_of(config).items():
        if hint is bool:
            continue
        with pytest.raises(InputError, match=f"^{name} is given twice; give it"):
            parse(config, [flag, "1", f"{flag}=1"], prog="test", description="")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.__name__)
def test_every_default_comes_back_as_it_is(config: Any) -> None:
    required: dict[str, Any] = {
        f.name: "x" for f in dataclasses.fields(config) if f.default is f.default_factory
    }
    words = [word for name in required for word in (f"--{name}", "x")]
    if config is EvaluateConfig:
        words, required = ["--data", "x"], {"data": ("x",)}
    found = parse(config, words, prog="test", description="")
    assert found == config(**{n: Path(v) if n == "style" and v == "x" else v for n, v in required.items()})


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--output", "did you mean --out?"),
        ("-o", "did you mean --out?"),
        ("--gpu", "did you mean --device?"),
        ("--resolution", "did you mean --size?"),
        ("--styel", "did you mean --style?"),
        ("--zzz", "--help lists all of them"),
    ],
)
def test_an_unknown_flag_gets_the_name_it_has_here(typed: str, told: str) -> None:
    with pytest.raises(InputError, match=f"unknown option {typed}; {told}".replace("?", r"\?")):
        parse_with_sources(StylizeConfig, ["a.jpg", typed, "1"], prog="test", description="", help="files")


def test_the_british_spelling_of_license_is_an_alias() -> None:
    flags = ["--style", "a.png", "--dataset", "photos"]
    for flag in ("--license", "--licence"):
        assert parse(TrainConfig, [*flags, flag, "MIT"], prog="train.py", description="").license == "MIT"

"""Names of styles, mixtures, and what they ask of a network's rows."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fast_nst.config import GalleryNetConfig, NetworkConfig
from fast_nst.errors import InputError
from fast_nst.inference.styles import bundled_styles, choose_style, mix_rows, mixture_shares, parse_weights
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.gallery_files import GalleryRow
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import CheckpointError
from fast_nst.models.transform_net import TransformNet

ROWS = [
    GalleryRow(None, 0.0),
    *(GalleryRow(style, scale) for style in ("one", "two") for scale in (1.0, 2.0)),
]


@given(
    weights=st.dictionaries(st.sampled_from(["one", "two"]), st.floats(0.01, 100), min_size=1),
    strength=st.floats(0, 1),
    stroke=st.floats(0.1, 10),
)
def test_weights_of_rows_are_shares_of_a_whole(
    weights: dict[str, float], strength: float, stroke: float
) -> None:
    mixture = mix_rows(ROWS, weights, strength=strength, stroke=stroke)
    assert (mixture.rows >= 0).all()
    assert mixture.rows.sum() == pytest.approx(1, abs=1e-5)
    assert mixture.rows[0] == pytest.approx((1 - strength) ** 3, abs=1e-6)
    assert mixture.content == pytest.approx(1 - strength)
    for name, first in (("one", 1), ("two", 3)):
        share = weights.get(name, 0) / sum(weights.values())
        of_style = (1 - mixture.rows[0]) * share
        assert mixture.rows[first : first + 2].sum() == pytest.approx(of_style, abs=1e-5)


def test_a_style_alone_is_its_row() -> None:
    assert mix_rows(ROWS, {"two": 3.0}).rows.tolist() == [0, 0, 0, 1, 0]
    assert mix_rows(ROWS, {"two": 3.0}, stroke=2).rows.tolist() == [0, 0, 0, 0, 1]


def test_the_stroke_size_lies_between_two_rows_and_the_rest_remains() -> None:
    between = mix_rows(ROWS, {"one": 1.0}, stroke=math.sqrt(2))
    np.testing.assert_allclose(between.rows, [0, 0.5, 0.5, 0, 0], atol=1e-6)
    assert between.stroke == 1
    assert mix_rows(ROWS, {"one": 1.0}, stroke=3).stroke == pytest.approx(1.5)
    assert mix_rows(ROWS, {"one": 1.0}, stroke=0.5).stroke == pytest.approx(0.5)


@pytest.mark.parametrize(
    "wrong", [{"strength": 1.1}, {"strength": math.nan}, {"stroke": 0}, {"stroke": math.inf}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        mix_rows(ROWS, {"one": 1.0}, **wrong)


@given(st.dictionaries(st.text(), st.floats(0, exclude_min=True, allow_infinity=False), min_size=1))
def test_shares_sum_to_one_however_large_the_weights_are(weights: dict[str, float]) -> None:
    shares = mixture_shares(weights)
    assert sum(shares.values()) == pytest.approx(1)
    largest = max(weights, key=weights.__getitem__)
    for name, weight in weights.items():
        assert shares.get(name, 0) == pytest.approx(shares[largest] * (weight / weights[largest]))


@pytest.mark.parametrize("weight", [0, -1.0, math.nan, math.inf, "1", None])
def test_weights_that_are_none_are_refused(weight: Any) -> None:
    with pytest.raises(InputError, match="numbers above 0"):
        mix_rows(ROWS, {"one": 1.0, "two": weight})
    with pytest.raises(InputError, match="numbers above 0"):
        mix_rows(ROWS, {})


def test_an_unknown_style_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'one'"):
        mix_rows(ROWS, {"onee": 1.0})


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("one", {"one": 1.0}),
        ("one:0.6,two:0.4", {"one": 0.6, "two": 0.4}),
        (" one , two:3 ", {"one": 1.0, "two": 3.0}),
    ],
)
def test_mixtures_are_read(text: str, weights: dict[str, float]) -> None:
    assert parse_weights(text) == weights


@pytest.mark.parametrize(
    "text", ["", ",", "one:", "one:x", "one:0", "one:-1", "one:nan", "one:inf", "one,one", ":1", "one:1:2"]
)
def test_mixtures_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_weights(text)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "my.safetensors"
    torch.manual_seed(0)
    network = GalleryNet(GalleryNetConfig(widths=(4, 6), blocks=1, rows=len(ROWS)))
    rows = [{"style": row.style, "scale": row.scale} for row in ROWS]
    save_checkpoint(path, network, {"rows": rows, "style": "my"})
    return path


def test_a_file_and_a_mixture_of_its_styles(gallery: Path) -> None:
    choice = choose_style(f"{gallery}#one:3,two:1")
    assert (choice.file, choice.name, choice.weights) == (gallery, "one-two", {"one": 0.75, "two": 0.25})
    assert choose_style(gallery).weights == {"one": 1.0}


@pytest.mark.parametrize("name", ["{}#three", "{}#one:0", "nowhere.safetensors#one", "no-such-style"])
def test_names_that_lead_nowhere_are_refused(gallery: Path, name: str) -> None:
    with pytest.raises((CheckpointError, InputError)):
        choose_style(name.format(gallery))


def test_a_style_with_its_own_network_has_no_mixture() -> None:
    choice = choose_style("the-scream-full")
    assert (choice.name, choice.weights) == ("the-scream-full", None)


def test_bundled_styles_are_those_of_the_gallery_and_the_networks_of_one(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(gallery, tmp_path / "gallery.safetensors")
    torch.manual_seed(0)
    network = TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1))
    for name in ("one", "alone"):
        save_checkpoint(tmp_path / f"{name}.safetensors", network, {"style": name, "steps": 1})
    monkeypatch.setenv("FAST_NST_CHECKPOINTS", str(tmp_path))
    assert list(bundled_styles()) == ["two", "alone", "one"]
    assert {name: choose_style(name).file for name in bundled_styles()} == bundled_styles()
    assert choose_style("one").weights is None
    assert choose_style("two").weights == {"two": 1.0}
    assert choose_style("gallery#one").weights == {"one": 1.0}


def test_a_style_has_its_painting_and_a_mixture_has_none() -> None:
    assert choose_style("irises").painting == choose_style("gallery").file.parent / "paintings/irises.jpg"
    assert choose_style("the-scream-full").painting == choose_style("the-scream").painting
    assert choose_style("irises:1,senecio:1").painting is None

"""Methods are measured on the pictures of a set, and told beside the paper's figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fast_nst.cli import evaluate_sr
from fast_nst.cli.parsing import parse
from fast_nst.config import UPSCALE_PRESETS, EvaluateConfig
from fast_nst.errors import InputError
from fast_nst.evaluation.metrics import luma, psnr, ssim
from fast_nst.evaluation.super_resolution import BICUBIC, PAPER, Evaluation
from fast_nst.evaluation.super_resolution_report import write_evaluation
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.resampling import downsample, upsample
from fast_nst.models.upscale_net import UpscaleNet


@pytest.fixture
def config(tmp_path: Path, material: Path) -> EvaluateConfig:
    """Five photographs as Set5, a network that has learnt nothing, and features of a random network."""
    torch.manual_seed(0)
    network = UpscaleNet(replace(UPSCALE_PRESETS["modern"], width=8, blocks=1))
    save_checkpoint(tmp_path / "ours.safetensors", network, {"recipe": {"loss": "pixel"}})
    (tmp_path / "Set5").symlink_to(material / "photos")
    return EvaluateConfig(
        model=(str(tmp_path / "ours.safetensors"),),
        data=(str(tmp_path / "Set5"),),
        out=tmp_path / "evaluation",
        vgg_weights=material / "vgg.safetensors",
        feature_layer="relu1_2",
        crops=2,
        device="cpu",
    )


def test_scores_are_those_of_the_reduced_and_enlarged_picture(config: EvaluateConfig, material: Path) -> None:
    first = next(iter(Evaluation(config)))
    original = np.asarray(Image.open(material / "photos/0.png"))
    again = upsample(downsample(original.transpose(2, 0, 1), 4), 4).transpose(1, 2, 0)
    pair = luma(again, 4), luma(original, 4)
    assert first.scores[BICUBIC][:2] == (psnr(*pair), ssim(*pair))
    assert first.scores[BICUBIC].feature > 0
    assert first.scores["ours"].psnr == pytest.approx(first.scores[BICUBIC].psnr, abs=1)


def test_the_report_has_every_method_the_papers_rows_and_the_crops(config: EvaluateConfig) -> None:
    evaluation = Evaluation(config)
    list(evaluation)
    table = write_evaluation(evaluation).read_text()
    for words in (
        "| Set5 | bicubic | ",
        "| Set5 | ours | ",
        "| Set5 | Johnson et al.: feature loss | 27.09 | ",
    ):
        assert words in table
    results = json.loads((config.out / "results.json").read_text())
    assert len(results["pictures"]) == 5
    mean = np.mean([picture["ours"]["psnr"] for picture in results["pictures"]])
    assert results["means"]["Set5"]["ours"]["psnr"] == pytest.approx(mean)
    crops = sorted(config.out.glob("*.png"))
    assert [path.name for path in crops] == ["Set5_0.png", "Set5_2.png"]
    with Image.open(crops[0]) as sheet:
        assert sheet.size == (2 * (4 * 48 + 3 * 4), 2 * 40)  # low, bicubic, ours, original, and gaps


def test_a_result_equal_to_the_original_has_a_perfect_score(config: EvaluateConfig, tmp_path: Path) -> None:
    """An image of one color, which bicubic interpolation restores exactly."""
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (48, 40), (60, 120, 180)).save(tmp_path / "flat/one.png")
    score = next(iter(Evaluation(replace(config, model=(), data=(str(tmp_path / "flat"),))))).scores[BICUBIC]
    assert score == (float("inf"), pytest.approx(1), 0.0)


def test_without_a_layer_no_loss_network_is_read(config: EvaluateConfig) -> None:
    plain = replace(config, feature_layer="", vgg_weights=Path("nowhere"))
    assert next(iter(Evaluation(plain))).scores["ours"].feature is None


def test_the_papers_figures_are_there_for_both_factors_and_all_sets() -> None:
    for sets in PAPER.values():
        assert list(sets) == ["Set5", "Set14", "BSD100"]
    assert list(PAPER) == [4, 8]
    assert all(
        15 < s.psnr < 31 and 0.5 < s.ssim < 0.9
        for x in PAPER.values()
        for y in x.values()
        for s in y.values()
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": ("nowhere",)}, "--data nowhere is not a folder"),
        ({"factor": 8}, "upscales by 4, got --factor 8"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    config: EvaluateConfig, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        Evaluation(replace(config, **changes))


def test_the_command_writes_once_unless_reported_to_again(
    config: EvaluateConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--data",
        str(config.data[0]),
        "--out",
        str(config.out),
        "--feature-layer",
        "",
        "--device",
        "cpu",
    ]
    assert evaluate_sr.main(flags) == 0
    assert capsys.readouterr().out == f"{config.out / 'table.md'}\n"
    assert evaluate_sr.main(flags) == 2
    assert "contains an evaluation; give --overwrite" in capsys.readouterr().err
    assert evaluate_sr.main([*flags, "--overwrite"]) == 0


def test_pictures_must_be_given() -> None:
    with pytest.raises(InputError, match="--data FOLDER must be given"):
        parse(EvaluateConfig, ["--factor", "4"], prog="test", description="")

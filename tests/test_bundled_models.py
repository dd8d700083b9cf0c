"""The networks for enlarging that come with the package: small, documented, and better than bicubic."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fast_nst.evaluation.metrics import luma, psnr
from fast_nst.inference.upscaler import Upscaler
from fast_nst.io.images import MAX_LEVEL, find_pictures, from_uint8, read_picture, to_uint8
from fast_nst.models.checkpoint import load_upscaler, read_tensors
from fast_nst.models.model_files import bundled_upscalers
from fast_nst.models.reconstruction import local_grid_energy
from fast_nst.models.resampling import downsample, upsample

NAMES = sorted(bundled_upscalers())


def test_both_of_the_papers_factors_are_bundled() -> None:
    assert {"x4", "x8"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_is_small_and_enlarges_by_what_its_name_says(name: str) -> None:
    path = bundled_upscalers()[name]
    assert path.stat().st_size < 4e6
    assert name == f"x{load_upscaler(path).network.config.factor}"


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_says_how_it_was_made(name: str) -> None:
    metadata = read_tensors(bundled_upscalers()[name])[1]
    assert metadata["style"] == name
    assert metadata["licence"] == "MIT"
    assert metadata["recipe"]["loss"] == "feature"
    assert metadata["recipe"]["warm_start"]
    assert len(metadata["vgg_sha256"]) == 64
    assert "/" not in metadata["recipe"]["dataset"]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_adds_less_than_half_a_level_of_grid_to_smooth_gradients(
    name: str, benchmark: Callable[[str], ModuleType]
) -> None:
    look, enlarge = benchmark("checkerboard"), Upscaler(name, device="cpu", precision="fp32", match=False)
    side = look.SIZE // enlarge.factor
    pictures = look.gradients(4)[..., :side, :side]
    bicubic = [upsample(to_uint8(x).transpose(2, 0, 1), enlarge.factor) for x in pictures]
    added = enlarge(pictures) - torch.stack([from_uint8(x.transpose(1, 2, 0)) for x in bicubic])
    for period in (2, 3, 4):
        assert MAX_LEVEL * (local_grid_energy(added, period) / period**2).sqrt() < 0.5


@pytest.mark.weights
@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_is_nearer_to_photographs_than_bicubic_enlargement(name: str, shared: Path) -> None:
    enlarge = Upscaler(name, device="cpu", precision="fp32")
    factor, gains = enlarge.factor, []
    for path in find_pictures(shared / "data/sr/Set5"):
        rgb = read_picture(path).rgb
        height, width = (side // factor * factor for side in rgb.shape[:2])
        photo = rgb[:height, :width]
        low = downsample(photo.transpose(2, 0, 1), factor)
        made = to_uint8(enlarge(from_uint8(low.transpose(1, 2, 0))))
        bicubic = upsample(low, factor).transpose(1, 2, 0)
        ours, theirs = (psnr(luma(x, factor), luma(photo, factor)) for x in (made, bicubic))
        gains.append(ours - theirs)
    assert statistics.mean(gains) > 0.5

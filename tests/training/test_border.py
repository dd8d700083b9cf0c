"""The border loss: images are painted near their edges as if they went on beyond them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fast_nst.config import LossConfig, TrainConfig
from fast_nst.errors import InputError
from fast_nst.models.checkpoint import read_tensors, write_tensors
from fast_nst.training.border import border_error, border_width, painted_in_context
from fast_nst.training.trainer import Trainer

PICTURES = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
WIDTH = border_width(PICTURES)


@pytest.mark.parametrize("side", [2, 7, 8, 33])
def test_every_image_has_a_border_that_reflection_can_extend(side: int) -> None:
    image = torch.rand(1, 3, side, 2 * side)
    assert 1 <= border_width(image) < side
    assert painted_in_context(nn.Identity(), image, torch.contiguous_format).equal(image)


def test_what_is_inside_does_not_count_and_what_is_on_the_border_does() -> None:
    changed = PICTURES.clone()
    changed[..., WIDTH:-WIDTH, WIDTH:-WIDTH] += 1
    assert border_error(changed, PICTURES) == 0
    assert border_error(PICTURES + 0.1, PICTURES).item() == pytest.approx(0.01, rel=1e-4)
    changed = PICTURES.clone()
    changed[..., -1, 3] += 1
    assert border_error(changed, PICTURES) > 0


def test_a_network_that_sees_no_edge_has_no_border_and_one_that_pads_with_zeros_has() -> None:
    pointwise = nn.Conv2d(3, 3, 1)
    padded = nn.Conv2d(3, 3, 3, padding=1)
    for network, sees in ((pointwise, False), (padded, True)):
        context = painted_in_context(network, PICTURES, torch.channels_last)
        assert not context.requires_grad
        error = border_error(network(PICTURES), context)
        assert error.item() == pytest.approx(0, abs=1e-9) if not sees else error > 1e-4
        assert error.requires_grad


@pytest.mark.slow
def test_the_border_loss_makes_the_border_more_like_the_inside(config: TrainConfig, tmp_path: Path) -> None:
    errors = []
    for weight in (1e-6, 300.0):
        run = replace(config, run=tmp_path / f"{weight}", out=tmp_path / f"{weight}.safetensors", steps=40)
        reports: list[Any] = list(Trainer(replace(run, border_weight=weight)))
        errors.append(sum(report.border for report in reports[-5:]) / weight)
    assert 0 < errors[1] < 0.8 * errors[0]


def test_it_is_on_unless_the_paper_is_asked_for(config: TrainConfig) -> None:
    unset = replace(config, border_weight=None)
    assert unset.border_weight > 0
    assert replace(config, border_weight=None, preset="paper").border_weight == 0
    assert replace(config, border_weight=None, loss=LossConfig(objective="paper")).border_weight == 0


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused(config: TrainConfig, weight: float) -> None:
    with pytest.raises(InputError, match=r"--border-weight must be a finite number of at least 0, got"):
        replace(config, border_weight=weight)


def test_a_network_with_batch_normalization_has_none(config: TrainConfig) -> None:
    with pytest.raises(InputError, match="give --border-weight 0, got 5"):
        replace(config, preset="paper", border_weight=5)


def test_a_run_of_before_goes_on_without_it_when_told_so(config: TrainConfig) -> None:
    config = replace(config, save_every=1)
    trainer = Trainer(replace(config, border_weight=0.0))
    next(iter(trainer))
    trainer.save()
    state = config.run / "last.safetensors"
    tensors, metadata = read_tensors(state)
    del metadata["training"]["config"]["border_weight"]
    write_tensors(state, tensors, metadata)
    with pytest.raises(InputError, match=r"border_weight was 0\.0, is 20\.0"):
        Trainer(replace(config, resume=True))
    assert Trainer(replace(config, resume=True, border_weight=0.0)).step == 1

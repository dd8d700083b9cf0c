"""The descent as a whole: it converges, reports, stops on request, and never returns a broken image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fast_nst as nst
from fast_nst.baseline.image_optimizer import PictureOptimizer, optimize_image
from fast_nst.baseline.initialization import fit_longer
from fast_nst.baseline.objective import load_features, make_objective
from fast_nst.config.optimize import GatysConfig
from fast_nst.errors import InputError
from fast_nst.models.losses import LossTerms


@pytest.fixture
def config(weights: Path) -> GatysConfig:
    return GatysConfig(
        content_layers=("relu2_1",),
        style_layers=("relu1_1", "relu2_1"),
        vgg_weights=weights,
        size=40,
        steps=12,
        report_every=1,
        device="cpu",
        precision="fp32",
    )


@pytest.fixture
def pictures(picture: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    return picture(0, 32, 40), picture(1, 40, 30)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"start": "noise"},
        {"start": "style", "bounds": "free"},
        {
            "objective": "gatys",
            "pooling": "average",
            "activations": "normalized",
            "content_weight": 1e-5,
            "tv_weight": 0,
        },
        {"optimizer": "adam", "learning_rate": 0.05},
        {"optimizer": "adam", "learning_rate": 5.0, "pixels": "levels", "epsilon": 1e-6},
        {"scales": 2, "style_size": "own"},
        {"precision": "bf16"},
    ],
)
def test_a_descent_lowers_its_objective(
    config: GatysConfig, pictures: tuple[Tensor, Tensor], changes: dict[str, Any]
) -> None:
    reports = list(PictureOptimizer(*pictures, replace(config, steps=24, **changes)))
    assert reports[-1].total < 0.95 * reports[0].total
    assert [report.step for report in reports] == list(range(1, reports[-1].steps + 1))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bounds", ["projected", "free"])
def test_l_bfgs_reports_iterates_that_never_rise(
    config: GatysConfig, picture: Callable[..., Tensor], seed: int, bounds: str
) -> None:
    """Trials that the line search rejects are no iterates, however high the objective is there."""
    gatys = {"objective": "gatys", "activations": "normalized", "content_weight": 1e-5, "tv_weight": 0}
    photo, painting = picture(2 * seed, 32, 40), picture(2 * seed + 1, 40, 30)
    run = PictureOptimizer(photo, painting, replace(config, steps=24, bounds=bounds, **gatys))
    losses = [report.total for report in run]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(losses))
    assert losses[-1] == pytest.approx(run.best_loss, rel=1e-5)


def test_the_result_is_the_photograph_s_size_in_range_and_on_the_cpu(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    out = optimize_image(*pictures, config)
    assert out.shape == (3, 32, 40)
    assert out.dtype == torch.float32
    assert 0 <= out.min() <= out.max() <= 1
    assert optimize_image(*pictures, replace(config, size=20)).shape == (3, 16, 20)


def test_the_same_seed_gives_the_same_picture(config: GatysConfig, pictures: tuple[Tensor, Tensor]) -> None:
    noise = replace(config, start="noise", steps=4)
    first, second = (optimize_image(*pictures, noise) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, optimize_image(*pictures, replace(noise, seed=1)))


def test_the_picture_is_the_best_that_was_seen(config: GatysConfig, pictures: tuple[Tensor, Tensor]) -> None:
    # A learning rate so high that later steps are worse than earlier ones.
    wild = replace(config, optimizer="adam", learning_rate=0.9)
    optimizer = PictureOptimizer(*pictures, wild)
    losses = [report.total for report in optimizer]
    assert optimizer.best_loss == min(losses) < losses[-1]
    objective = make_objective(load_features(wild, ()), fit_longer(pictures[1], 40), wild)
    again = objective(
        optimizer.picture()[None], objective.content_target(optimizer.content_image[None])
    ).total
    assert again.item() == pytest.approx(optimizer.best_loss, rel=1e-5)


def test_the_training_objective_can_be_given_as_an_object(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    painting = pictures[1]
    objective = make_objective(load_features(config, ()), painting, config)
    optimizer = PictureOptimizer(*pictures, config, objective=objective)
    reports = list(optimizer)
    value = objective(
        optimizer.picture()[None], objective.content_target(optimizer.content_image[None])
    ).total
    assert min(report.total for report in reports) == pytest.approx(value.item(), rel=1e-5)


def test_a_stop_between_two_steps_ends_the_run_with_what_there_is(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    optimizer = PictureOptimizer(*pictures, replace(config, steps=1000))
    for report in optimizer:
        if report.step == 3:
            optimizer.stop()
    assert optimizer.step == 3
    assert not optimizer.finished
    assert optimizer.picture().shape == (3, 32, 40)


def test_time_ends_a_run_as_steps_do(config: GatysConfig, pictures: tuple[Tensor, Tensor]) -> None:
    optimizer = PictureOptimizer(*pictures, replace(config, steps=10**6, minutes=0.005))
    assert list(optimizer)[-1].step < 10**6
    assert optimizer.finished


class Breaking:
    """An objective that is a number for so many evaluations, and then is none."""

    def __init__(self, good: int, value: float) -> None:
        self.good, self.value, self.seen = good, value, 0

    def content_target(self, photos: Tensor) -> dict[str, Tensor]:
        return {}

    def __call__(self, images: Tensor, target: object) -> LossTerms:
        self.seen += 1
        zero = images.sum() * 0
        content = (images - 0.7).square().sum() if self.seen <= self.good else zero + self.value
        return LossTerms(content, zero, zero, zero, zero, zero)


@pytest.mark.parametrize("good", [0, 1, 4])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_with_the_last_good_picture(
    config: GatysConfig,
    pictures: tuple[Tensor, Tensor],
    caplog: pytest.LogCaptureFixture,
    good: int,
    value: Any,
) -> None:
    optimizer = PictureOptimizer(*pictures, config, objective=Breaking(good, value))
    assert len(list(optimizer)) == good
    assert optimizer.failure == f"the loss or its gradient is not finite at iteration {good + 1}"
    picture = optimizer.picture()
    assert picture.isfinite().all()
    if good == 4:
        assert (picture - 0.7).square().sum() < (optimizer.content_image - 0.7).square().sum()


def test_the_median_filter_is_on_what_is_shown_and_not_on_what_is_optimised(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    plain, shown = (PictureOptimizer(*pictures, replace(config, median=median)) for median in (False, True))
    assert [r.total for r in plain] == [r.total for r in shown]
    assert not torch.equal(plain.picture(), shown.picture())


def test_coarse_scales_come_first_and_are_cheaper_pictures(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    seen = []

    class Watching(Breaking):
        def __call__(self, images: Tensor, target: object) -> LossTerms:
            seen.append(tuple(images.shape[-2:]))
            return super().__call__(images, target)

    optimizer = PictureOptimizer(
        *(torch.rand(3, 64, 128),) * 2,
        replace(config, size=None, scales=3, steps=2),
        objective=Watching(100, 0.0),
    )
    list(optimizer)
    assert seen == [(16, 32)] * 2 + [(32, 64)] * 2 + [(64, 128)] * 2


def test_reports_come_at_their_interval_and_at_the_end(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    optimizer = PictureOptimizer(*pictures, replace(config, report_every=5))
    assert [report.step for report in optimizer] == [5, 10, 12]


def test_reports_speak_of_iterations(config: GatysConfig, pictures: tuple[Tensor, Tensor]) -> None:
    report = next(iter(PictureOptimizer(*pictures, config)))
    assert "iterations/s" in str(report)


@pytest.mark.parametrize(
    ("photo", "told"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"the content image must be a float \(3, H, W\) tensor"),
        (torch.rand(1, 3, 8, 8), r"got torch.float32 of shape \(1, 3, 8, 8\)"),
        (torch.rand(3, 0, 8), "the content image must be"),
    ],
)
def test_what_is_no_picture_is_refused(config: GatysConfig, photo: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        PictureOptimizer(photo, torch.rand(3, 8, 8), config)


def test_too_many_scales_are_refused_with_the_cure(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(
        InputError, match="--scales 3 starts with a side under 16 pixels, at 40 x 32; give fewer"
    ):
        PictureOptimizer(*pictures, replace(config, scales=3))


def test_a_picture_too_small_for_the_network_is_refused(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(InputError, match="with a side under 16 pixels, at 16 x 13; give a larger --size"):
        PictureOptimizer(*pictures, replace(config, size=16))


def test_the_names_of_the_package_lead_here() -> None:
    assert nst.optimize_image is optimize_image
    assert nst.GatysConfig is GatysConfig


def test_no_gradient_is_kept_for_the_loss_network(
    config: GatysConfig, pictures: tuple[Tensor, Tensor]
) -> None:
    optimizer = PictureOptimizer(*pictures, config)
    list(islice(optimizer, 2))
    assert all(p.grad is None and not p.requires_grad for p in optimizer.features.parameters())

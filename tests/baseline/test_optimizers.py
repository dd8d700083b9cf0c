"""The optimizers: at equal numbers of evaluations against other implementations, and on bounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import fmin_l_bfgs_b
from torch import Tensor

from fast_nst.baseline.objective import GatysLoss
from fast_nst.baseline.optimizers import LBFGS, Adam, PixelOptimizer
from fast_nst.config import LossConfig
from fast_nst.config.optimize import GatysConfig
from fast_nst.io.images import load_image
from fast_nst.models.losses import PerceptualLoss
from fast_nst.models.vgg import VGGFeatures, load_vgg

Function = Callable[[Tensor], Tensor]


def gradient(function: Function, point: Tensor) -> tuple[float, Tensor]:
    x = point.detach().clone().requires_grad_()
    value = function(x)
    (found,) = torch.autograd.grad(value, x)
    return value.item(), found


def descend(optimizer: PixelOptimizer, function: Function, evaluations: int) -> list[float]:
    """The objective at every point asked for."""
    losses = []
    for _ in range(evaluations):
        loss, found = gradient(function, optimizer.point)
        losses.append(loss)
        optimizer.tell(loss, found)
    return losses


def scipy_reaches(function: Function, start: Tensor, evaluations: int, *, bounded: bool) -> float:
    """The lowest loss of fmin_l_bfgs_b, with as many pairs of memory as ours."""
    losses: list[float] = []

    def value(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        loss, found = gradient(function, torch.from_numpy(flat).to(start.dtype).view_as(start))
        losses.append(loss)
        return loss, found.double().numpy().ravel()

    bounds = [(0, 1)] * start.numel() if bounded else None
    x0 = start.double().numpy().ravel()
    fmin_l_bfgs_b(value, x0, m=20, bounds=bounds, maxfun=evaluations, maxiter=evaluations, factr=0, pgtol=0)
    return min(losses[:evaluations])


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1].square()).square() + (1 - x[:-1]).square()).sum()


def quadratic(size: int, condition: float, seed: int = 0) -> Function:
    """A convex one whose minimum lies outside of [0, 1] for some coordinates."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    matrix = basis * torch.logspace(0, np.log10(condition), size, dtype=torch.float64) @ basis.T
    center = 2 * torch.rand(size, generator=generator, dtype=torch.float64) - 0.5
    return lambda x: (x - center) @ matrix @ (x - center) / 2


def test_lbfgs_finds_the_minimum_of_a_curved_valley() -> None:
    optimizer = LBFGS(torch.zeros(6, dtype=torch.float64))
    descend(optimizer, rosenbrock, 200)
    torch.testing.assert_close(optimizer.point, torch.ones(6, dtype=torch.float64))


def test_a_bounded_minimum_satisfies_the_conditions_of_karush_kuhn_and_tucker() -> None:
    function = quadratic(40, 100)
    optimizer = LBFGS(torch.full((40,), 0.5, dtype=torch.float64), bounds=(0, 1))
    descend(optimizer, function, 200)
    point, (_, slope) = optimizer.point, gradient(function, optimizer.point)
    inside = (point > 0) & (point < 1)
    assert 5 < inside.sum() < 35  # some are held, some are free
    assert slope[inside].abs().max() < 1e-5
    assert (slope[point == 0] >= 0).all()
    assert (slope[point == 1] <= 0).all()


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("condition", [100, 10_000])
def test_lbfgs_does_as_well_on_quadratics_as_scipy_with_as_many_evaluations(
    bounded: bool, condition: int
) -> None:
    function, start = quadratic(60, condition, seed=1), torch.full((60,), 0.5, dtype=torch.float64)
    bounds = (0.0, 1.0) if bounded else None
    best = min(descend(LBFGS(start, bounds=bounds), function, 300))
    ours = min(descend(LBFGS(start, bounds=bounds), function, 30))
    theirs = scipy_reaches(function, start, 30, bounded=bounded)
    began = gradient(function, start)[0]
    assert ours - best <= theirs - best + 0.02 * (began - best)


def check_against_scipy(function: Function, begin: Tensor, evaluations: int) -> None:
    """Of the way down from the start that SciPy's version here goes, ours is at least nine tenths."""
    began = function(begin).item()
    ours = min(descend(LBFGS(begin, bounds=(0, 1)), function, evaluations))
    assert began - ours >= 0.9 * (began - scipy_reaches(function, begin, evaluations, bounded=True))


def random_vgg(*layers: str) -> VGGFeatures:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vgg = VGGFeatures("vgg19", layers)
        for module in vgg.body.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return vgg


@pytest.mark.slow
@pytest.mark.parametrize("start", ["noise", "photo"])
def test_lbfgs_stylizes_as_well_as_scipy_with_as_many_evaluations(
    picture: Callable[..., Tensor], start: str
) -> None:
    loss = PerceptualLoss(
        random_vgg("relu1_1", "relu2_1"),
        picture(1),
        LossConfig(content_layers=("relu2_1",), style_layers=("relu1_1", "relu2_1"), grid_weight=0),
    )
    photo = picture(0)[None]
    target = loss.content_target(photo)
    begin = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0)) if start == "noise" else photo

    def function(x: Tensor) -> Tensor:
        return loss(x, target).total

    check_against_scipy(function, begin, 40)


@pytest.mark.weights
@pytest.mark.parametrize("start", ["noise", "photo"])
def test_lbfgs_reaches_what_scipy_reaches_on_a_real_network(shared: Path, start: str) -> None:
    config = LossConfig()
    layers = (*config.content_layers, *config.style_layers_for("vgg19"))
    vgg = load_vgg("vgg19", layers, file=shared / "weights/vgg19-imagenet-fp16.safetensors")
    photo = load_image(shared / "data/content/chicago.jpg", short_side=64)[None, :, :64, :64].contiguous()
    painting = load_image(shared / "data/styles/starry_night.jpg", short_side=64)
    loss = PerceptualLoss(vgg, painting, config)
    target = loss.content_target(photo)
    begin = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0)) if start == "noise" else photo

    def function(x: Tensor) -> Tensor:
        return loss(x, target).total

    check_against_scipy(function, begin, 60)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: LBFGS(x, bounds=(0, 1)),
        lambda x: Adam(x, rate=0.3, beta1=0.9, epsilon=1e-8, bounds=(0, 1)),
    ],
)
def test_every_point_of_a_bounded_descent_lies_within_the_bounds(make: Callable[..., Any]) -> None:
    function = quadratic(30, 100)
    optimizer = make(torch.linspace(-1, 2, 30, dtype=torch.float64))
    for _ in range(25):
        if not isinstance(optimizer, Adam):
            assert 0 <= optimizer.point.min() <= optimizer.point.max() <= 1
        loss, found = gradient(function, optimizer.point)
        optimizer.tell(loss, found)
    assert 0 <= optimizer.point.min() <= optimizer.point.max() <= 1


def test_a_point_that_was_handed_out_is_never_changed_afterwards() -> None:
    for optimizer in (
        LBFGS(torch.zeros(5, dtype=torch.float64)),
        Adam(torch.zeros(5, dtype=torch.float64), rate=0.1, beta1=0.9, epsilon=1e-8),
    ):
        kept = []
        for _ in range(10):
            kept.append((optimizer.point, optimizer.point.clone()))
            optimizer.tell(*gradient(rosenbrock, optimizer.point))
        assert all(torch.equal(point, copy) for point, copy in kept)


def test_adam_takes_the_steps_of_torch() -> None:
    theirs = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    reference = torch.optim.Adam([theirs], lr=0.1, betas=(0.99, 0.999), eps=0.1)
    ours = Adam(torch.zeros(5, dtype=torch.float64), rate=0.1, beta1=0.99, epsilon=0.1)
    for _ in range(12):
        reference.zero_grad()
        rosenbrock(theirs).backward()
        reference.step()
        ours.tell(*gradient(rosenbrock, ours.point))
    torch.testing.assert_close(ours.point, theirs.detach())


def test_restarts_empty_the_memory_at_their_interval() -> None:
    optimizer = LBFGS(torch.zeros(6, dtype=torch.float64), restart_every=5)
    sizes = []
    for _ in range(12):
        optimizer.tell(*gradient(rosenbrock, optimizer.point))
        sizes.append(len(optimizer.pairs))
    assert sizes[0] == sizes[5] == sizes[10] == 0
    assert sizes[4] > 0


def test_no_more_pairs_are_kept_than_history_says() -> None:
    optimizer = LBFGS(torch.zeros(20, dtype=torch.float64), history=3)
    descend(optimizer, rosenbrock, 30)
    assert len(optimizer.pairs) == 3


def test_a_flat_objective_is_no_error() -> None:
    optimizer = LBFGS(torch.full((4,), 0.5), bounds=(0, 1))
    descend(optimizer, lambda x: (0 * x).sum(), 5)
    torch.testing.assert_close(optimizer.point, torch.full((4,), 0.5))


def test_gatys_objective_is_descended_tenfold(picture: Callable[..., Tensor]) -> None:
    config = GatysConfig(
        objective="gatys",
        content_weight=0,
        tv_weight=0,
        content_layers=(),
        style_layers=("relu1_1", "relu2_1"),
    )
    loss = GatysLoss(random_vgg("relu1_1", "relu2_1"), picture(1), config)
    losses = descend(LBFGS(picture(0)[None], bounds=(0, 1)), lambda x: loss(x, {}).total, 60)
    assert min(losses) < losses[0] / 10

"""The average of the weights is what its formula says, and follows what cannot be averaged."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from fast_nst.config import NetworkConfig
from fast_nst.models.transform_net import TransformNet
from fast_nst.training.weight_average import WeightAverage

NARROW = NetworkConfig(widths=(2, 3, 4), blocks=1)


def wander(network: TransformNet, seed: int) -> torch.Tensor:
    """Other weights; returns the first of them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return next(network.parameters()).detach().clone()


def averages(share: float, steps: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The first tensor of the weights after each step, and of their average."""
    network = TransformNet(NARROW)
    average = WeightAverage(network, share)
    taken, means = [], []
    for step in range(1, steps + 1):
        taken.append(wander(network, step))
        average.update(network, step)
        means.append(next(average.network.parameters()).clone())
    return taken, means


def test_an_average_over_all_steps_is_their_mean() -> None:
    taken, means = averages(1.0, 12)
    torch.testing.assert_close(means[-1], torch.stack(taken).mean(0))


def test_an_average_over_none_is_the_last_step() -> None:
    taken, means = averages(0.0, 5)
    assert all(map(torch.equal, taken, means))


def test_the_first_steps_of_a_run_are_not_averaged_with_its_random_start() -> None:
    taken, means = averages(0.25, 4)
    assert all(map(torch.equal, taken, means))


def test_an_average_over_a_share_moves_by_the_share_of_the_steps() -> None:
    taken, means = averages(0.5, 40)
    for step, (before, after) in enumerate(pairwise(means), start=2):
        torch.testing.assert_close(after, before + min(1.0, 2 / step) * (taken[step - 1] - before))


def test_the_average_spreads_less_than_the_steps_do() -> None:
    taken, means = averages(0.5, 60)
    assert torch.stack(means[30:]).std(0).mean() < 0.5 * torch.stack(taken[30:]).std(0).mean()


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_averaging_changes_nothing_about_the_network_that_is_trained(share: float) -> None:
    network = TransformNet(NARROW)
    average = WeightAverage(network, share)
    wander(network, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    average.update(network, 5)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert not average.network.training


def test_statistics_are_averaged_and_counters_are_taken_over() -> None:
    network = TransformNet(NetworkConfig(widths=(2, 3, 4), blocks=1, norm="batch")).train()
    average = WeightAverage(network, 1.0)
    seen = []
    for step in range(1, 4):
        network(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step)))
        average.update(network, step)
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
    for name, tensor in average.network.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.stack([state[name] for state in seen]).mean(0))
        else:
            assert tensor == 3, name

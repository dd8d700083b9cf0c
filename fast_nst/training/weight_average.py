"""An average of the weights over the last part of a run: smoother than the last step's, at no cost.

torch.optim.swa_utils averages with a fixed decay or over all steps since a fixed one; here the
window grows with the run.
"""

from __future__ import annotations

import copy

import torch

from fast_nst.models.checkpoint import Network

__all__ = ["WeightAverage"]


class WeightAverage:
    r"""A network whose weights are the average of another's over the last `share` of the steps taken.

    .. math:: \bar w_t = \bar w_{t-1} + \min(1, \tfrac{1}{share \cdot t}) (w_t - \bar w_{t-1})

    The window grows with the run, so it suits any length and forgets the beginning by itself (Shamir and
    Zhang 2013, polynomial-decay averaging).

    Args:
        network: the one being trained; not changed.
        share: of the steps so far; 0 follows the network without averaging.

    Attributes:
        network: a copy of it in evaluation mode, with the averaged weights.
    """

    def __init__(self, network: Network, share: float) -> None:
        self.share = share
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Take in the weights after `step` steps, counted from 1. Does not wait for the device."""
        mine, theirs = self.network.state_dict(), network.state_dict()
        floats = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        share = min(1.0, 1 / (self.share * step)) if self.share else 1.0
        torch._foreach_lerp_([mine[n] for n in floats], [theirs[n] for n in floats], share)
        for name in mine.keys() - floats:  # batch norm's counters
            mine[name].copy_(theirs[name])

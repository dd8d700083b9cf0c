"""Optimizers over one image, by evaluations: they name a point, and get its loss and gradient (ask and tell).

One evaluation is one iteration, so that methods are compared at equal cost, and the loop that evaluates can
report, stop and save between any two of them. torch.optim.LBFGS runs several evaluations inside one step
and has no bounds.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["LBFGS", "Adam", "Bounds", "PixelOptimizer"]

Bounds = tuple[float, float]

# Armijo's constant, as in Nocedal and Wright 2006, section 3.1.
SUFFICIENT = 1e-4
# The first step, of the root mean square of a pixel's change: there is no curvature yet to size it by. Larger
# ones end lower on some bounded cases, and without bounds throw the picture far outside of [0, 1].
FIRST_STEP = 0.05
# Refused trials in a row after which the memory is no longer believed.
PATIENCE = 4


class PixelOptimizer(Protocol):
    """Where the objective is wanted next, and what to do with it."""

    point: Tensor

    def tell(self, loss: float, gradient: Tensor) -> bool:
        """Take the loss and gradient at ``point``, both finite, and move ``point`` to the next trial.

        Returns:
            Whether the point was accepted as the new iterate; a line search rejects some of its trials.
        """


class Adam:
    """Adam (Kingma and Ba 2015), its iterates put back between the bounds if there are any.

    Args:
        start: of any shape; copied.
    """

    def __init__(
        self, start: Tensor, *, rate: float, beta1: float, epsilon: float, bounds: Bounds | None = None
    ) -> None:
        self.point = start.detach().clone()
        self.bounds = bounds
        self._inner = torch.optim.Adam([self.point], lr=rate, betas=(beta1, 0.999), eps=epsilon)

    def tell(self, loss: float, gradient: Tensor) -> bool:
        """Take one step; every iterate is accepted."""
        # A new tensor: the caller may keep the point it has evaluated.
        moved = self.point.clone()
        moved.grad = gradient
        self._inner.param_groups[0]["params"] = [moved]
        if self.point in self._inner.state:
            self._inner.state[moved] = self._inner.state.pop(self.point)
        self._inner.step()
        self.point = moved if self.bounds is None else moved.clamp_(*self.bounds)
        return True


class _Pair(NamedTuple):
    """A move and the change of the gradient along it."""

    move: Tensor
    change: Tensor


class LBFGS:
    """Limited-memory BFGS (Nocedal 1980), projected onto bounds if there are any.

    With bounds, pixels that lie on one and are pushed outwards are held, and the quadratic model is that of
    the others (Bertsekas 1982); the trial point is then put back between the bounds, and the move remembered
    is the one really made. Clipping what an unaware L-BFGS gives, as is often done, spoils its memory.

    A full step is tried first, and is taken if the loss falls enough for it (Armijo). Else the trial is not
    wasted: its curvature goes into the memory, and the next trial starts over from the same point.

    Args:
        start: of any shape; copied.
        history: pairs remembered.
        bounds: lowest and highest value of a pixel.
        restart_every: evaluations after which the memory is emptied.
        noise: share of the loss by which arithmetic alone may raise it; such a rise is no failure.
    """

    def __init__(
        self,
        start: Tensor,
        *,
        history: int = 20,
        bounds: Bounds | None = None,
        restart_every: int | None = None,
        noise: float = 1e-7,
    ) -> None:
        self.bounds = bounds
        self.history, self.restart_every, self.noise = history, restart_every, noise
        self.point = self._project(start.detach().clone())
        self.pairs: list[_Pair] = []
        self._at: Tensor | None = None
        self._loss = 0.0
        self._gradient = torch.zeros(())
        self._direction = torch.zeros(())
        self._step = 1.0
        self._refused = 0
        self._told = 0

    def tell(self, loss: float, gradient: Tensor) -> bool:
        """Accept the trial point or reject it, and set the next; returns whether it was accepted."""
        self._told += 1
        if self._at is None:
            self._take(loss, gradient)
            return True
        move = self.point - self._at
        slope = _dot(self._gradient, move)
        good = loss <= self._loss + SUFFICIENT * slope + self.noise * abs(self._loss)
        change = gradient - self._gradient
        curved = _dot(move, change)
        if self.restart_every and (self._told - 1) % self.restart_every == 0:
            self.pairs.clear()
        elif curved > 1e-10 * _dot(change, change) ** 0.5 * _dot(move, move) ** 0.5:
            self.pairs = [*self.pairs, _Pair(move, change)][-self.history :]
        if good:
            self._take(loss, gradient)
        elif curved > 0 and self._refused < PATIENCE:
            self._refused += 1
            self._aim()
        else:
            self._shorten(loss, slope)
        return good

    def _take(self, loss: float, gradient: Tensor) -> None:
        self._at, self._loss, self._gradient = self.point, loss, gradient
        self._refused = 0
        self._aim()

    def _shorten(self, loss: float, slope: float) -> None:
        """The minimum of the parabola through what is known along the line; after many, straight downhill."""
        self._refused += 1
        if self._refused > 3 * PATIENCE:
            self.pairs.clear()
            self._refused = 0
            self._aim()
            return
        above = 2 * (loss - self._loss - slope)
        self._step *= min(max(-slope / above, 0.1), 0.5) if above > 0 else 0.5
        self._try()

    def _aim(self) -> None:
        """A direction from the last point taken, and the full step along it."""
        free = self._free()
        downhill = -self._gradient if free is None else -self._gradient * free
        self._direction, self._step = downhill, 1.0
        if self.pairs:
            self._direction = self._two_loops(downhill, free)
            if _dot(self._direction, downhill) <= 0:
                self.pairs.clear()
                self._direction = downhill
        if not self.pairs:
            scale = (_dot(downhill, downhill) / downhill.numel()) ** 0.5
            self._step = FIRST_STEP / max(scale, 1e-30)
        self._try()

    def _two_loops(self, downhill: Tensor, free: Tensor | None) -> Tensor:
        """The inverse Hessian of the memory on a vector: Nocedal and Wright 2006, algorithm 7.4."""
        pairs = self.pairs
        if free is not None:
            pairs = [_Pair(pair.move, pair.change * free) for pair in pairs]
        products = [_dot(pair.move, pair.change) for pair in pairs]
        known = [(p, product) for p, product in zip(pairs, products, strict=True) if product > 0]
        if not known:
            return downhill
        out = downhill.clone()
        shares: list[float] = []
        for pair, product in reversed(known):
            shares.append(_dot(pair.move, out) / product)
            out.add_(pair.change, alpha=-shares[-1])
        newest, product = known[-1]
        out.mul_(product / _dot(newest.change, newest.change))
        for (pair, product), share in zip(known, reversed(shares), strict=True):
            out.add_(pair.move, alpha=share - _dot(pair.change, out) / product)
            if free is not None:
                out.mul_(free)
        return out

    def _free(self) -> Tensor | None:
        """1 where a pixel may move, 0 where a bound holds it."""
        if self.bounds is None:
            return None
        assert self._at is not None
        low, high = self.bounds
        held = ((self._at <= low) & (self._gradient > 0)) | ((self._at >= high) & (self._gradient < 0))
        return (~held).to(self._gradient.dtype)

    def _try(self) -> None:
        assert self._at is not None
        self.point = self._project(self._at + self._step * self._direction)

    def _project(self, point: Tensor) -> Tensor:
        return point if self.bounds is None else point.clamp(*self.bounds)


def _dot(a: Tensor, b: Tensor) -> float:
    return torch.dot(a.flatten(), b.flatten()).item()

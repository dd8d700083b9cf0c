"""What training minimizes, as the loop sees it; any callable of results and content images will do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from fast_nst.errors import InputError

__all__ = ["CallableObjective", "Objective", "as_objective"]


class Objective(Protocol):
    """What is minimized: the sum of weighted terms."""

    @property
    def content_target(self) -> Callable[..., Any]:
        """From ``(B, 3, S, S)`` photographs in [0, 1] to what results are compared with.

        An objective of many styles also takes their rows, ``(B,)`` int64.
        """

    def __call__(self, images: Tensor, target: Any, /) -> Any:
        """The weighted terms of ``(B, 3, S, S)`` results, a NamedTuple of scalars."""

    def alone(self) -> Objective:
        """The same objective for batches that no other process has a part of."""


class Loss(NamedTuple):
    """The terms of an objective that returns one scalar."""

    loss: Tensor


class CallableObjective:
    """An objective of the caller's own.

    Args:
        function: called with ``(B, 3, S, S)`` results, unclamped, and the content images in [0, 1]; returns
            a scalar tensor, or a NamedTuple of weighted scalars whose names the reports and logs show.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        self._function = function

    def content_target(self, photos: Tensor) -> Tensor:
        """The content images themselves."""
        return photos

    def __call__(self, images: Tensor, target: Tensor, /) -> Any:
        """See `Objective`.

        Raises:
            InputError: the function returned something else.
        """
        found = self._function(images, target)
        terms = Loss(found) if isinstance(found, Tensor) else found
        scalars = isinstance(terms, tuple) and hasattr(terms, "_fields")
        if not scalars or not all(isinstance(t, Tensor) and t.ndim == 0 for t in terms):
            raise InputError(
                "objective= must return a scalar tensor or a NamedTuple of scalar tensors, "
                f"got {type(found).__name__}"
            )
        return terms

    def alone(self) -> CallableObjective:
        """Itself: it knows nothing of other processes."""
        return self


def as_objective(given: Any) -> Objective:
    """The caller's objective: a `PerceptualLoss` or the like as it is, any other callable wrapped."""
    if all(hasattr(given, name) for name in ("content_target", "alone")):
        objective: Objective = given
        return objective
    if not callable(given):
        raise InputError(f"objective= must be callable, got {type(given).__name__}")
    return CallableObjective(given)

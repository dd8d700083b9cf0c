"""Loss and gradients of one batch; a compiled computation is trusted only after it agreed with the eager one.

torch.compile can miscompile: with one OpenMP thread, bf16 and crops from 96 pixels, torch 2.14.1 gives NaN
gradients on processors with AVX-512 where the eager ones are finite.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fast_nst.system.compiling import Compiled
from fast_nst.training.compile_trial import CompileTrial
from fast_nst.training.motion import Motion
from fast_nst.training.process_group import ProcessGroup

__all__ = ["BackwardPass", "BatchTensors", "Terms", "total"]

_log = logging.getLogger("fast_nst")

Terms = Any
"""a NamedTuple of weighted scalars, such as `LossTerms`: their sum is minimized"""

# Relative differences that rounding alone does not reach. Measured on a VGG-19 objective of 128-pixel crops:
# the whole gradient differs by 0.043 in bf16 (whose own error is 0.08) and by 0.0014 in fp32, a term
# by 0.002 and by 2e-6.
GRADIENT_TOLERANCE = {"fp32": 0.05, "fp16": 0.2, "bf16": 0.3}
TERM_TOLERANCE = {"fp32": 0.01, "fp16": 0.05, "bf16": 0.1}


def total(terms: Terms) -> Tensor:
    """What is minimized, a scalar."""
    summed: Tensor = functools.reduce(torch.add, terms)
    return summed


class BatchTensors(NamedTuple):
    """What one step computes its loss from; this process's share of the batch, on the device.

    Attributes:
        inputs: ``(B, 3, H, W)`` in [0, 1], what the network gets.
        images: ``(B, 3, S, S)`` in [0, 1], what its results are compared with.
        motion: for the temporal loss; None without.
        rows: ``(B,)`` int64, of a network of many styles the row of each image; None for one style.
    """

    inputs: Tensor
    images: Tensor
    motion: Motion | None
    rows: Tensor | None = None


Forward = Callable[[Tensor, Tensor, Motion | None, Tensor | None], Terms]
"""from the fields of `BatchTensors` to weighted terms"""


class BackwardPass:
    """Computes the loss terms of a batch and leaves the gradients of their sum in the parameters.

    The first batch of each shape is computed twice where the forward pass is compiled: if the values or the
    gradients differ by more than rounding explains, compiling is dropped with a warning.

    Args:
        forward: from batch to weighted terms.
        network: whose gradients are computed and whose running statistics the forward pass updates.
        compiled: whether to use torch.compile.
        precision: of the convolutions; decides the tolerances.
        trial: times the first compiled steps, which are given up where they are no faster; None: they stay.
        group: processes that share each batch and have to agree.
    """

    looked_at = frozenset({"cpu"})
    """device types on which each batch's gradients are looked at: others would wait for it, and the run asks
    `recovers_eagerly` when it is lost"""

    def __init__(
        self,
        forward: Forward,
        network: nn.Module,
        *,
        compiled: bool,
        precision: str,
        trial: CompileTrial | None = None,
        group: ProcessGroup,
    ) -> None:
        self._eager, self._precision, self._group = forward, precision, group
        self._trial = trial
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._statistics = [b for b in network.buffers() if b.is_floating_point()]
        self._checked: set[torch.Size] = set()
        self._last: BatchTensors | None = None
        self.compile(compiled)

    def compile(self, compiled: bool) -> None:
        """Compute compiled from now on, or not."""
        self._forward = Compiled(self._eager, on=compiled)
        self._checked.clear()

    @property
    def compiled(self) -> bool:
        """Whether batches are computed by compiled code."""
        return self._forward.call is not self._eager

    def compiles_for(self, inputs: Tensor) -> bool:
        """Whether a batch of these inputs has to be compiled and checked first."""
        return self.compiled and inputs.shape not in self._checked

    def __call__(self, batch: BatchTensors, scale: Tensor | None = None) -> Terms:
        """One forward and backward pass.

        Args:
            scale: factor of the loss before the backward pass; None is 1.

        Returns:
            The weighted terms of the whole batch, detached, on the device.
        """
        if not self.compiled:
            return self._run(self._eager, batch, scale)
        before = self._saved_statistics()
        terms = self._run(self._forward, batch, scale)
        self._last = batch
        if batch.inputs.shape in self._checked:
            if scale is not None or batch.inputs.device.type not in self.looked_at or self._finite():
                return terms
            return self._repeated(batch, scale, before, terms)
        return self._compared(batch, scale, before, terms)

    def recovers_eagerly(self) -> bool:
        """Whether the last batch has finite gradients without torch.compile; then compiling is dropped."""
        if self._last is None or not self.compiled:
            return False
        batch, before = self._last, self._saved_statistics()
        self._run(self._eager, batch, None)
        self._restore(before)
        if finite := self._finite():
            self._drop("gives gradients that are not finite where eager code does not")
        return finite

    def _run(
        self,
        forward: Forward,
        batch: BatchTensors,
        scale: Tensor | None,
    ) -> Terms:
        for parameter in self._parameters:
            parameter.grad = None
        terms = forward(*batch)
        torch.autograd.backward(total(terms) if scale is None else total(terms) * scale)
        return type(terms)(*self._group.mean(torch.stack([term.detach() for term in terms])).unbind())

    def _repeated(
        self, batch: BatchTensors, scale: Tensor | None, before: Sequence[Tensor], terms: Terms
    ) -> Terms:
        """The eager result where the compiled gradients are not finite, if that one's are."""
        after = self._saved_statistics()
        self._restore(before)
        eager = self._run(self._eager, batch, scale)
        if self._finite():
            self._drop("gives gradients that are not finite where eager code does not")
            return eager
        self._restore(after)
        return terms

    def _compared(
        self, batch: BatchTensors, scale: Tensor | None, before: Sequence[Tensor], terms: Terms
    ) -> Terms:
        """The compiled result of a shape's first batch if it agrees with the eager one, else that one."""
        gradients = [p.grad for p in self._parameters]
        after = self._saved_statistics()
        self._restore(before)
        eager = self._run(self._eager, batch, scale)
        found = torch.stack(
            [_difference(terms, eager), _difference(gradients, [p.grad for p in self._parameters])]
        )
        by_term, by_gradient = self._group.maximum(*map(_number, found.tolist()))
        limits = TERM_TOLERANCE[self._precision], GRADIENT_TOLERANCE[self._precision]
        if by_term > limits[0] or by_gradient > limits[1]:
            self._drop(
                f"differs from eager code, by {by_term:.2g} in the loss and {by_gradient:.2g} in the gradient"
            )
            return eager
        self._checked.add(batch.inputs.shape)
        if self._trial is not None and self._trial.times is None:
            self._try(self._trial, batch, scale)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._restore(after)
        return terms

    def _try(self, trial: CompileTrial, batch: BatchTensors, scale: Tensor | None) -> None:
        """Time both kinds of steps; running statistics change, gradients too."""
        trial.measure(
            lambda: self._run(self._eager, batch, scale), lambda: self._run(self._forward, batch, scale)
        )
        if not trial.pays:
            times = " and ".join(f"{time:.0f} ms {name}" for name, time in (trial.times or {}).items())
            self._drop(f"is no faster here: a step takes {times}")

    def _drop(self, why: str) -> None:
        _log.warning("torch.compile %s (%s); continuing without it", why, self._precision)
        self.compile(False)

    def _finite(self) -> bool:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return bool(torch.isfinite(nn.utils.get_total_norm(gradients)))

    def _saved_statistics(self) -> list[Tensor]:
        return [buffer.clone() for buffer in self._statistics]

    def _restore(self, statistics: Sequence[Tensor]) -> None:
        for buffer, old in zip(self._statistics, statistics, strict=True):
            buffer.copy_(old)


def _difference(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> Tensor:
    """The norm of the difference relative to the expected norm; 0 where neither is finite."""
    first, second = (
        torch.cat([t.flatten().float() for t in ts if t is not None]) for ts in (found, expected)
    )
    norm = second.norm()
    relative = (first - second).norm() / norm.clamp_min(torch.finfo(torch.float32).tiny)
    # Where eager code is not finite either, compiling is not to blame.
    return torch.where(torch.isfinite(norm), relative, 0.0)


def _number(value: float) -> float:
    """NaN as infinity, which compares as larger than any limit."""
    return value if value == value else float("inf")

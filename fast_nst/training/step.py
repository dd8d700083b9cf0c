"""One optimizer step: run the network on a batch, compute loss and gradients, update the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fast_nst.models.checkpoint import Network
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.system.device import autocast, to_device
from fast_nst.training.backward import BackwardPass, BatchTensors, Terms, total
from fast_nst.training.border import border_error, painted_in_context
from fast_nst.training.compile_trial import CompileTrial
from fast_nst.training.gradient_limit import GradientLimit
from fast_nst.training.loss_monitor import LossMonitor, LossScale
from fast_nst.training.motion import Motion, motion_of
from fast_nst.training.objective import Objective
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.weight_average import WeightAverage

__all__ = ["Rows", "TrainingStep"]

Rows = Callable[[int, int], Tensor]
"""from a step, counted from 1, and the number of this process's images to their rows, ``(B,)`` int64"""


# A row sees its own style alone, once in so many steps; at the rate of the shared convolutions it would not
# leave its beginning before they are trained.
ROWS_FASTER = 5.0


def _groups(network: Network) -> list[dict[str, Any]]:
    """The parameters with their factors of the learning rate."""
    rows = network.row_parameters() if isinstance(network, GalleryNet) else []
    own = {id(parameter) for parameter in rows}
    shared = [p for p in network.parameters() if id(p) not in own and p.requires_grad]
    groups = [{"params": shared, "faster": 1.0}, {"params": rows, "faster": ROWS_FASTER}]
    return [group for group in groups if group["params"]]


class TrainingStep:
    """Takes optimizer steps; holds all that a run learns.

    Args:
        network: updated in place.
        objective: what is minimized.
        averaging: share of the steps over which `average` is taken.
        temporal: weight of the temporal loss; 0 for none.
        border: weight of the border loss, of the first image of each batch; 0 for none.
        seed: of its motions.
        rows: of a network of many styles: the rows of a step's images; None for one style.
        device, precision: where and in which arithmetic the convolutions run.
        memory_format: of images, as the network and the objective have it.
        compiled: use torch.compile; should that fail or give wrong results, the steps are taken without,
            after a warning.
        trial: see `BackwardPass`.
        group: the processes that share each batch.

    Attributes:
        optimizer: a fused Adam.
        average: the network with averaged weights, the one to be used.
        loss_monitor: judges each step; a bad step changes no weight, moment or statistic.
        backward: computes losses and gradients.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        *,
        averaging: float,
        temporal: float = 0.0,
        border: float = 0.0,
        seed: int = 0,
        rows: Rows | None = None,
        device: torch.device,
        precision: str,
        memory_format: torch.memory_format = torch.channels_last,
        compiled: bool,
        trial: CompileTrial | None = None,
        group: ProcessGroup,
    ) -> None:
        self.network, self.objective, self.group = network, objective, group
        self._row_count = network.config.rows if isinstance(network, GalleryNet) else 0
        self.device, self.precision, self._memory_format = device, precision, memory_format
        self.temporal, self.seed, self._rows = temporal, seed, rows
        # Of one image, which one process has: over many steps all are seen.
        self.border = border * group.size if group.is_main else 0.0
        self.optimizer = torch.optim.Adam(_groups(network), fused=True)
        self.average = WeightAverage(network, averaging)
        self.gradient_limit = GradientLimit(network.parameters())
        self.loss_monitor = LossMonitor(device)
        self.loss_scale = LossScale(device) if precision == "fp16" else None
        self._statistics = [b for b in network.buffers() if b.is_floating_point()]  # batch norm's
        self._parallel: nn.Module = group.wrap(network)
        self.backward = BackwardPass(
            self._forward, network, compiled=compiled, precision=precision, trial=trial, group=group
        )

    def __call__(self, images: Tensor, rate: float, step: int, inputs: Tensor | None = None) -> Terms:
        """One step with that learning rate.

        Args:
            images: ``(B, 3, S, S)``, RGB, [0, 1]; this process's share of the batch.
            step: of the run, counted from 1.
            inputs: ``(B, 3, H, W)``, what the network gets; None: the images.

        Returns:
            The terms before the update, of the whole batch, on the device, detached.
        """
        for settings in self.optimizer.param_groups:
            settings["lr"] = rate * settings["faster"]
        images = images.contiguous(memory_format=self._memory_format)
        inputs = None if inputs is None else inputs.contiguous(memory_format=self._memory_format)
        before = [buffer.clone() for buffer in self._statistics]
        rows = None if self._rows is None else to_device(self._rows(step, len(images)), images.device)
        batch = BatchTensors(images if inputs is None else inputs, images, self._motion(images, step), rows)
        terms = self.backward(batch, None if self.loss_scale is None else self.loss_scale.scale)
        # A gradient that only the loss scale makes overflow costs this step, and is no sign of a lost run.
        forgiven = None if self.loss_scale is None else self.loss_scale.scale > self.loss_scale.LEAST
        # A nearly flat photograph that the identity row changes a little has a relative error far above all
        # other terms: no sign of a lost run, and just what that row has to learn.
        usual = total(terms) - getattr(terms, "identity", 0.0)
        bad = self.loss_monitor(usual, self._limit_gradients(), forgiven)
        # A fused optimizer that finds this set leaves weights and moments alone, without asking the device.
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.optimizer.step()
        for buffer, old in zip(self._statistics, before, strict=True):
            buffer.copy_(torch.where(bad > 0, old, buffer))
        self.average.update(self.network, step)
        return terms

    def _limit_gradients(self) -> Tensor:
        """Undo the loss scale and limit the gradients; 1.0 where they are not finite."""
        if self.loss_scale is None:
            return self.gradient_limit()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, 1 / self.loss_scale.scale)
        not_finite = self.gradient_limit()
        self.loss_scale.update(not_finite)
        return not_finite

    def _motion(self, images: Tensor, step: int) -> Motion | None:
        if not self.temporal:
            return None
        return motion_of(self.seed, step, images, rank=self.group.rank, processes=self.group.size)

    def _forward(
        self, inputs: Tensor, images: Tensor, motion: Motion | None, rows: Tensor | None = None
    ) -> Terms:
        styles = () if rows is None else (rows,)
        mixture = () if rows is None else (one_hot(rows, self._row_count).float(),)
        with autocast(self.device, self.precision):
            results = self._parallel(inputs, *mixture)
            terms = self.objective(results, self.objective.content_target(images, *styles))
            if self.border:
                context = painted_in_context(self.network, inputs[:1], self._memory_format)
                terms = terms._replace(border=self.border * border_error(results[:1], context))
            if motion is None:
                return terms
            moved = motion.disturbed(images).contiguous(memory_format=self._memory_format)
            change = motion.disagreement(results, self._parallel(moved, *mixture))
            return terms._replace(temporal=self.temporal * change)

    def running_values(self) -> dict[str, float]:
        """What the next steps depend on besides tensors of the network's size, by name."""
        return {name: float(value) for name, value in self._scalars().items()}

    def restore(self, values: dict[str, float]) -> None:
        """Put back what `running_values` gave."""
        for name, value in self._scalars().items():
            if name in values:  # a state of another precision has no loss scale
                value.fill_(values[name])

    def _scalars(self) -> dict[str, Tensor]:
        monitor, scale = self.loss_monitor, self.loss_scale
        scalars = {"gradient_norm": self.gradient_limit.mean, "loss": monitor.mean, "seen": monitor.seen}
        scalars |= {"in_a_row": monitor.in_a_row, "skipped": monitor.skipped}
        if scale is not None:
            scalars |= {"scale": scale.scale, "good": scale.good}
        return scalars

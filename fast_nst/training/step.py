"""One optimizer step: photographs are painted or enlarged, the pictures judged, the network corrected."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fast_nst.models.losses import LossTerms, PerceptualLoss
from fast_nst.models.reconstruction import ReconstructionLoss, ReconstructionTerms
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.upscale_net import UpscaleNet
from fast_nst.system.compiling import Compiled
from fast_nst.system.device import autocast
from fast_nst.training.gradient_limit import GradientLimit
from fast_nst.training.loss_monitor import LossMonitor, LossScale
from fast_nst.training.motion import Motion, motion_of
from fast_nst.training.process_group import ProcessGroup
from fast_nst.training.weight_average import WeightAverage

__all__ = ["Terms", "TrainingStep"]

Terms = LossTerms | ReconstructionTerms


class TrainingStep:
    """Takes a network one step further, its forward pass compiled where asked. Holds all that a run learns.

    Args:
        network: corrected in place.
        objective: what is minimized.
        averaging: share of the steps over which `average` is taken.
        temporal: weight of what painted pictures differ by when the photographs only move; 0 for none.
        seed: of those motions.
        device, precision: where and in which arithmetic the convolutions run.
        compiled: by torch.compile; should that fail, the steps are taken without, after a warning.
        ranks: the processes that share each batch.

    Attributes:
        optimizer: a fused Adam.
        average: the network with averaged weights, the one to be used.
        watch: of the losses; a bad step changes no weight, moment or statistic.
    """

    def __init__(
        self,
        network: TransformNet | UpscaleNet,
        objective: PerceptualLoss | ReconstructionLoss,
        *,
        averaging: float,
        temporal: float = 0.0,
        seed: int = 0,
        device: torch.device,
        precision: str,
        compiled: bool,
        group: ProcessGroup,
    ) -> None:
        self.network, self.objective, self.group = network, objective, group
        self.device, self.precision = device, precision
        self.temporal, self.seed = temporal, seed
        self.optimizer = torch.optim.Adam(network.parameters(), fused=True)
        self.average = WeightAverage(network, averaging)
        self.limit = GradientLimit(network.parameters())
        self.watch = LossMonitor(device)
        self.scale = LossScale(device) if precision == "fp16" else None
        self._statistics = [b for b in network.buffers() if b.is_floating_point()]  # batch norm's
        self._painter: nn.Module = group.wrap(network)
        self.compile(compiled)

    def compile(self, compiled: bool) -> None:
        """From now on take steps compiled, or not."""
        self.judge = Compiled(self._judge, on=compiled)

    def __call__(self, images: Tensor, rate: float, step: int, given: Tensor | None = None) -> Terms:
        """One step with that learning rate.

        Args:
            images: ``(B, 3, S, S)``, RGB, [0, 1]; this process's share of the batch.
            step: of the run, counted from 1.
            given: likewise, what the network gets; None: the images.

        Returns:
            The terms before the step, of the whole batch, on the device, detached.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before = [buffer.clone() for buffer in self._statistics]
        motion = self._motion(images, step) if self.temporal else None
        terms = self.judge(images if given is None else given, images, motion)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms.total if self.scale is None else terms.total * self.scale.scale)
        found = type(terms)(*self.group.mean(torch.stack([term.detach() for term in terms])).unbind())
        # A gradient that only the loss's scale makes overflow costs this step, and is no sign of a lost run.
        forgiven = None if self.scale is None else self.scale.scale > self.scale.LEAST
        bad = self.watch(found.total, self._limited(), forgiven)
        # A fused optimizer that finds this set leaves weights and moments alone, without asking the device.
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.optimizer.step()
        for buffer, old in zip(self._statistics, before, strict=True):
            buffer.copy_(torch.where(bad > 0, old, buffer))
        self.average.update(self.network, step)
        return found

    def _limited(self) -> Tensor:
        """Undo the loss's scale and limit the gradients; 1.0 where they are not finite."""
        if self.scale is None:
            return self.limit()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, 1 / self.scale.scale)
        broken = self.limit()
        self.scale.update(broken)
        return broken

    def _motion(self, images: Tensor, step: int) -> Motion:
        return motion_of(self.seed, step, images, rank=self.group.rank, group=self.group.size)

    def _judge(self, given: Tensor, images: Tensor, motion: Motion | None) -> Terms:
        with autocast(self.device, self.precision):
            painted = self._painter(given)
            terms: Terms = self.objective(painted, self.objective.content_target(images))
            if motion is None:
                return terms
            assert isinstance(terms, LossTerms)  # whatever else is learnt has no frames
            again = self._painter(motion.disturbed(images).contiguous(memory_format=torch.channels_last))
            return terms._replace(temporal=self.temporal * motion.disagreement(painted, again))

    def memory(self) -> dict[str, float]:
        """What the next steps depend on besides tensors of the network's size, by name."""
        return {name: float(value) for name, value in self._scalars().items()}

    def remember(self, memory: dict[str, float]) -> None:
        """Put back what `memory` gave."""
        for name, value in self._scalars().items():
            if name in memory:  # a state of another precision has no loss scale
                value.fill_(memory[name])

    def _scalars(self) -> dict[str, Tensor]:
        scalars = {"gradient_norm": self.limit.mean, "loss": self.watch.mean, "seen": self.watch.seen}
        scalars |= {"in_a_row": self.watch.in_a_row, "skipped": self.watch.skipped}
        if self.scale is not None:
            scalars |= {"scale": self.scale.scale, "good": self.scale.good}
        return scalars

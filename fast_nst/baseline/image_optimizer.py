"""Per-image optimization: minimizes an objective over the pixels. Yields reports; the caller prints.

    optimizer = PictureOptimizer(content_image, style_image, GatysConfig())
    for report in optimizer:
        print(report)
    save_image("stylized.png", optimizer.picture())

Gatys, Ecker and Bethge 2016; with the objective of a trained style, the baseline of Johnson et al. 2016.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from fast_nst.baseline.initialization import fit_longer, median_filter, resize, starting_image
from fast_nst.baseline.objective import Objective, load_features, make_objective
from fast_nst.baseline.optimizers import LBFGS, Adam, PixelOptimizer
from fast_nst.config.optimize import GatysConfig
from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.loss_precision import loss_precision
from fast_nst.models.losses import LossTerms
from fast_nst.models.vgg import VGGFeatures
from fast_nst.report import StepReport
from fast_nst.system.compiling import Compiled
from fast_nst.system.device import autocast, choose_device, has_compiler

__all__ = ["PictureOptimizer", "optimize_image"]

_log = logging.getLogger("fast_nst")

SMALLEST_SIDE = 16  # pixels: one is left of it after four poolings
# Pixels times iterations: torch.compile takes 20 seconds on a CPU and saves a quarter of each iteration.
COMPILE_PAYS_AFTER = 150 * 256 * 256
# Relative error of a loss from the rounding of activations.
NOISE = {"fp32": 1e-7, "bf16": 2e-4}


class PictureOptimizer:
    """Stylizes one content image; iterate over it to run, each item a `StepReport`.

    Args:
        content_image, style_image: ``(3, H, W)``, RGB, [0, 1], of any sizes.
        config: objective, optimizer, sizes.
        features: a loss network for the layers of ``config``, to share between runs; None loads one.
        objective: minimized in place of the one that ``config`` describes; on ``config.device``.

    Attributes:
        step: evaluations so far.
        best_loss: the lowest objective found at the current scale, that of `picture`.
        failure: why the run ended early, in one line, or None.

    Raises:
        InputError: a setting, picture or device that cannot be used, found before the first iteration.
    """

    def __init__(
        self,
        content_image: Tensor,
        style_image: Tensor,
        config: GatysConfig | None = None,
        *,
        features: VGGFeatures | None = None,
        objective: Objective | None = None,
    ) -> None:
        c = self.config = config or GatysConfig()
        for name, image in (("content image", content_image), ("style image", style_image)):
            if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point() or not image.numel():
                found = f"{image.dtype} of shape {tuple(image.shape)}"
                raise InputError(f"the {name} must be a float (3, H, W) tensor in [0, 1], got {found}")
        self.device = choose_device(c.device)
        self.precision = loss_precision(c.precision, self.device, c.loss_network)
        self.content_image = content_image if c.size is None else fit_longer(content_image, c.size)
        self.style_image = style_image
        self._check_size()
        if features is None and objective is None:
            features = load_features(
                c, (self.content_image, fit_longer(style_image, max(self.content_image.shape[-2:])))
            )
        # On a CPU, channels_last speeds bf16 convolutions up and slows fp32 ones down.
        packed = self.precision != "fp32" or self.device.type == "cuda"
        self._layout = torch.channels_last if packed else torch.contiguous_format
        self.features = None if features is None else features.to(self.device).to(memory_format=self._layout)
        self._objective = objective
        self.step = 0
        self.elapsed = 0.0
        self.failure: str | None = None
        self.best = starting_image(c.start, self.content_image, style_image, c.seed)[None]
        self.best_loss = math.inf
        self._stop = False

    def _check_size(self) -> None:
        height, width = self.content_image.shape[-2:]
        if min(height, width) >> (self.config.scales - 1) >= SMALLEST_SIDE:
            return
        first = f"--scales {self.config.scales} starts" if self.config.scales > 1 else "the result is"
        raise InputError(
            f"{first} with a side under {SMALLEST_SIDE} pixels, at {width} x {height}; give "
            + ("fewer, or a larger --size" if self.config.scales > 1 else "a larger --size or content image")
        )

    @property
    def steps(self) -> int:
        """Iterations of the whole run, all scales."""
        return self.config.steps * self.config.scales

    @property
    def finished(self) -> bool:
        """Whether all iterations are done, or the time limit is reached."""
        c = self.config
        return self.step >= self.steps or (c.minutes is not None and self.elapsed >= 60 * c.minutes)

    def stop(self) -> None:
        """End the run after the current iteration; `picture` gives the best result so far."""
        self._stop = True

    def picture(self) -> Tensor:
        """The best result so far, ``(3, H, W)`` at full size in [0, 1], median filtered where configured."""
        shown = resize(self.best[0].detach().float().cpu().clamp(0, 1), *self.content_image.shape[-2:])
        return median_filter(shown) if self.config.median else shown

    def __iter__(self) -> Iterator[StepReport]:
        sizes = [max(self.content_image.shape[-2:]) >> scale for scale in reversed(range(self.config.scales))]
        for size in sizes:
            if not self._ended:
                yield from self._minimize(fit_longer(self.content_image, size).to(self.device))

    @property
    def _ended(self) -> bool:
        return self.finished or self._stop or self.failure is not None

    def _minimize(self, content_image: Tensor) -> Iterator[StepReport]:
        """Run one scale, from the best result of the previous scale or from the start."""
        c = self.config
        began = time.perf_counter() - self.elapsed
        height, width = content_image.shape[-2:]
        if self.step:
            start = resize(self.best[0], height, width)
        else:
            start = starting_image(c.start, content_image, self.style_image.to(self.device), c.seed)
        optimizer = self._optimizer(start[None].to(self.device))
        objective = self._objective or make_objective(self._network, self._style_image_for(content_image), c)
        loss = Compiled(objective, on=self._compiles(height * width))
        target = objective.content_target(content_image[None].contiguous(memory_format=self._layout))
        self.best, self.best_loss = optimizer.point, math.inf
        mark, mark_step, end = time.perf_counter(), self.step, self.step + c.steps
        # Reports are of the current iterate: a trial that the line search rejects can be far higher.
        # The first evaluation is always accepted.
        accepted: list[float] = []
        while not self._ended and self.step < end:
            terms, gradient = self._evaluate(loss, optimizer.point, target)
            values = [term.item() for term in terms]
            total = sum(values)
            self.step += 1
            self.elapsed = time.perf_counter() - began
            if not math.isfinite(total) or not gradient.isfinite().all():
                self.failure = f"the loss or its gradient is not finite at iteration {self.step}"
                return
            if total < self.best_loss:
                self.best, self.best_loss = optimizer.point, total
            if optimizer.tell(total, gradient):
                accepted = values
            if self._ended or self.step == end or self.step % c.report_every == 0:
                now = time.perf_counter()
                yield self._report(accepted, (self.step - mark_step) / max(now - mark, 1e-9))
                began += time.perf_counter() - now  # time spent by the caller does not count
                mark, mark_step = time.perf_counter(), self.step

    @property
    def _network(self) -> VGGFeatures:
        assert self.features is not None
        return self.features

    def _style_image_for(self, content_image: Tensor) -> Tensor:
        """The style image at the scale of the content image."""
        longer = max(content_image.shape[-2:])
        if self.config.style_size == "own":
            longer = max(
                1, round(max(self.style_image.shape[-2:]) * longer / max(self.content_image.shape[-2:]))
            )
        return fit_longer(self.style_image, longer).to(self.device)

    def _optimizer(self, start: Tensor) -> PixelOptimizer:
        c = self.config
        bounds = (0.0, 1.0) if c.bounds == "projected" else None
        if c.optimizer == "lbfgs":
            noise = NOISE.get(self.precision, 0.0)
            return LBFGS(start, history=c.history, bounds=bounds, restart_every=c.restart_every, noise=noise)
        unit = MAX_LEVEL if c.pixels == "levels" else 1
        # A gradient by levels is so many times smaller, and so is Adam's root of its square.
        rate, epsilon = c.learning_rate / unit, c.epsilon * unit
        return Adam(start, rate=rate, beta1=c.beta1, epsilon=epsilon, bounds=bounds)

    def _compiles(self, pixels: int) -> bool:
        """Whether to compile the iterations at one scale; ``auto``: where possible and faster overall."""
        c = self.config
        if c.compile != "auto":
            return c.compile == "on"
        long = c.minutes is None and c.steps * pixels >= COMPILE_PAYS_AFTER
        return long and self.device.type == "cpu" and has_compiler(self.device)

    def _evaluate(
        self,
        loss: Compiled[[Tensor, dict[str, Tensor]], LossTerms],
        point: Tensor,
        target: dict[str, Tensor],
    ) -> tuple[LossTerms, Tensor]:
        """The terms at a point, and the gradient of their sum."""
        images = point.detach().contiguous(memory_format=self._layout).requires_grad_()
        with autocast(self.device, self.precision):
            terms = loss(images, target)
        (gradient,) = torch.autograd.grad(terms.total, images)
        return LossTerms(*(term.detach() for term in terms)), gradient.contiguous()

    def _report(self, values: list[float], rate: float) -> StepReport:
        c = self.config
        # In iterations of the current scale: one of the next takes four times as long.
        scales_left, left = divmod(self.steps - self.step, c.steps)
        remaining = (left + sum(4**n for n in range(1, scales_left + 1)) * c.steps) / rate
        if c.minutes is not None:
            remaining = min(remaining, max(0.0, 60 * c.minutes - self.elapsed))
        rate_of_learning = c.learning_rate if c.optimizer == "adam" else 0.0
        content, style, tv, grid, *_ = values
        return StepReport(
            self.step,
            self.steps,
            content,
            style,
            tv,
            grid,
            rate_of_learning,
            self.elapsed,
            rate,
            remaining,
            unit="iterations",
        )


def optimize_image(content_image: Tensor, style_image: Tensor, config: GatysConfig | None = None) -> Tensor:
    """Stylize a content image by optimizing its pixels.

    Args:
        content_image, style_image: ``(3, H, W)``, RGB, [0, 1], of any sizes.
        config: objective, optimizer, sizes; ``config.size`` is the longer side of the result.

    Returns:
        ``(3, H, W)``, fp32 in [0, 1], on the CPU: the image with the lowest objective found. If the loss
        becomes infinite or NaN, the run ends with the best image before it and logs a warning.

    Raises:
        InputError: a setting, picture, layer or device that cannot be used.
        WeightsError: VGG weights that cannot be found or used.
    """
    optimizer = PictureOptimizer(content_image, style_image, config)
    for _ in optimizer:
        pass
    if optimizer.failure is not None:
        _log.warning("%s; the result is the best image before it", optimizer.failure)
    return optimizer.picture()

"""In which form steps are fastest on this processor: threads, precision and memory layout, as measured.

Steps of the real network and objective on one small crop, a second or two in all, once for a processor,
network and version of torch; the times are kept in the user's cache folder.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.config import RunConfig
from fast_nst.io.measured import remembered_times
from fast_nst.models.checkpoint import Network
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.serialization import to_dict
from fast_nst.system.cpu import thread_limit
from fast_nst.system.device import autocast, choose_precision, cpu_has_bf16, processor_key
from fast_nst.system.timing import fastest, measure_in_turn
from fast_nst.training.objective import CallableObjective, Objective
from fast_nst.training.process_group import ProcessGroup

__all__ = ["StepForm", "choose_step_form", "form_times", "thread_times", "using_threads"]

SIDE, CALLS = 96, 2  # of a crop, pixels; steps timed in each form
CHANNELS_LAST, CONTIGUOUS = "channels_last", "contiguous"
LAYOUTS = {CHANNELS_LAST: torch.channels_last, CONTIGUOUS: torch.contiguous_format}
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class StepForm:
    """How the steps of a run are computed."""

    precision: str
    """of the convolutions"""
    layout: str = CHANNELS_LAST
    """of images, features and kernels in memory: channels_last or contiguous"""
    threads: int | None = None
    """of the processor; None: as many as torch is set to"""
    times: Mapping[str, float] = field(default_factory=dict)
    """milliseconds of a step by form, where they decided it"""

    def __str__(self) -> str:
        if not self.times:
            return self.precision
        words = [self.precision, self.layout, *([_threads(self.threads)] if self.threads else [])]
        times = [f"{name} {time:.0f} ms" for name, time in self.times.items()]
        return f"{', '.join(words)} (measured: {', '.join(times)})".replace("_", " ")

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as torch has it."""
        return LAYOUTS[self.layout]

    @property
    def saved(self) -> dict[str, str]:
        """What a resumed run keeps, by the fields of a state: another form rounds differently."""
        return {"precision": self.precision, "layout": self.layout}


def choose_step_form(
    config: RunConfig,
    network: Network,
    objective: Objective,
    *,
    device: torch.device,
    group: ProcessGroup,
    saved: Mapping[str, str] | None = None,
) -> StepForm:
    """The form of a run's steps; where ``--precision`` is not auto, only what it says.

    Args:
        saved: `StepForm.saved` of the state that is resumed, which keeps it; without a precision where the
            state was saved before precisions were measured. None: a new run.
    """
    by_device = choose_precision(config.precision, device)
    if config.precision != "auto":
        return StepForm(by_device)
    if saved is not None:
        # When nothing was measured, the processor's flag decided.
        flagged = "bf16" if device.type == "cpu" and cpu_has_bf16() else by_device
        form = StepForm(saved.get("precision") or flagged, saved.get("layout") or CHANNELS_LAST)
    else:
        form = StepForm(by_device)
    if device.type != "cpu" or isinstance(objective, CallableObjective):
        return form
    alone, name = objective.alone(), type(objective).__name__
    threads, times = _choose_threads(network, alone, name, group)
    if saved is None:
        with using_threads(threads):
            found = form_times(network, alone, name)
        precision, layout = fastest(found).split()
        form, times = StepForm(precision, layout), times | found
    # The times differ between processes, precision and layout must not.
    precision, layout = group.gather(f"{form.precision} {form.layout}")[0].split()
    return StepForm(precision, layout, threads, times)


def _choose_threads(
    network: Network, objective: Any, name: str, group: ProcessGroup
) -> tuple[int | None, dict[str, float]]:
    """Half of the threads, and half of those, as long as that is faster; not where the user limits them."""
    times: dict[str, float] = {}
    if thread_limit() is not None or group.size > 1:
        return None, times
    threads = torch.get_num_threads()
    while threads > 1:
        pair = thread_times(network, objective, name, (threads, threads // 2))
        times |= pair
        if fastest(pair) == _threads(threads):
            break
        threads //= 2
    return (threads if times else None), times


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Let torch use that many threads of the processor; None: those that it uses."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def form_times(network: Network, objective: Any, name: str) -> dict[str, float]:
    """Milliseconds of a training step on this processor by precision and layout, such as ``fp32 contiguous``.

    From the cache where they are known; bf16 where the processor says that it has it.

    Args:
        network: on the CPU; it is left as it is, like the objective.
        objective: as the training step has it.
        name: of the objective and what it depends on.
    """
    precisions = ("fp32", "bf16") if cpu_has_bf16() else ("fp32",)
    forms = {f"{p} {layout}": StepForm(p, layout) for p in precisions for layout in LAYOUTS}
    return _measured("forms", network, objective, name, forms)


def thread_times(network: Network, objective: Any, name: str, counts: tuple[int, int]) -> dict[str, float]:
    """Milliseconds of a training step by the number of threads, such as ``2 threads``; see `form_times`.

    Where the second number is the faster, nothing is kept: another program may have been the reason.
    """
    forms = {_threads(count): StepForm("fp32", threads=count) for count in counts}
    return _measured(
        "threads", network, objective, name, forms, kept=lambda times: fastest(times) == next(iter(times))
    )


def _measured(
    what: str,
    network: Network,
    objective: Any,
    name: str,
    forms: Mapping[str, StepForm],
    *,
    kept: Callable[[dict[str, float]], bool] = bool,
) -> dict[str, float]:
    key = f"{what} {name} {json.dumps(to_dict(network.config))} {processor_key()}"

    def measure() -> dict[str, float]:
        calls = {name: _step(network, objective, form) for name, form in forms.items()}
        found = measure_in_turn(calls, calls=CALLS, warmup=1, device=_CPU)
        return {name: timing.median for name, timing in found.items()}

    return remembered_times(key, tuple(forms), measure, kept=kept)


def _step(network: Network, objective: Any, form: StepForm) -> Callable[[], object]:
    """A step in that form, on copies: a batch norm would take the measurement into its statistics."""
    tried, judge = copy.deepcopy(network), copy.deepcopy(objective)
    for module in (tried, judge):
        module.to(memory_format=form.memory_format)
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=form.memory_format)
    factor = getattr(network.config, "factor", 1)
    inputs = images if factor == 1 else F.avg_pool2d(images, factor)
    weights = [parameter for parameter in tried.parameters() if parameter.requires_grad]
    rows: tuple[Tensor, ...] = ()
    mixture: tuple[Tensor, ...] = ()
    if isinstance(network, GalleryNet):
        rows = (torch.tensor([network.config.rows - 1]),)
        mixture = (torch.eye(network.config.rows)[rows],)

    def step() -> object:
        with using_threads(form.threads), autocast(_CPU, form.precision):
            terms = judge(tried(inputs, *mixture), judge.content_target(images, *rows))
            return torch.autograd.grad(sum(terms), weights, allow_unused=True)

    return step

"""Whether torch.compile makes a step faster on this processor: timed once, beside eager steps.

The times are kept in the user's cache folder, for the processor, the network, the size of the batches and the
version of torch; the next run that would gain nothing does not wait for the compiler.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from fast_nst.config import RunConfig
from fast_nst.io.measured import recall_times, remember_times
from fast_nst.serialization import to_dict
from fast_nst.system.device import processor_key
from fast_nst.system.timing import measure_in_turn

__all__ = ["CompileTrial"]

_NAMES, _CALLS = ("eager", "compiled"), 3


class CompileTrial:
    """The trial of one kind of run.

    Args:
        config: of the run.
        precision: of its convolutions.
    """

    def __init__(self, config: RunConfig, precision: str) -> None:
        sizes = [config.batch_size, config.start_size or config.image_size]
        words = [json.dumps(to_dict(config.network), sort_keys=True), config.loss_network, precision, *sizes]
        self._key = " ".join(map(str, ["torch.compile", *words, processor_key()]))
        self.times = recall_times(self._key, _NAMES)
        """milliseconds of a step, eager and compiled, where they are known"""

    def measure(self, eager: Callable[[], object], compiled: Callable[[], object]) -> None:
        """Time steps of both kinds in turn; the compiled one is compiled already."""
        found = measure_in_turn({"eager": eager, "compiled": compiled}, calls=_CALLS, warmup=0)
        self.times = {name: timing.median for name, timing in found.items()}
        remember_times(self._key, self.times)

    @property
    def pays(self) -> bool:
        """False where it is known that compiled steps are no faster."""
        return self.times is None or self.times["compiled"] < self.times["eager"]

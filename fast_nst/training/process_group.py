"""The processes of one training run: ``torchrun --nproc-per-node N train.py …``, or just this one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["ProcessGroup", "is_distributed", "joined_process_group"]

# Longer than the first process takes to save or to validate, shorter than a person waits.
TIMEOUT = timedelta(minutes=5)


def is_distributed() -> bool:
    """Whether torchrun, or something that sets its variables, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def joined_process_group() -> Iterator[None]:
    """Join the other processes for the time of a run, if there are any: nccl on GPUs, gloo on CPUs."""
    if not is_distributed() or dist.is_initialized():
        yield
        return
    # Both: tensors of a GPU go by nccl, messages between processes by gloo.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


class ProcessGroup:
    """The group of processes that train one network together.

    Attributes:
        rank: of this process, from 0; only 0 writes.
        size: how many there are.
    """

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if together else 0
        self.size = dist.get_world_size() if together else 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """`name`, where a GPU is asked for without its number: the one that belongs to this process."""
        if self.size > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            return f"cuda:{os.environ.get('LOCAL_RANK', self.rank)}"
        return name

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over all processes during the backward pass."""
        if self.size == 1:
            return network
        parallel: Any = nn.parallel.DistributedDataParallel
        names = inspect.signature(parallel).parameters  # renamed in torch 2.15
        option = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        wrapped: nn.Module = parallel(network, **{option: False})
        return wrapped

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes of a tensor without gradient."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def maximum(self, *values: float) -> list[float]:
        """The largest of each value over all processes: what one of them says, all do."""
        if self.size == 1:
            return list(values)
        agreed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return list(map(float, agreed))

    def barrier(self) -> None:
        """Wait for all processes to come here."""
        self.maximum(0.0)

    def gather(self, text: str) -> list[str]:
        """What every process has to say, in the order of their ranks."""
        if self.size == 1:
            return [text]
        data = (
            torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
            if text
            else torch.empty(0, dtype=torch.uint8)
        )
        longest = int(self.maximum(len(data))[0])
        padded = torch.zeros(longest + 8, dtype=torch.uint8)  # the length, then the bytes
        padded[:8] = torch.tensor([len(data)]).view(torch.uint8)
        padded[8 : 8 + len(data)] = data
        everyone = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(everyone, padded)
        lengths = [int(one[:8].view(torch.int64)) for one in everyone]
        return [bytes(one[8 : 8 + n].tolist()).decode() for one, n in zip(everyone, lengths, strict=True)]

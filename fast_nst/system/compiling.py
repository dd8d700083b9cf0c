"""Functions compiled by torch.compile, or taken as they are where that cannot be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch

from fast_nst.errors import first_line

__all__ = ["Compiled"]

_log = logging.getLogger("fast_nst")

P = ParamSpec("P")
R = TypeVar("R")

# Versions of a function's code that are kept. torch's own limit of 8 is shared by all objects of a class, and
# what comes after is run without being compiled and without a word.
VERSIONS = 256


class Compiled(Generic[P, R]):
    """A function, compiled at its first call for each shape of its arguments.

    Should that fail, for want of a compiler, headers or Triton, it is called as it is, after a warning.

    Args:
        function: of tensors, a module for example.
        on: whether to compile it at all.
    """

    def __init__(self, function: Callable[P, R], *, on: bool) -> None:
        self.function = function
        # Not dynamic: a run sees few sizes, and code for any size is slower.
        self.call: Callable[P, R] = torch.compile(function, dynamic=False) if on else function

    def __call__(self, *arguments: P.args, **options: P.kwargs) -> R:
        if self.call is self.function:
            return self.function(*arguments, **options)
        limits = torch._dynamo.config.patch(recompile_limit=VERSIONS, accumulated_recompile_limit=VERSIONS)
        try:
            with limits:
                return self.call(*arguments, **options)
        except torch._dynamo.exc.TorchDynamoException as error:
            _log.warning("torch.compile failed, going on without it: %s", first_line(error))
            self.call = self.function
            return self.function(*arguments, **options)

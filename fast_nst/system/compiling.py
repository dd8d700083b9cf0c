"""Functions compiled by torch.compile; where that is not possible they run as they are."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch

from fast_nst.errors import first_line
from fast_nst.system.folders import UnusableFolderError, private_folder

__all__ = ["Compiled", "use_private_cache"]

_log = logging.getLogger("fast_nst")

P = ParamSpec("P")
R = TypeVar("R")

# Versions of a function's code that are held. torch's own limit of 8 is shared by all objects of a class, and
# what comes after it runs without being compiled and without a message.
VERSIONS = 256


_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def use_private_cache() -> None:
    """Let torch.compile load code only from a folder that nobody else can write to.

    torch's own is ``/tmp/torchinductor_USER``, where another user can put code before. A folder that the
    user has chosen with ``TORCHINDUCTOR_CACHE_DIR`` stays. Where there is no cache folder, it is a new one
    for this process.
    """
    chosen = os.environ.get(_CACHE)
    shared = os.path.join(tempfile.gettempdir(), "torchinductor_")  # torch sets the variable to it
    if chosen and not chosen.startswith(shared):
        return
    try:
        os.environ[_CACHE] = str(private_folder("torch").absolute())
    except (UnusableFolderError, OSError) as error:
        _log.warning("compiled code is not cached: %s", first_line(error))
        folder = tempfile.TemporaryDirectory(prefix="fast-nst-torch-", ignore_cleanup_errors=True)
        _folders.append(folder)  # removed when the process ends
        os.environ[_CACHE] = folder.name


_folders: list[tempfile.TemporaryDirectory[str]] = []


class Compiled(Generic[P, R]):
    """A function, compiled at its first call for each shape of its arguments.

    Should that fail, for want of a compiler, headers or Triton, it runs as it is, after a warning.

    Args:
        function: of tensors, a module for example.
        on: whether to compile it at all.
        dynamic: True: one code for all shapes; None: from the second shape on; False: code for each shape,
            the fastest where there are few.
    """

    def __init__(self, function: Callable[P, R], *, on: bool, dynamic: bool | None = False) -> None:
        self.function = function
        self.call: Callable[P, R] = function
        if on:
            use_private_cache()
            # "No CUDA runtime is found": where there is none, nobody has asked for it.
            logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
            self.call = torch.compile(function, dynamic=dynamic)

    @property
    def on(self) -> bool:
        """Whether calls go through torch.compile; False once that has failed."""
        return self.call is not self.function

    def turn_off(self) -> None:
        """Run the function as it is from now on."""
        self.call = self.function

    def __call__(self, *arguments: P.args, **options: P.kwargs) -> R:
        if not self.on:
            return self.function(*arguments, **options)
        limits = torch._dynamo.config.patch(recompile_limit=VERSIONS, accumulated_recompile_limit=VERSIONS)
        try:
            with limits:
                return self.call(*arguments, **options)
        except torch._dynamo.exc.TorchDynamoException as error:
            _log.warning("torch.compile failed; running without it: %s", first_line(error))
            self.turn_off()
            return self.function(*arguments, **options)

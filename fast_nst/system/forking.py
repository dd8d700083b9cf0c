"""What a child process must renew after a fork: locks another thread held and threads do not survive it."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["call_in_child"]

_methods: list[weakref.WeakMethod[Callable[[], Any]]] = []


def call_in_child(method: Callable[[], Any]) -> None:
    """Call a bound method in every process forked from now on, before anything else runs there.

    The object is not kept alive. Where a system has no fork, nothing is registered.
    """
    _register()
    _methods[:] = [known for known in _methods if known() is not None]
    _methods.append(weakref.WeakMethod(method))


@functools.cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_call)


def _call() -> None:
    for known in _methods:
        if (method := known()) is not None:
            method()

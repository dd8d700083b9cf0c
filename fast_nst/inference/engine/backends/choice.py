"""Which engine and precision: what is asked for, or of what is installed the fastest as measured here.

Where more than one comes into question, each stylizes a small image a few times, once for a machine, network
and versions; the times are kept in the user's cache folder. Nothing is taken for fast because a processor's
flags say so: bf16 takes twice as long as fp32 on some that have it.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

import numpy as np

from fast_nst.config.stylize import Backend as Name
from fast_nst.config.stylize import EnginePrecision
from fast_nst.errors import InputError, first_line
from fast_nst.inference.engine.backends.base import Backend, EngineError, Source
from fast_nst.inference.engine.backends.candidates import (
    MEASURED,
    NEEDED,
    Candidate,
    candidates,
    check_choice,
    check_engine,
    is_installed,
)
from fast_nst.io.measured import remembered_times
from fast_nst.system.cpu import cpu_fingerprint, thread_limit
from fast_nst.system.timing import measure_in_turn

__all__ = ["advise_faster", "measured_times", "open_backend", "weighed_time"]

_log = logging.getLogger("fast_nst")

_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
_SIDE, _CALLS = 384, 2  # of the image that engines are measured on, pixels; how often
_MEASUREMENT = 2  # the version of it: times measured in another way are not taken


def open_backend(source: Source, *, backend: str, device: str, precision: str) -> Backend:
    """A trained network on an engine.

    An engine that is installed and does not work here is an error if it was asked for by name; ``auto``
    takes the next one, after a warning.

    Args:
        backend: ``auto``, ``torch``, ``compile``, ``openvino`` or ``onnx``.
        device: ``auto``, ``cpu``, ``cuda`` … as torch names them.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``; ``fastest`` is ``auto`` with int8 among
            what is measured.

    Raises:
        InputError: another word; an engine that cannot do what is asked; a device this machine lacks.
        EngineError: an engine that is not installed or broken.
    """
    check_choice("backend", backend, get_args(Name))
    check_choice("precision", precision, get_args(EnginePrecision))
    able = functools.partial(candidates, device, precision, normed=source.normed)
    fastest = functools.partial(
        _fastest, source=source, device=device, cost=_mere_time if precision == "fastest" else weighed_time
    )
    if backend == "auto" and precision == "int8":
        backend = "openvino"
    if backend != "auto":
        check_engine(backend, device, precision)
        try:
            return fastest(able(backend))
        except EngineError as error:
            cure = "--backend auto" if backend == "torch" else "--precision fp32 or --backend torch"
            if precision == "int8":
                cure = "--precision auto"
            raise EngineError(f"{error}; give {cure}") from error.__cause__
    last = Candidate("torch", "auto" if precision in MEASURED else precision)
    return fastest(able(), or_else=last)


@functools.cache  # once in a process
def advise_faster(backend: str, device: str, precision: str) -> None:
    """Say that OpenVINO would be faster, where it is not installed and could do the same."""
    if (
        device == "cpu"
        and backend in ("torch", "onnx")
        and precision != "fp16"
        and not is_installed("openvino")
    ):
        _log.warning(
            "OpenVINO would be faster on this processor: pip install %s", " ".join(NEEDED["openvino"])
        )


def _fastest(
    able: Sequence[Candidate],
    source: Source,
    device: str,
    cost: Callable[[Candidate, float], float],
    or_else: Candidate | None = None,
) -> Backend:
    """The fastest of the candidates that work here.

    Args:
        cost: what decides, of a candidate and its time.
        or_else: opened where none of them works, after warnings.

    Raises:
        EngineError: none works.
    """
    opened: dict[Candidate, Backend] = {}
    errors: dict[str, EngineError] = {}
    if len(able) > 1:
        able = _by_speed(able, source, device, cost, opened, errors)
    for candidate in [*able, or_else]:
        if candidate is None or candidate.engine in errors:
            continue  # as broken in another precision
        backend = opened.get(candidate) or _opened(candidate, source, device, errors)
        if backend is not None:
            for error in errors.values():
                _log.warning("%s; trying the next engine", error)
            return backend
    raise next(reversed(errors.values()))


def _by_speed(
    able: Sequence[Candidate],
    source: Source,
    device: str,
    cost: Callable[[Candidate, float], float],
    opened: dict[Candidate, Backend],
    errors: dict[str, EngineError],
) -> list[Candidate]:
    """The candidates, the fastest first; those that do not work are left out if it is found now.

    Args:
        cost: as `_fastest`.
        opened: gets what is opened to be measured.
        errors: gets what is wrong with the engines that do not work.
    """

    def measure() -> dict[str, float]:
        for candidate in able:
            if candidate.engine not in errors and (backend := _opened(candidate, source, device, errors)):
                opened[candidate] = backend
        if errors:
            raise _SomeFailedError
        return measured_times({str(candidate): engine for candidate, engine in opened.items()})

    names = [str(candidate) for candidate in able]
    try:
        times = remembered_times(_machine(source, able), names, measure)
    except _SomeFailedError:
        return list(opened)
    _log.info("engines measured: %s", ", ".join(f"{name} {time:.0f} ms" for name, time in times.items()))
    return sorted(able, key=lambda candidate: cost(candidate, times[str(candidate)]))


class _SomeFailedError(Exception):
    """Not all engines work; what the others take is not kept, since that may be mended."""


def _opened(
    candidate: Candidate, source: Source, device: str, errors: dict[str, EngineError]
) -> Backend | None:
    """A candidate's engine; None, with its error among the others, where it does not work."""
    try:
        return _working(candidate.engine, source, device, candidate.precision)
    except EngineError as error:
        errors[candidate.engine] = error
        return None


def weighed_time(candidate: Candidate, time: float) -> float:
    """What decides: the time, and a third more in bf16, which rounds more and has to be worth it."""
    return time * (4 / 3 if candidate.precision == "bf16" else 1)


def _mere_time(candidate: Candidate, time: float) -> float:
    return time


def measured_times(engines: Mapping[str, Backend]) -> dict[str, float]:
    """Milliseconds that each takes for a small image, medians in turn."""
    image = np.random.default_rng(0).integers(0, 256, (1, _SIDE, _SIDE, 3), np.uint8)
    calls = {name: functools.partial(engine.run_uint8, image) for name, engine in engines.items()}
    times = measure_in_turn(calls, calls=_CALLS, warmup=0, settle=1)  # which warms up too
    return {name: time.median for name, time in times.items()}


def _machine(source: Source, able: Sequence[Candidate]) -> str:
    """All that the times depend on."""
    shape = {key: source.metadata.get(key) for key in ("network", "upscaler", "gallery")}
    words = [f"measurement {_MEASUREMENT}", cpu_fingerprint(), f"{thread_limit() or os.cpu_count()} threads"]
    for candidate in able:
        with suppress(PackageNotFoundError):  # only its module is there; it may work all the same
            words.append(f"{candidate} {version(_PACKAGES.get(candidate.engine, 'torch'))}")
    return " ".join([json.dumps(shape, sort_keys=True), *words])


def _working(name: str, source: Source, device: str, precision: str) -> Backend:
    """The engine; whatever a broken package raises is an `EngineError`."""
    try:
        return _open(name, source, device, precision)
    except InputError:  # such as a damaged checkpoint, or an `EngineError` already
        raise
    except Exception as error:  # ImportError, OSError, AttributeError … of a package installed in part
        if name not in NEEDED and not isinstance(error, ImportError | OSError):
            raise
        why = f"{type(error).__name__}: {first_line(error)}"
        raise EngineError(f"the engine {name} does not work here ({why})") from error


def _open(name: str, source: Source, device: str, precision: str) -> Backend:
    """Only the engine that is opened is imported."""
    if name == "openvino":
        from fast_nst.inference.engine.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(source, precision)
    if name == "onnx":
        from fast_nst.inference.engine.backends.onnx import OnnxBackend

        return OnnxBackend(source)
    from fast_nst.inference.engine.backends.pytorch import TorchBackend

    return TorchBackend(source, device, precision, compiled=name == "compile")

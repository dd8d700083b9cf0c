"""Which engine and precision: what is asked for, or of what is installed the fastest as measured here.

Where more than one comes into question, each stylizes a small image a few times, once for a machine, network
and versions; the times are kept in the user's cache folder. Nothing is taken for fast because a processor's
flags say so: bf16 takes twice as long as fp32 on some that have it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple, get_args

import numpy as np

from fast_nst.config.stylize import Backend as Name
from fast_nst.config.stylize import Precision
from fast_nst.errors import InputError, first_line
from fast_nst.inference.engine.backends.base import Backend, EngineError, Source
from fast_nst.io.measured import remembered_times
from fast_nst.system.cpu import cpu_fingerprint, cpu_has_matrix_units, may_have_accelerator, thread_limit
from fast_nst.system.extras import how_to_install
from fast_nst.system.timing import measure_in_turn

__all__ = [
    "Candidate",
    "advise_faster",
    "candidates",
    "check_choice",
    "measured_times",
    "open_backend",
    "weighed_time",
]

_log = logging.getLogger("fast_nst")

# What the extra of that name installs, to run and to build what is run; the latter is needed once a style.
_NEEDED = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}
_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
_PRECISIONS = {"openvino": ("auto", "fp32", "bf16"), "onnx": ("auto", "fp32")}
_SIDE, _CALLS = 384, 2  # of the image that engines are measured on, pixels; how often
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")


def _installed(backend: str) -> bool:
    try:
        return all(importlib.util.find_spec(name) is not None for name in _NEEDED[backend])
    except ValueError:  # a module that something else has put there
        return False


def open_backend(source: Source, *, backend: str, device: str, precision: str) -> Backend:
    """A trained network on an engine.

    An engine that is installed and does not work here is an error if it was asked for by name; ``auto``
    takes the next one, after a warning.

    Args:
        backend: ``auto``, ``torch``, ``compile``, ``openvino`` or ``onnx``.
        device: ``auto``, ``cpu``, ``cuda`` … as torch names them.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        InputError: another word; an engine that cannot do what is asked; a device this machine lacks.
        EngineError: an engine that is not installed or broken.
    """
    check_choice("backend", backend, get_args(Name))
    check_choice("precision", precision, get_args(Precision))
    if backend != "auto":
        _check(backend, device, precision)
        try:
            return _fastest(candidates(device, precision, backend), source, device)
        except EngineError as error:
            cure = "--backend auto" if backend == "torch" else "--precision fp32 or --backend torch"
            raise EngineError(f"{error}; give {cure}") from error.__cause__
    return _fastest(candidates(device, precision), source, device, or_else=Candidate("torch", precision))


class Candidate(NamedTuple):
    """An engine and a precision."""

    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


def check_choice(what: str, value: str, allowed: Collection[str]) -> None:
    """Refuse a word that is not among those allowed, with all of them and the nearest."""
    if value not in allowed:
        near = get_close_matches(str(value), allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown {what} {value!r}; allowed are {', '.join(allowed)}{hint}")


@functools.cache  # once in a process
def advise_faster(backend: str, device: str, precision: str) -> None:
    """Say that OpenVINO would be faster, where it is not installed and could do the same."""
    if (
        device == "cpu"
        and backend in ("torch", "onnx")
        and precision != "fp16"
        and not _installed("openvino")
    ):
        _log.warning(
            "OpenVINO would be faster on this processor: pip install %s", " ".join(_NEEDED["openvino"])
        )


def candidates(
    device: str,
    precision: str,
    backend: str = "auto",
    *,
    installed: Callable[[str], bool] = _installed,
    has_matrix_units: Callable[[], bool] = cpu_has_matrix_units,
) -> list[Candidate]:
    """Engines and precisions that come into question, the one first that most machines are fastest with.

    Args:
        device, precision, backend: as `open_backend`.
        installed: whether an engine's packages are.
        has_matrix_units: whether the processor says that it multiplies bf16 in matrix units. On others bf16
            saves memory traffic at most, and its error is the same.
    """
    if not (device.partition(":")[0] == "cpu" or (device == "auto" and not _finds_accelerator())):
        return [Candidate("torch" if backend == "auto" else backend, precision)]
    wanted = [precision] if precision != "auto" else ["fp32", "bf16"] if has_matrix_units() else ["fp32"]
    if backend == "auto":
        able = [e for e in _NEEDED if installed(e) and set(wanted) & set(_PRECISIONS[e])]
        # Torch in fp32 is slower than any of them.
        engines = [*able, *(["torch"] if not able or (able == ["onnx"] and "bf16" in wanted) else [])]
    else:
        engines, able = [backend], []
    return [
        Candidate(engine, kind)
        for engine in engines
        for kind in wanted
        if kind in _PRECISIONS.get(engine, wanted) and not (able and engine == "torch" and kind == "fp32")
    ]


def _finds_accelerator() -> bool:
    if not may_have_accelerator():
        return False
    from fast_nst.system.device import choose_device

    return choose_device().type != "cpu"


def _fastest(
    able: Sequence[Candidate], source: Source, device: str, or_else: Candidate | None = None
) -> Backend:
    """The fastest of the candidates that work here.

    Args:
        or_else: opened where none of them works, after warnings.

    Raises:
        EngineError: none works.
    """
    opened: dict[Candidate, Backend] = {}
    errors: dict[str, EngineError] = {}
    if len(able) > 1:
        able = _by_speed(able, source, device, opened, errors)
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
    opened: dict[Candidate, Backend],
    errors: dict[str, EngineError],
) -> list[Candidate]:
    """The candidates, the fastest first; those that do not work are left out if it is found now.

    Args:
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
    return sorted(able, key=lambda candidate: weighed_time(candidate, times[str(candidate)]))


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


def measured_times(engines: Mapping[str, Backend]) -> dict[str, float]:
    """Milliseconds that each takes for a small image, medians in turn."""
    image = np.random.default_rng(0).integers(0, 256, (1, _SIDE, _SIDE, 3), np.uint8)
    calls = {name: functools.partial(engine.run_uint8, image) for name, engine in engines.items()}
    return {name: time.median for name, time in measure_in_turn(calls, calls=_CALLS, warmup=1).items()}


def _machine(source: Source, able: Sequence[Candidate]) -> str:
    """All that the times depend on."""
    shape = {key: source.metadata.get(key) for key in ("network", "upscaler", "gallery")}
    words = [cpu_fingerprint(), f"{thread_limit() or os.cpu_count()} threads"]
    for candidate in able:
        with suppress(PackageNotFoundError):  # only its module is there; it may work all the same
            words.append(f"{candidate} {version(_PACKAGES.get(candidate.engine, 'torch'))}")
    return " ".join([json.dumps(shape, sort_keys=True), *words])


def _check(backend: str, device: str, precision: str) -> None:
    if backend not in _NEEDED:
        return
    if device.split(":")[0] not in _DEVICES:
        raise InputError(f"unknown device {device!r}; allowed are {', '.join(_DEVICES)}, or cuda:1 …")
    if device not in ("auto", "cpu"):
        raise InputError(f"--backend {backend} runs on the processor; give --device cpu or --backend torch")
    if precision not in _PRECISIONS[backend]:
        able = " or ".join(_PRECISIONS[backend][1:])
        raise InputError(f"--backend {backend} computes in {able}, not {precision}; give --backend torch")
    if not _installed(backend):
        raise EngineError(
            f"--backend {backend} is not installed: {how_to_install(backend)}, or give --backend auto"
        )


def _working(name: str, source: Source, device: str, precision: str) -> Backend:
    """The engine; whatever a broken package raises is an `EngineError`."""
    try:
        return _open(name, source, device, precision)
    except InputError:  # such as a damaged checkpoint, or an `EngineError` already
        raise
    except Exception as error:  # ImportError, OSError, AttributeError … of a package installed in part
        if name not in _NEEDED and not isinstance(error, ImportError | OSError):
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

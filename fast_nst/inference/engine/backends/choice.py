"""Which engine: the one asked for, or of those that are installed the one measured to be the fastest."""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from typing import get_args

from fast_nst.config.stylize import Backend as Name
from fast_nst.config.stylize import Precision
from fast_nst.errors import InputError, first_line
from fast_nst.inference.engine.backends.base import Backend, EngineError, Source
from fast_nst.system.cpu import cpu_has_matrix_units, may_have_accelerator
from fast_nst.system.extras import how_to_install

__all__ = ["advise_faster", "check_choice", "engines_by_speed", "open_backend"]

_log = logging.getLogger("fast_nst")

# What the extra of that name installs, to run and to build what is run; the latter is needed once a style.
_NEEDED = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}
_PRECISIONS = {"openvino": ("auto", "fp32", "bf16"), "onnx": ("auto", "fp32")}
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
            return _working(backend, source, device, precision)
        except EngineError as error:
            cure = "--backend auto" if backend == "torch" else "--precision fp32 or --backend torch"
            raise EngineError(f"{error}; give {cure}") from error.__cause__
    for name in engines_by_speed(device, precision):
        try:
            return _working(name, source, device, precision)
        except EngineError as error:
            _log.warning("%s; trying the next engine", error)
    return _working("torch", source, device, precision)


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


def engines_by_speed(
    device: str,
    precision: str,
    *,
    installed: Callable[[str], bool] = _installed,
    has_matrix_units: Callable[[], bool] = cpu_has_matrix_units,
) -> Iterator[str]:
    """Engines that can do what is asked faster than torch, as `benchmarks/inference.py` measures them.

    Args:
        device: as `open_backend`.
        precision: as `open_backend`.
        installed: whether an engine's packages are.
        has_matrix_units: whether the processor multiplies bf16 fast.
    """
    if precision == "fp16" or device not in ("auto", "cpu"):
        return
    if device == "auto" and may_have_accelerator():
        from fast_nst.system.device import choose_device

        if choose_device().type != "cpu":
            return
    if installed("openvino"):
        yield "openvino"
    # onnxruntime has no bf16 on processors: where there are matrix units, torch in bf16 is faster.
    wanted = "bf16" if precision == "auto" and has_matrix_units() else precision
    if wanted != "bf16" and installed("onnx"):
        yield "onnx"


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

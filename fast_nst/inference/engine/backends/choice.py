"""Which engine: the one asked for, or of those that are installed the one measured to be the fastest."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator

from fast_nst.errors import InputError
from fast_nst.inference.engine.backends.base import Backend, EngineError, Source
from fast_nst.system.cpu import cpu_has_matrix_units, may_have_accelerator
from fast_nst.system.extras import how_to_install

__all__ = ["open_backend"]

_log = logging.getLogger(__name__)

# What the extra of that name installs, to run and to build what is run; the latter is needed once a style.
_NEEDED = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}
_PRECISIONS = {"openvino": ("auto", "fp32", "bf16"), "onnx": ("auto", "fp32")}


def open_backend(source: Source, *, backend: str, device: str, precision: str) -> Backend:
    """A style on an engine.

    Args:
        backend: ``auto``, ``torch``, ``compile``, ``openvino`` or ``onnx``.
        device: ``auto``, ``cpu``, ``cuda`` … as torch names them.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        InputError: an engine that is not installed or cannot do what is asked; a device this machine lacks.
    """
    if backend != "auto":
        _check(backend, device, precision)
        try:
            return _open(backend, source, device, precision)
        except EngineError as error:
            raise EngineError(f"{error}; give --precision fp32 or --backend torch") from None
    for name in _by_speed(device, precision):
        try:
            return _open(name, source, device, precision)
        except ImportError:  # installed in part, or for another system
            continue
        except EngineError as error:
            _log.warning("%s; going on with another engine", error)
    return _open("torch", source, device, precision)


def _by_speed(device: str, precision: str) -> Iterator[str]:
    """Engines that can do what is asked faster than torch, as `benchmarks/inference.py` measures them."""
    if precision == "fp16" or device not in ("auto", "cpu"):
        return
    if device == "auto" and may_have_accelerator():
        from fast_nst.system.device import choose_device

        if choose_device().type != "cpu":
            return
    if _installed("openvino"):
        yield "openvino"
    # onnxruntime has no bf16 on processors: where there are matrix units, torch in bf16 beats it.
    wanted = "bf16" if precision == "auto" and cpu_has_matrix_units() else precision
    if wanted != "bf16" and _installed("onnx"):
        yield "onnx"


def _installed(backend: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED[backend])


def _check(backend: str, device: str, precision: str) -> None:
    if backend not in _NEEDED:
        return
    if device not in ("auto", "cpu"):
        raise InputError(f"--backend {backend} runs on the processor; give --device cpu or --backend torch")
    if precision not in _PRECISIONS[backend]:
        able = " or ".join(_PRECISIONS[backend][1:])
        raise InputError(f"--backend {backend} computes in {able}, not {precision}; give --backend torch")
    if not _installed(backend):
        raise InputError(
            f"--backend {backend} is not installed: {how_to_install(backend)}, or give --backend auto"
        )


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

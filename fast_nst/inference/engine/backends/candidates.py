"""Engines and precisions: what each needs, and which come into question for what is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import NamedTuple

from fast_nst.errors import InputError
from fast_nst.inference.engine.backends.base import EngineError
from fast_nst.system.cpu import cpu_has_matrix_units, cpu_multiplies_int8, may_have_accelerator
from fast_nst.system.extras import how_to_install

__all__ = ["MEASURED", "NEEDED", "Candidate", "candidates", "check_choice", "check_engine", "is_installed"]

# What the extra of that name installs, to run and to build what is run; the latter is needed once a style.
NEEDED = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}
MEASURED = ("auto", "fastest")  # of these the precision is found by measurement
_PRECISIONS = {
    "openvino": ("fp32", "bf16", "int8"),
    "onnx": ("fp32",),
    "torch": ("fp32", "bf16", "fp16"),
    "compile": ("fp32", "bf16", "fp16"),
}
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")


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


def check_engine(backend: str, device: str, precision: str) -> None:
    """Refuse what an engine that was asked for by name cannot do, or is not installed for."""
    if precision not in (*MEASURED, *_PRECISIONS[backend]):
        *most, last = _PRECISIONS[backend]
        able = f"{', '.join(most)} or {last}" if most else last
        other = "openvino" if precision == "int8" else "torch"
        raise InputError(f"--backend {backend} computes in {able}, not {precision}; give --backend {other}")
    if backend not in NEEDED:
        return
    if device.split(":")[0] not in _DEVICES:
        raise InputError(f"unknown device {device!r}; allowed are {', '.join(_DEVICES)}, or cuda:1 …")
    if device not in ("auto", "cpu"):
        raise InputError(f"--backend {backend} runs on the processor; give --device cpu or --backend torch")
    if not is_installed(backend):
        what, other = f"--backend {backend}", "--backend auto"
        if precision == "int8":
            what, other = f"{backend}, which int8 needs,", "--precision auto"
        raise EngineError(f"{what} is not installed: {how_to_install(backend)}, or give {other}")


def is_installed(backend: str) -> bool:
    """Whether the packages of an engine are there; they may be broken all the same."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in NEEDED[backend])
    except ValueError:  # a module that something else has put there
        return False


def candidates(
    device: str,
    precision: str,
    backend: str = "auto",
    *,
    normed: bool = False,
    installed: Callable[[str], bool] = is_installed,
    has_matrix_units: Callable[[], bool] = cpu_has_matrix_units,
    multiplies_int8: Callable[[], bool] = cpu_multiplies_int8,
) -> list[Candidate]:
    """Engines and precisions that come into question, the one first that most machines are fastest with.

    Args:
        device, precision, backend: as `open_backend`.
        normed: as `Source` has it.
        installed: whether an engine's packages are.
        has_matrix_units: whether the processor says that it multiplies bf16 in matrix units. On others bf16
            saves memory traffic at most, and its error is the same.
        multiplies_int8: whether the processor adds up products of 8-bit integers exactly.
    """
    measured = precision in MEASURED
    if not (device.partition(":")[0] == "cpu" or (device == "auto" and not _finds_accelerator())):
        return [Candidate("torch" if backend == "auto" else backend, "auto" if measured else precision)]
    wanted = [precision]
    if measured:
        wanted = ["fp32", *(["bf16"] if has_matrix_units() else [])]
        wanted += ["int8"] if precision == "fastest" and normed and multiplies_int8() else []
    if backend == "auto":
        able = [e for e in NEEDED if installed(e) and set(wanted) & set(_PRECISIONS[e])]
        # Torch in fp32 is slower than any of them.
        engines = [*able, *(["torch"] if not able or (able == ["onnx"] and "bf16" in wanted) else [])]
    else:
        engines, able = [backend], []
    return [
        Candidate(engine, kind)
        for engine in engines
        for kind in wanted
        if kind in _PRECISIONS[engine] and not (able and engine == "torch" and kind == "fp32")
    ]


def _finds_accelerator() -> bool:
    if not may_have_accelerator():
        return False
    from fast_nst.system.device import choose_device

    return choose_device().type != "cpu"

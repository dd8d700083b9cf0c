"""The header of a safetensors file, checked before a byte of its tensors is read. Torch is not needed.

    8 bytes   length n of the header, little endian
    n bytes   JSON: {"__metadata__": {str: str}, NAME: {"dtype", "shape", "data_offsets"}, ...}
    the rest  the tensors, one behind the other

Whatever the header says, its tensors are as large as the file: a shape that its bytes do not fill is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from fast_nst.errors import shown

__all__ = ["MAX_HEADER", "TensorHeader", "parse_json", "read_header"]

MAX_HEADER = 1 << 22  # bytes; that of a network with a thousand tensors takes 2^17
MAX_DEPTH = 32  # of nested lists and tables
# Types that networks and training states consist of; others, such as fp8, need a conversion first.
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class TensorHeader:
    """What a safetensors file says it holds.

    Attributes:
        metadata: its text entries.
        shapes: of its tensors, by name.
    """

    metadata: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]


def read_header(path: Path) -> TensorHeader:
    """The header of a regular file.

    Raises:
        ValueError: it is no safetensors file or a damaged one; the message is the reason, without the path.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError("it has no header of that format, or was cut off")
        if length > MAX_HEADER:
            raise ValueError(f"its header of {length} bytes is larger than the limit, {MAX_HEADER}")
        values = parse_json(file.read(length))
    if not isinstance(values, dict):
        raise ValueError("its header is not a table")
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata is not a table of text")
    spans = {name: _span(name, entry) for name, entry in values.items()}
    end = 0
    for name, (start, stop) in sorted(spans.items(), key=lambda item: item[1]):
        if start != end:
            raise ValueError(f"tensor {shown(name)} does not begin where the one before it ends")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"its tensors take {end} bytes by its header and {size - 8 - length} in the file")
    return TensorHeader(metadata, {name: tuple(entry["shape"]) for name, entry in values.items()})


def parse_json(text: str | bytes) -> Any:
    """JSON from a file that is not trusted.

    Raises:
        ValueError: not JSON, or nested more than `MAX_DEPTH` deep.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    level = [values]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inner(value)]
    if level:
        raise ValueError("its JSON is nested too deep")
    return values


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Where the bytes of a tensor begin and end, checked against its shape and type."""
    if not isinstance(entry, dict):
        raise ValueError(f"the entry of tensor {shown(name)} is not a table")
    dtype, shape, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not _are_counts(shape) or not _are_counts(span) or len(span) != 2:
        raise ValueError(f"the shape or the place of tensor {shown(name)} is missing or not made of counts")
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise ValueError(f"tensor {shown(name)} has type {shown(dtype)}; known are {', '.join(_BYTES)}")
    size = math.prod(shape) * _BYTES[dtype]
    if span[1] - span[0] != size:
        raise ValueError(f"tensor {shown(name)} takes {span[1] - span[0]} bytes, its shape needs {size}")
    return span[0], span[1]


def _are_counts(values: Any) -> TypeGuard[list[int]]:
    """At most 8 whole numbers of at least 0, each below 2^63."""
    return (
        isinstance(values, list)
        and len(values) <= 8
        and all(type(value) is int and 0 <= value < 1 << 63 for value in values)
    )

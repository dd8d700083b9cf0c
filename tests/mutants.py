"""Damaged and hostile model files, made in great number from a good one."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from fast_nst.models.checkpoint import digest
from fast_nst.models.model_files import CHECKSUM, KEY, metadata_digest

VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    10**9,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    -float("inf"),
    "",
    "x" * 99_999,
    "\x1b[2J\n",
    [],
    [1],
    [[[[]]]],
    {},
    {"a": {"b": 1}},
    [2, 3, 4096],
    [2, 3, 10**12],
    [-2, 3, 4],
    [2.5, 3, 4],
    ["2", 3, 4],
    list(range(9999)),
]
TENSORS = [
    torch.zeros(()),
    torch.zeros(0),
    torch.zeros(7),
    torch.zeros(3, dtype=torch.int64),
    torch.full((3,), torch.nan),
    torch.full((3,), -torch.inf),
    torch.zeros(3, dtype=torch.bool),
    torch.zeros(3, dtype=torch.uint8),
    torch.zeros(3, dtype=torch.float64),
    torch.zeros(3).to(torch.float8_e4m3fn),
    torch.zeros(1, 1, 1, 1, 3),
    torch.zeros(3, dtype=torch.complex64),
    torch.full((3,), 3e38),
]


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file and the bytes of its tensors."""
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: Any, rest: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + rest


def sealed(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> bytes:
    """A file whose checksums are right, whatever is in it."""
    metadata = {**metadata, "sha256": digest(tensors)}
    metadata[CHECKSUM] = metadata_digest(metadata)
    return save(tensors, metadata={KEY: json.dumps(metadata, sort_keys=True)})


def read(path: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        return {n: file.get_tensor(n) for n in file.keys()}, json.loads(file.metadata()[KEY])  # noqa: SIM118


def flipped_and_cut(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """With one to eight flipped bits, more of them in the first 4 KB, and cut off or continued."""
    random = np.random.default_rng(seed)
    for i in range(count):
        changed = bytearray(data)
        for _ in range(1 + i % 3 * i % 8):
            changed[random.integers(min(len(data), 4096 if i % 4 else len(data)))] ^= 1 << random.integers(8)
        if i % 7 == 6:
            changed = changed[: random.integers(len(data))]
        if i % 11 == 10:
            changed += bytes(int(random.integers(1, 99)))
        yield bytes(changed)


def other_headers(data: bytes) -> Iterator[bytes]:
    """With another header in front of the same tensors."""
    header, rest = split(data)
    name = next(n for n in header if n != "__metadata__")
    for length in (0, 1, 7, 1 << 31, 1 << 40, (1 << 64) - 1):
        yield joined(header, rest, length)
    for text in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b"{}",
        b"\xff" * 9,
        b"[" * 10**6,
        b'{"a":' * 999 + b"1" + b"}" * 999,
    ):
        yield joined(text, rest)
    for value in VALUES:
        for key in ("dtype", "shape", "data_offsets"):
            changed = deepcopy(header)
            changed[name][key] = value
            yield joined(changed, rest)
        for key in (name, "__metadata__", "x" * 99_999, "\x1b[2J\n"):
            yield joined({**header, key: value}, rest)
    for dtype in ("F8_E4M3", "F8_E5M2", "F4", "C64", "U64", "I8", "BOOL", "f32"):
        changed = deepcopy(header)
        changed[name]["dtype"] = dtype
        yield joined(changed, rest)
    for shape, offsets in (
        ([1 << 40], [0, 0]),
        ([1 << 62, 4], [0, 8]),
        ([2] * 99, [0, 8]),
        ([0] * 9, [0, 0]),
    ):
        yield joined({**header, name: {"dtype": "F16", "shape": shape, "data_offsets": offsets}}, rest)


def other_contents(tensors: dict[str, Tensor], metadata: dict[str, Any], kind: str) -> Iterator[bytes]:
    """With other metadata or tensors and checksums that are right: validation has to find the fault."""
    for field in metadata[kind]:
        for value in VALUES:
            yield sealed(tensors, {**metadata, kind: {**metadata[kind], field: value}})
        yield sealed(tensors, {**metadata, kind: {k: v for k, v in metadata[kind].items() if k != field}})
    for key in {*metadata, "recipe", "training", "imported"}:
        for value in VALUES[::3]:
            yield sealed(tensors, {**metadata, key: value})
        yield sealed(tensors, {k: v for k, v in metadata.items() if k != key})
    for name in list(tensors)[::4]:
        for value in TENSORS:
            yield sealed({**tensors, name: value}, metadata)
        yield sealed({k: v for k, v in tensors.items() if k != name}, metadata)
    for name in ("extra", "a\nb", "\x1b[2J", "x" * 9999, ""):
        yield sealed({**tensors, name: torch.zeros(3)}, metadata)

"""Every damaged or hostile model file is refused in one line, or loads; none runs code or takes long."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from fast_nst.config import UPSCALE_PRESETS, NetworkConfig
from fast_nst.errors import InputError
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.upscaler import Upscaler
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.convert import import_network
from fast_nst.models.transform_net import TransformNet
from fast_nst.models.upscale_net import UpscaleNet
from fast_nst.models.vgg import load_vgg

SHARES = [pytest.param(17, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]
every = pytest.mark.parametrize("every", SHARES)


@pytest.fixture
def tried(tmp_path: Path, record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Loads each file; what is raised must be an `InputError` of one short line that names the file."""

    def tried(files: Iterable[bytes], load: Callable[[Path], object], name: str, every: int) -> None:
        path, longest, refused, count = tmp_path / name, 0.0, 0, 0
        for i, data in enumerate(files):
            if i % every:
                continue
            path.write_bytes(data)
            start = time.perf_counter()
            try:
                load(path)
            except InputError as error:
                told = str(error)
                assert "\n" not in told and "\x1b" not in told, f"{i}: {told!r}"
                assert len(told) < 1000 + len(str(path)), f"{i}: {told[:2000]!r}"
                refused += 1
            except Exception as error:
                error.add_note(f"file {i} of {name}")
                raise
            longest, count = max(longest, time.perf_counter() - start), count + 1
        assert count > refused // 2 and refused > 0
        for key, value in (("files", count), ("refused", refused), ("longest, s", round(longest, 3))):
            record_property(key, value)
        print(f"{name}: {count} files, {refused} refused, the longest in {longest:.3f} s")

    return tried


def saved(folder: Path, network: Any) -> Path:
    torch.manual_seed(0)
    path = folder / "good.safetensors"
    save_checkpoint(path, network, {"style": "dots", "steps": 3, "recipe": {"loss": "feature"}})
    return path


def changed(mutants: ModuleType, path: Path, kind: str, flips: int) -> Iterator[bytes]:
    data = path.read_bytes()
    yield from mutants.flipped_and_cut(data, flips)
    yield from mutants.other_headers(data)
    yield from mutants.other_contents(*mutants.read(path), kind)


@every
def test_every_changed_style_file_loads_or_is_refused_in_one_line(
    tmp_path: Path, mutants: ModuleType, tried: Callable[..., None], every: Any
) -> None:
    path = saved(tmp_path, TransformNet(NetworkConfig(widths=(2, 3, 4), blocks=1, norm="batch")))
    load = lambda file: Stylizer.load(file, device="cpu", precision="fp32", backend="torch")  # noqa: E731
    tried(changed(mutants, path, "network", 200), load, "style.safetensors", every)


@every
def test_every_changed_upscaler_file_loads_or_is_refused_in_one_line(
    tmp_path: Path, mutants: ModuleType, tried: Callable[..., None], every: Any
) -> None:
    path = saved(tmp_path, UpscaleNet(replace(UPSCALE_PRESETS["modern"], width=8, blocks=1)))
    load = lambda file: Upscaler(file, device="cpu", precision="fp32")  # noqa: E731
    tried(changed(mutants, path, "upscaler", 200), load, "upscaler.safetensors", every)


class Runs:
    """Pickled, it is a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def dumped(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def contents(marker: Path) -> list[Any]:
    """What a file may hold instead of weights."""
    weights = {"conv1.conv2d.weight": torch.zeros(4, 3, 9, 9), "in1.weight": torch.zeros(4)}
    deep: Any = torch.zeros(1)
    for _ in range(200):
        deep = {"a": deep}
    return [
        weights,
        {**weights, "in1.weight": torch.zeros(1).expand(10**12)},
        {"model": weights, 3: weights},
        deep,
        {name: tensor.to_sparse() for name, tensor in weights.items()},
        OrderedDict(weights),
        [weights],
        (),
        None,
        {name: tensor.to(torch.float8_e5m2) for name, tensor in weights.items()},
        3,
        "text",
        b"bytes",
        1.5,
        {},
        {name: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8) for name, tensor in weights.items()},
        {name: torch.empty(tensor.shape, device="meta") for name, tensor in weights.items()},
        weights["in1.weight"],
        {name: torch.nn.Parameter(tensor) for name, tensor in weights.items()},
        {"": torch.zeros(1)},
        {None: {}},
        {name: torch.zeros(tensor.shape, dtype=torch.complex64) for name, tensor in weights.items()},
        set(weights),
        {"a\n\x1b[2J" + "x" * 9999: torch.zeros(1)},
        {(1, 2): torch.zeros(1)},
        torch.nn.Conv2d(1, 1, 1),
        Namespace(a=1),
        Fraction(1, 3),
        Path("/"),
        Runs(os.system, f"touch {marker}"),
        Runs(marker.touch),
        Runs(eval, "1 + 1"),
        {**weights, "x": Runs(os.mkdir, str(marker))},
        {name: tensor.numpy() for name, tensor in weights.items()},
        {f"t{i}": torch.zeros(1) for i in range(3000)},
        {"conv1.conv2d.weight": torch.zeros(10**5, 1, 1, 1)},
        {f"res{i}.conv1.conv2d.weight": torch.zeros(1) for i in range(3000)},
    ]


def payloads(mutants: ModuleType, marker: Path) -> Iterator[bytes]:
    for content in contents(marker):
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            try:
                yield dumped(content, **options)
            except Exception:  # not every content can be saved in the old format
                continue
        for protocol in (0, 2, 5):
            try:
                yield pickle.dumps(content, protocol)
            except Exception:
                continue
    good = dumped({"conv1.conv2d.weight": torch.zeros(4, 3, 9, 9), "in1.weight": torch.zeros(4)})
    yield from mutants.flipped_and_cut(good, 60)
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for names in (
            ["a"],
            ["a/data.pkl"],
            ["../../x"],
            ["a/data.pkl", "a/data/0"],
            ["\x1b[2J"],
            ["data.pkl"] * 2,
        ):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", compression) as archive:
                for name in dict.fromkeys(names):
                    archive.writestr(name, bytes(1 << 20))
            yield file.getvalue()


@every
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("reader", ["import", pytest.param("vgg", marks=pytest.mark.slow)])
def test_every_payload_is_refused_in_one_line_and_runs_nothing(
    tmp_path: Path, mutants: ModuleType, tried: Callable[..., None], every: Any, reader: str
) -> None:
    marker = tmp_path / "it-ran"
    loads = {"import": import_network, "vgg": lambda path: load_vgg("vgg16", ["relu1_1"], file=path)}
    tried(payloads(mutants, marker), loads[reader], "theirs.pth", every)
    assert not marker.exists()

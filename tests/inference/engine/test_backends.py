"""Engines: each paints what the network paints, `auto` chooses well, and a second run needs no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fast_nst.cli.stylize import main as command
from fast_nst.config import PRESETS
from fast_nst.errors import InputError
from fast_nst.inference.engine.backends import choice
from fast_nst.inference.engine.backends.candidates import Candidate, candidates
from fast_nst.inference.engine.backends.choice import weighed_time
from fast_nst.inference.engine.cache import load_or_make
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import from_uint8, to_uint8
from fast_nst.models.checkpoint import Checkpoint, save_checkpoint
from fast_nst.models.transform_net import TransformNet
from fast_nst.system.cpu import cpu_has_matrix_units
from fast_nst.system.onnxruntime import onnxruntime
from fast_nst.system.openvino import openvino

ROOT = Path(__file__).resolve().parents[3]
MODULES = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}
SIZES = [(1, 1), (3, 17), (32, 32), (45, 38)]


def installed(backend: str) -> None:
    for name in MODULES.get(backend, ()):
        pytest.importorskip(name, reason=f"{name} is not installed; the extra {backend} brings it")


@pytest.fixture(params=["torch", "openvino", "onnx"])
def backend(request: pytest.FixtureRequest) -> str:
    installed(request.param)
    return request.param


def network(preset: str = "default") -> TransformNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = replace(PRESETS[preset], widths=(8, 8, 16), blocks=1)
        net = TransformNet(config).eval().requires_grad_(False)
    for name, tensor in net.named_parameters():
        if name.startswith("body.conv4") and name.endswith("bias"):
            tensor.add_(0.3)  # little of the range is clipped
    return net


def picture(height: int, width: int, count: int = 1) -> NDArray[Any]:
    return np.random.default_rng(height).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def painted(net: TransformNet, levels: NDArray[Any]) -> NDArray[Any]:
    """By the plain network in fp32."""
    return np.stack([to_uint8(net(from_uint8(one)[None])[0].clamp(0, 1)) for one in levels])


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_every_engine_stylizes_what_the_network_stylizes(backend: str, preset: str) -> None:
    net = network(preset)
    stylize = Stylizer(Checkpoint(net, {}), device="cpu", precision="fp32", backend=backend)
    for height, width in SIZES:
        levels = picture(height, width, 2)
        out = stylize.backend.run_uint8(levels)
        assert out.dtype == np.uint8
        assert np.abs(out.astype(int) - painted(net, levels)).max() <= 1


@pytest.fixture(scope="module")
def pale() -> tuple[NDArray[Any], NDArray[Any]]:
    """A large picture of noise near white, and what the plain network makes of it."""
    levels = np.random.default_rng(0).integers(235, 256, (1, 1500, 1500, 3), dtype=np.uint8)
    return levels, painted(network(), levels)


@pytest.mark.slow
def test_pale_and_large_pictures_are_as_exact_as_others(
    backend: str, pale: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    """What adds up a map value by value in fp32 is off by some 60 levels here."""
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", precision="fp32", backend=backend)
    levels, expected = pale
    away = np.abs(stylize.backend.run_uint8(levels).astype(int) - expected).max()
    assert away <= (2 if backend == "onnx" else 1)  # of onnxruntime's own norm


def test_openvino_in_bf16_stylizes_large_pictures_as_exactly_as_small_ones() -> None:
    installed("openvino")
    net = network()
    stylize = Stylizer(Checkpoint(net, {}), device="cpu", precision="bf16", backend="openvino")
    if stylize.precision != "bf16":
        pytest.skip("this processor has no bf16")
    small, large = picture(45, 38), picture(1025, 1025)  # on both sides of the limit between two graphs
    before = stylize.backend.run_uint8(small)
    for levels in (small, large):
        assert np.abs(stylize.backend.run_uint8(levels).astype(int) - painted(net, levels)).mean() < 2
    np.testing.assert_array_equal(stylize.backend.run_uint8(small), before)


def test_floats_are_stylized_as_levels_are_but_not_rounded(backend: str) -> None:
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", precision="fp32", backend=backend)
    levels = picture(21, 26)
    floats = stylize(from_uint8(levels[0]))
    assert floats.dtype == torch.float32
    assert 0 <= floats.min() <= floats.max() <= 1
    assert np.abs(to_uint8(floats).astype(int) - stylize.backend.run_uint8(levels)[0]).max() <= 1
    assert len(floats.unique()) > 256


def test_read_only_and_mirrored_pictures_are_stylized(backend: str) -> None:
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend)
    levels = picture(16, 20)
    levels.flags.writeable = False
    before = levels.copy()
    mirrored = stylize.backend.run_uint8(levels[:, :, ::-1])
    expected = stylize.backend.run_uint8(np.ascontiguousarray(levels[:, :, ::-1]))
    np.testing.assert_array_equal(mirrored, expected)
    np.testing.assert_array_equal(levels, before)


def test_a_result_outlives_the_next_one(backend: str) -> None:
    """Engines use their buffers again."""
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend)
    first = stylize.backend.run_uint8(picture(16, 20))
    copy = first.copy()
    stylize.backend.run_uint8(255 - picture(16, 20))
    np.testing.assert_array_equal(first, copy)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bf16_stays_near_and_is_named(name: str) -> None:
    installed(name)
    net = network()
    stylize = Stylizer(Checkpoint(net, {}), device="cpu", precision="bf16", backend=name)
    assert stylize.precision in ("bf16", "fp32")  # the latter where OpenVINO cannot
    levels = picture(40, 44)
    error = stylize.backend.run_uint8(levels).astype(float) - painted(net, levels)
    assert np.sqrt(np.mean(error**2)) < 4


@pytest.mark.parametrize("limit", ["", "AVX2"])
def test_auto_takes_bf16_only_where_there_are_matrix_units(
    backend: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)  # "": none
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend)
    assert stylize.precision == "fp32" or (cpu_has_matrix_units() and backend != "onnx" and not limit)


@pytest.mark.parametrize(
    ("have", "device", "precision", "units", "expected"),
    [
        (("openvino", "onnx"), "cpu", "auto", False, ["openvino fp32", "onnx fp32"]),
        (("openvino", "onnx"), "cpu", "auto", True, ["openvino fp32", "openvino bf16", "onnx fp32"]),
        (("onnx",), "cpu", "auto", False, ["onnx fp32"]),
        (("onnx",), "cpu", "auto", True, ["onnx fp32", "torch bf16"]),
        (("onnx",), "cpu", "fp32", True, ["onnx fp32"]),
        (("openvino", "onnx"), "cpu", "bf16", False, ["openvino bf16"]),
        (("openvino", "onnx"), "cpu", "fp16", True, ["torch fp16"]),
        (("openvino", "onnx"), "cuda", "auto", False, ["torch auto"]),
        ((), "cpu", "auto", False, ["torch fp32"]),
        ((), "cpu", "auto", True, ["torch fp32", "torch bf16"]),
    ],
)
def test_auto_considers_what_is_installed_and_what_the_processor_may_be_fast_in(
    have: tuple[Any, ...], device: str, precision: str, units: bool, expected: list[Any]
) -> None:
    able = candidates(device, precision, installed=lambda name: name in have, has_matrix_units=lambda: units)
    assert [str(candidate) for candidate in able] == expected


@pytest.mark.parametrize("units", [False, True])
def test_an_engine_asked_for_by_name_is_the_only_candidate(units: bool) -> None:
    kinds = ["fp32", "bf16"] if units else ["fp32"]
    for name, precisions in (("openvino", kinds), ("torch", kinds), ("onnx", ["fp32"])):
        able = candidates("cpu", "auto", name, installed=lambda _: True, has_matrix_units=lambda: units)
        assert able == [Candidate(name, precision) for precision in precisions]
    assert candidates("cpu", "bf16", "torch") == [Candidate("torch", "bf16")]


def test_bf16_has_to_save_a_quarter_of_the_time() -> None:
    assert weighed_time(Candidate("torch", "bf16"), 70) < weighed_time(Candidate("torch", "fp32"), 100)
    assert weighed_time(Candidate("torch", "bf16"), 80) > weighed_time(Candidate("torch", "fp32"), 100)


def test_where_bf16_comes_into_question_it_is_measured_once_and_the_faster_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        choice, "candidates", lambda *_, **__: [Candidate("torch", p) for p in ("fp32", "bf16")]
    )
    first = Stylizer(Checkpoint(network(), {}), device="cpu", backend="torch")
    (entry,) = (tmp_path / "cache" / "measured").iterdir()
    times = json.loads(entry.read_text())["times"]
    faster = min(("fp32", "bf16"), key=lambda p: weighed_time(Candidate("torch", p), times[f"torch {p}"]))
    again = Stylizer(Checkpoint(network(), {}), device="cpu", backend="torch")
    assert first.precision == again.precision == faster
    assert json.loads(entry.read_text())["times"] == times


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Packages of both engines that raise an error when they are imported, before those that may be there."""

    def install(error: str) -> None:
        for name in ("openvino", "onnxruntime", "onnx"):
            for loaded in [m for m in sys.modules if m.split(".")[0] == name]:
                monkeypatch.delitem(sys.modules, loaded)
            (tmp_path / f"{name}.py").write_text(f"raise {error}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


@pytest.mark.parametrize(
    "error",
    ["ImportError('no library')", "OSError('no library')", "AttributeError('half')", "RuntimeError()"],
)
def test_auto_goes_on_where_engines_are_installed_in_part_and_says_so(
    broken: Callable[[str], None], caplog: pytest.LogCaptureFixture, error: str
) -> None:
    broken(error)
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", precision="fp32")
    assert stylize.backend.name == "torch"
    told = {record.args[0].args[0].split(" does")[0] for record in caplog.records}
    assert told == {"the engine openvino", "the engine onnx"}
    assert len(caplog.records) == 2


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_broken_engine_that_was_asked_for_is_an_error_with_the_cure(
    broken: Callable[[str], None], name: str
) -> None:
    broken("RuntimeError('wrong driver')")
    with pytest.raises(
        InputError, match=r"does not work here \(RuntimeError: wrong driver\); give --precision"
    ):
        Stylizer(Checkpoint(network(), {}), device="cpu", backend=name)


@pytest.mark.parametrize("matrix_units", [False, True])
def test_a_broken_engine_is_the_same_error_where_two_precisions_come_into_question(
    broken: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    matrix_units: bool,
) -> None:
    broken("RuntimeError('wrong driver')")
    kinds = ["fp32", "bf16"][: 1 + matrix_units]
    monkeypatch.setattr(
        choice, "candidates", lambda *_, **__: [Candidate("openvino", kind) for kind in kinds]
    )
    with pytest.raises(InputError, match="engine openvino does not work here"):
        Stylizer(Checkpoint(network(), {}), device="cpu", backend="openvino")
    assert not caplog.records
    assert Stylizer(Checkpoint(network(), {}), device="cpu", backend="auto").backend.name == "torch"
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"backend": "openvino", "device": "cuda"}, "runs on the processor; give --device cpu"),
        ({"backend": "openvino", "precision": "fp16"}, "computes in fp32, bf16 or int8, not fp16"),
        ({"backend": "onnx", "precision": "bf16"}, "computes in fp32, not bf16; give --backend torch"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Stylizer(Checkpoint(network(), {}), **options)


def test_an_engine_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # Python's way to block an import
    with pytest.raises(InputError, match=r"openvino is not installed: pip install openvino onnx, or"):
        Stylizer(Checkpoint(network(), {}), backend="openvino")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, empty."""
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


STYLIZE = """
import json
import sys
from fast_nst.cli.stylize import main
for backend in sys.argv[1].split():
    words = "demo --style dots.safetensors --size 64 --device cpu --backend".split()
    out = f"{backend}-{sys.argv[3]}.png"
    print(backend, main([*words, backend, "--precision", sys.argv[2], "--out", out]))
print(*sorted({"torch", "torchvision", "av"} & set(sys.modules)))
"""


def in_a_new_process(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Stylize with several engines, one after another: their names, a precision, an ending of names."""
    ours = {"FAST_NST_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", STYLIZE, *words],
        cwd=folder,
        env=os.environ | ours | environment,
        capture_output=True,
        text=True,
    )


def test_a_second_run_of_the_command_imports_no_torch_and_for_pictures_no_pyav(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = [name for name, modules in MODULES.items() if all(map(find_spec, modules))]
    if not engines:
        pytest.skip("no engine but torch is installed")
    save_checkpoint(tmp_path / "dots.safetensors", network(), {"style": "dots"})
    monkeypatch.chdir(tmp_path)
    words = ["demo", "--style", "dots.safetensors", "--size", "64", "--device", "cpu", "--precision", "fp32"]
    for name in engines:
        assert command([*words, "--backend", name, "--out", f"{name}-1.png"]) == 0
    done = in_a_new_process(tmp_path, " ".join(engines), "fp32", "2")
    *codes, imported = done.stdout.split("\n")[:-1]
    assert [line for line in codes if line in [f"{name} 0" for name in engines]], done.stderr
    assert imported == ""
    for name in engines:
        assert Path(f"{name}-1.png").read_bytes() == Path(f"{name}-2.png").read_bytes()


@pytest.mark.slow
def test_bf16_is_stylized_or_refused_in_one_line_where_instructions_are_limited(tmp_path: Path) -> None:
    """OpenVINO believes the processor, its convolutions the limit."""
    installed("openvino")
    save_checkpoint(tmp_path / "dots.safetensors", network(), {"style": "dots"})
    done = in_a_new_process(tmp_path, "auto openvino", "bf16", "1", ONEDNN_MAX_CPU_ISA="AVX2")
    assert "Traceback" not in done.stderr
    assert "auto 0" in done.stdout.splitlines()
    assert (tmp_path / "auto-1.png").is_file()
    if "openvino 0" in done.stdout.splitlines():
        assert (tmp_path / "openvino-1.png").is_file()
    else:
        assert "give --precision fp32 or --backend torch" in done.stderr


# What is kept between runs.


def test_a_style_that_changed_is_not_stylized_from_what_was_kept(
    backend: str, folder: Path, tmp_path: Path
) -> None:
    path, levels = tmp_path / "dots.safetensors", picture(16, 16)
    net = network()
    save_checkpoint(path, net, {"style": "dots"}, half=False)
    before = Stylizer.load(path, device="cpu", precision="fp32", backend=backend).backend.run_uint8(levels)
    net.load_state_dict({name: -t if "conv4" in name else t for name, t in net.state_dict().items()})
    save_checkpoint(path, net, {"style": "dots"}, half=False)
    after = Stylizer.load(path, device="cpu", precision="fp32", backend=backend).backend.run_uint8(levels)
    assert np.abs(after.astype(int) - painted(net, levels)).max() <= 1
    assert np.abs(after.astype(int) - before).max() > 1


def test_cached_contents_that_are_damaged_are_made_again(backend: str, folder: Path, tmp_path: Path) -> None:
    if backend == "torch":
        pytest.skip("torch caches nothing")
    path, levels = tmp_path / "dots.safetensors", picture(16, 16)
    save_checkpoint(path, network(), {"style": "dots"}, half=False)
    options = {"device": "cpu", "precision": "fp32", "backend": backend}
    before = Stylizer.load(path, **options).backend.run_uint8(levels)
    (file,) = folder.glob("*.model")
    whole = file.read_bytes()
    for bad in (b"", b"not a model", b"\x08\x08" * 999, whole[32:-999]):
        file.write_bytes(whole[:32] + bad)
        assert np.array_equal(Stylizer.load(path, **options).backend.run_uint8(levels), before)
        assert len(file.read_bytes()) > len(whole) - 99


@pytest.mark.parametrize("bad", [b"", b"not a model", b"\x08\x08" * 999])
def test_cached_contents_with_a_valid_digest_that_the_engine_cannot_load_are_made_again(
    backend: str, folder: Path, bad: bytes
) -> None:
    if backend == "torch":
        pytest.skip("torch caches nothing")

    def load(data: bytes) -> object:
        if backend == "openvino":
            return openvino().Core().import_model(data, "CPU", {})
        return onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])

    load_or_make("key", lambda: ("made", bad), load)
    assert load_or_make("key", lambda: ("made again", b""), load) == "made again"

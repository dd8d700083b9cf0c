"""Engines: each paints what the network paints, `auto` chooses well, and a second run needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fast_nst.config import PRESETS
from fast_nst.errors import InputError
from fast_nst.inference.engine import cache
from fast_nst.inference.engine.backends import choice
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import from_uint8, to_uint8
from fast_nst.models.checkpoint import Checkpoint, save_checkpoint
from fast_nst.models.transform_net import TransformNet

ROOT = Path(__file__).resolve().parents[3]
MODULES = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}
SIZES = [(1, 1), (3, 17), (32, 32), (45, 38)]


def installed(backend: str) -> None:
    for name in MODULES.get(backend, ()):
        pytest.importorskip(name, reason=f"{name} is not installed; the extra {backend} brings it")


@pytest.fixture(params=["torch", "openvino", "onnx"])
def backend(request) -> str:
    installed(request.param)
    return request.param


def network(preset: str = "default") -> TransformNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = replace(PRESETS[preset], widths=(8, 8, 16), blocks=1)
        net = TransformNet(config).eval().requires_grad_(False)
    for name, tensor in net.named_parameters():
        if name.startswith("body.conv4") and name.endswith("bias"):
            tensor += 0.3  # little of the range is clipped
    return net


def picture(height: int, width: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def painted(net: TransformNet, levels: np.ndarray) -> np.ndarray:
    """By the plain network in fp32."""
    return np.stack([to_uint8(net(from_uint8(one)[None])[0].clamp(0, 1)) for one in levels])


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_every_engine_stylizes_what_the_network_stylizes(backend, preset):
    net = network(preset)
    stylize = Stylizer(Checkpoint(net, {}), device="cpu", precision="fp32", backend=backend)
    for height, width in SIZES:
        levels = picture(height, width, 2)
        out = stylize.backend.run_uint8(levels)
        assert out.dtype == np.uint8
        assert np.abs(out.astype(int) - painted(net, levels)).max() <= 1


def test_pale_and_large_pictures_are_as_exact_as_others(backend):
    """What adds up a map value by value in fp32 is off by some 60 levels here."""
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", precision="fp32", backend=backend)
    levels = np.random.default_rng(0).integers(235, 256, (1, 1500, 1500, 3), dtype=np.uint8)
    away = np.abs(stylize.backend.run_uint8(levels).astype(int) - painted(network(), levels)).max()
    assert away <= (2 if backend == "onnx" else 1)  # of onnxruntime's own norm


def test_openvino_in_bf16_stylizes_large_pictures_as_it_stylizes_small_ones(monkeypatch):
    installed("openvino")
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", precision="bf16", backend="openvino")
    if stylize.precision != "bf16":
        pytest.skip("this processor has no bf16")
    levels = picture(45, 38)
    small = stylize.backend.run_uint8(levels)
    monkeypatch.setattr("fast_nst.inference.engine.backends.openvino.LARGE", 100)
    large = stylize.backend.run_uint8(levels)
    assert np.abs(large.astype(int) - small).max() > 0  # another graph
    assert np.abs(large.astype(int) - small).mean() < 2
    monkeypatch.undo()
    np.testing.assert_array_equal(stylize.backend.run_uint8(levels), small)


def test_floats_are_stylized_as_levels_are_but_not_rounded(backend):
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", precision="fp32", backend=backend)
    levels = picture(21, 26)
    floats = stylize(from_uint8(levels[0]))
    assert floats.dtype == torch.float32
    assert 0 <= floats.min() <= floats.max() <= 1
    assert np.abs(to_uint8(floats).astype(int) - stylize.backend.run_uint8(levels)[0]).max() <= 1
    assert len(floats.unique()) > 256


def test_read_only_and_mirrored_pictures_are_stylized(backend):
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend)
    levels = picture(16, 20)
    levels.flags.writeable = False
    before = levels.copy()
    mirrored = stylize.backend.run_uint8(levels[:, :, ::-1])
    expected = stylize.backend.run_uint8(np.ascontiguousarray(levels[:, :, ::-1]))
    np.testing.assert_array_equal(mirrored, expected)
    np.testing.assert_array_equal(levels, before)


def test_a_result_outlives_the_next_one(backend):
    """Engines use their buffers again."""
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend)
    first = stylize.backend.run_uint8(picture(16, 20))
    copy = first.copy()
    stylize.backend.run_uint8(255 - picture(16, 20))
    np.testing.assert_array_equal(first, copy)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bf16_stays_near_and_is_named(name):
    installed(name)
    net = network()
    stylize = Stylizer(Checkpoint(net, {}), device="cpu", precision="bf16", backend=name)
    assert stylize.precision in ("bf16", "fp32")  # the latter where OpenVINO cannot
    levels = picture(40, 44)
    error = stylize.backend.run_uint8(levels).astype(float) - painted(net, levels)
    assert np.sqrt(np.mean(error**2)) < 4


@pytest.mark.parametrize("matrix_units", [True, False])
def test_auto_takes_bf16_only_where_there_are_matrix_units(backend, matrix_units, monkeypatch):
    name = {"torch": "fast_nst.system.device", "openvino": "fast_nst.inference.engine.backends.openvino"}.get(
        backend
    )
    if name is not None:
        monkeypatch.setattr(f"{name}.cpu_has_matrix_units", lambda: matrix_units)
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend)
    allowed = ("bf16", "fp32") if matrix_units and backend != "onnx" else ("fp32",)
    assert stylize.precision in allowed
    assert stylize.precision != "fp32" or backend != "torch" or not matrix_units


@pytest.mark.parametrize(
    ("have", "device", "precision", "units", "expected"),
    [
        (("openvino", "onnx"), "cpu", "auto", False, ["openvino", "onnx"]),
        (("onnx",), "cpu", "auto", False, ["onnx"]),
        (("onnx",), "cpu", "auto", True, []),  # torch in bf16 is faster than onnxruntime in fp32
        (("onnx",), "cpu", "fp32", True, ["onnx"]),
        (("openvino", "onnx"), "cpu", "bf16", False, ["openvino"]),
        (("openvino", "onnx"), "cpu", "fp16", True, []),
        (("openvino", "onnx"), "cuda", "auto", False, []),
        ((), "cpu", "auto", False, []),
    ],
)
def test_auto_tries_what_is_installed_in_the_order_of_speed(
    monkeypatch, have, device, precision, units, expected
):
    monkeypatch.setattr(choice, "_installed", lambda name: name in have)
    monkeypatch.setattr(choice, "cpu_has_matrix_units", lambda: units)
    assert list(choice._by_speed(device, precision)) == expected


def test_auto_goes_on_where_an_engine_is_installed_in_part(monkeypatch):
    monkeypatch.setattr(choice, "_installed", lambda name: True)
    monkeypatch.setitem(sys.modules, "fast_nst.inference.engine.backends.openvino", None)
    monkeypatch.setitem(sys.modules, "fast_nst.inference.engine.backends.onnx", None)
    assert Stylizer(Checkpoint(network(), {}), device="cpu").backend.name == "torch"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"backend": "openvino", "device": "cuda"}, "runs on the processor; give --device cpu"),
        ({"backend": "openvino", "precision": "fp16"}, "computes in fp32 or bf16, not fp16"),
        ({"backend": "onnx", "precision": "bf16"}, "computes in fp32, not bf16; give --backend torch"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(options, told):
    with pytest.raises(InputError, match=told):
        Stylizer(Checkpoint(network(), {}), **options)


def test_an_engine_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(choice, "_installed", lambda name: False)
    with pytest.raises(InputError, match=r"openvino is not installed: pip install openvino onnx, or"):
        Stylizer(Checkpoint(network(), {}), backend="openvino")


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_second_run_of_the_command_imports_no_torch_and_for_pictures_no_pyav(name, tmp_path):
    installed(name)
    save_checkpoint(tmp_path / "dots.safetensors", network(), {"style": "dots"})
    code = f"""
import sys
from fast_nst.cli.stylize import main
code = main(["demo", "--style", "dots.safetensors", "--size", "64", "--backend", {name!r}, "--device", "cpu",
             "--out", sys.argv[1]])
print(code, *sorted({{"torch", "torchvision", "av"}} & set(sys.modules)))
"""
    environment = os.environ | {"FAST_NST_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    said = [
        subprocess.run(
            [sys.executable, "-c", code, out], cwd=tmp_path, env=environment, capture_output=True, text=True
        ).stdout.splitlines()[-1]
        for out in ("1.png", "2.png")
    ]
    assert said == ["0 torch", "0"]
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_bf16_is_stylized_or_refused_in_one_line_where_instructions_are_limited(backend, tmp_path):
    """OpenVINO believes the processor, its convolutions the limit."""
    installed("openvino")
    save_checkpoint(tmp_path / "dots.safetensors", network(), {"style": "dots"})
    words = ["demo", "--style", "dots.safetensors", "--size", "64", "--device", "cpu", "--precision", "bf16"]
    limits = {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "FAST_NST_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-m", "fast_nst", "stylize", *words, "--backend", backend, "--out", "1.png"],
        cwd=tmp_path,
        env=os.environ | limits,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    if backend == "auto" or not done.returncode:
        assert (tmp_path / "1.png").is_file()
    else:
        assert "give --precision fp32 or --backend torch" in done.stderr


# What is kept between runs.


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_style_that_changed_is_not_stylized_from_what_was_kept(backend, folder, tmp_path):
    path, levels = tmp_path / "dots.safetensors", picture(16, 16)
    net = network()
    save_checkpoint(path, net, {"style": "dots"}, half=False)
    before = Stylizer.load(path, device="cpu", precision="fp32", backend=backend).backend.run_uint8(levels)
    net.load_state_dict({name: -t if "conv4" in name else t for name, t in net.state_dict().items()})
    save_checkpoint(path, net, {"style": "dots"}, half=False)
    after = Stylizer.load(path, device="cpu", precision="fp32", backend=backend).backend.run_uint8(levels)
    assert np.abs(after.astype(int) - painted(net, levels)).max() <= 1
    assert np.abs(after.astype(int) - before).max() > 1


def test_cached_contents_that_the_engine_cannot_load_are_made_again(backend, folder, tmp_path, monkeypatch):
    if backend == "torch":
        pytest.skip("torch caches nothing")
    path, levels = tmp_path / "dots.safetensors", picture(16, 16)
    save_checkpoint(path, network(), {"style": "dots"}, half=False)
    options = {"device": "cpu", "precision": "fp32", "backend": backend}
    written, write = [], cache._write
    monkeypatch.setattr(cache, "_write", lambda *entry: (written.append(entry), write(*entry)))
    before = Stylizer.load(path, **options).backend.run_uint8(levels)
    file, key, data = written[0]
    for bad in (b"", b"not a model", b"\x08\x08" * 999, data[:-999]):
        write(file, key, bad)  # with a valid digest
        assert np.array_equal(Stylizer.load(path, **options).backend.run_uint8(levels), before)
        assert len(file.read_bytes()) > len(data) - 99

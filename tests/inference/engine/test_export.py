"""Exported styles: what other programs get paints what we paint, or is not left behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fast_nst.cli import main as cli
from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError
from fast_nst.inference.engine import export
from fast_nst.inference.engine.export import ENDINGS, export_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import from_uint8
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.transform_net import TransformNet

MODULES = {"onnx": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"), "pt2": ()}


@pytest.fixture
def style(tmp_path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "dots.safetensors"
    save_checkpoint(path, TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1)), {"style": "dots"})
    return path


@pytest.fixture(params=["onnx", "openvino", "pt2"])
def format(request) -> str:
    for name in MODULES[request.param]:
        pytest.importorskip(name, reason=f"{name} is not installed; the extra {request.param} brings it")
    return request.param


def run(file: Path, format: str, picture: np.ndarray) -> np.ndarray:
    """As somebody else would, with nothing of ours."""
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return session.run(None, {"picture": picture})[0]
    if format == "openvino":
        import openvino

        return openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([picture])[0]
    return torch.export.load(file).module()(torch.from_numpy(picture)).numpy()


def metadata(file: Path, format: str) -> dict[str, object]:
    if format == "onnx":
        import onnx

        return json.loads({p.key: p.value for p in onnx.load(file).metadata_props}["fast_nst"])
    if format == "openvino":
        import openvino

        return json.loads(openvino.Core().read_model(file).get_rt_info(["fast_nst", "fast_nst"]).astype(str))
    extra = {"fast_nst.json": ""}
    torch.export.load(file, extra_files=extra)
    return json.loads(extra["fast_nst.json"])


@pytest.mark.parametrize("pixels", ["float", "uint8"])
def test_an_exported_style_paints_what_we_paint_and_says_what_it_is(style, format, pixels, tmp_path):
    out = tmp_path / f"dots{ENDINGS[format]}"
    files = export_style(style, out, format, pixels=pixels)
    assert sorted(tmp_path.iterdir()) == sorted([style, *files])
    assert metadata(out, format)["style"] == "dots"
    stylize = Stylizer.load(style, device="cpu", precision="fp32", backend="torch")
    for size in ((19, 33), (48, 64), (2, 3)):
        levels = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
        floats = torch.stack([from_uint8(one) for one in levels])
        if pixels == "uint8":
            found, expected, most = run(out, format, levels), stylize.backend.run_uint8(levels), 1
        else:
            found, expected, most = run(out, format, floats.numpy()), stylize(floats).numpy(), 1e-3
        assert found.dtype == expected.dtype
        assert np.abs(found.astype(float) - expected).max() <= most


def test_a_file_that_paints_something_else_is_not_left_behind(style, tmp_path, monkeypatch):
    def wrong(path: Path, *_: object) -> export.Runner:
        path.touch()
        return lambda array: np.clip(array * 0.9, 0, 1)

    monkeypatch.setitem(export._WRITERS, "pt2", wrong)
    with pytest.raises(InputError, match=r"dots\.pt2 is not written: at 48 x 64 it differs .* by [01]"):
        export_style(style, tmp_path / "dots.pt2", "pt2")
    assert list(tmp_path.iterdir()) == [style]


def test_a_package_that_is_missing_is_named_with_its_extra(style, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"the package onnxruntime; pip install 'fast-nst\[onnx\]'"):
        export_style(style, tmp_path / "dots.onnx", "onnx")
    assert list(tmp_path.iterdir()) == [style]


def test_what_is_in_the_way_is_kept(style, tmp_path):
    (tmp_path / "dots.pt2").write_text("mine")
    with pytest.raises(InputError, match=r"dots\.pt2 exists; give --overwrite"):
        export_style(style, tmp_path / "dots.pt2", "pt2")
    assert (tmp_path / "dots.pt2").read_text() == "mine"


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("dots.onnx", r"dots\.onnx: a file of format pt2 ends in \.pt2"),
        ("no/dots.pt2", "no folder .*no"),
    ],
)
def test_a_place_that_cannot_be_is_refused(style, tmp_path, out, told):
    with pytest.raises(InputError, match=told):
        export_style(style, tmp_path / out, "pt2")


def test_the_command_prints_the_file(style, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed; the extra onnx brings it")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; the extra onnx brings it")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(style)]) == 0
    said = capsys.readouterr()
    assert said.out == "dots.onnx\n"
    assert "48 x 64" in said.err
    assert cli.main(["export", str(style), str(style)]) == 2
    assert "one style is exported at a time, got 2" in capsys.readouterr().err

"""Exported styles: what other programs get paints what we paint, or is not left behind."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fast_nst.cli import main as cli
from fast_nst.config import PRESETS, ExportConfig, NetworkConfig
from fast_nst.errors import InputError
from fast_nst.inference.engine import export
from fast_nst.inference.engine.export import ENDINGS, export_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import from_uint8
from fast_nst.models.checkpoint import save_checkpoint
from fast_nst.models.transform_net import TransformNet

MODULES = {"onnx": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"), "pt2": ()}


@pytest.fixture
def style(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "dots.safetensors"
    save_checkpoint(path, TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1)), {"style": "dots"})
    return path


# torch.export takes ten times as long as the others: of its combinations the default tier has a sample.
SLOW_PT2 = ["onnx", "openvino", pytest.param("pt2", marks=pytest.mark.slow)]


@pytest.fixture(params=["onnx", "openvino", "pt2"])
def format(request: pytest.FixtureRequest) -> str:
    for name in MODULES[request.param]:
        pytest.importorskip(name, reason=f"{name} is not installed; the extra {request.param} brings it")
    return request.param


def run(file: Path, format: str, picture: NDArray[Any]) -> NDArray[Any]:
    """As somebody else would, with nothing of ours."""
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return session.run(None, {"image": picture})[0]
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


@pytest.mark.parametrize(
    ("format", "pixels"),
    [
        *((name, pixels) for name in ("onnx", "openvino") for pixels in ("float", "uint8")),
        pytest.param("pt2", "float", marks=pytest.mark.slow),
        pytest.param("pt2", "uint8", marks=pytest.mark.slow),
    ],
    indirect=["format"],
)
def test_an_exported_style_stylizes_as_we_do_and_says_what_it_is(
    style: Path, format: Any, pixels: Any, tmp_path: Path
) -> None:
    out = tmp_path / f"dots{ENDINGS[format]}"
    files = export_style(style, out, format, pixels=pixels)
    assert sorted(tmp_path.iterdir()) == sorted([style, *files])
    assert metadata(out, format)["style"] == "dots"
    stylize = Stylizer.load(style, device="cpu", precision="fp32", backend="torch")
    most: float
    for size in ((19, 33), (48, 64), (2, 3)):
        levels = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
        floats = torch.stack([from_uint8(one) for one in levels])
        if pixels == "uint8":
            found, expected, most = run(out, format, levels), stylize.backend.run_uint8(levels), 1
        else:
            found, expected, most = run(out, format, floats.numpy()), stylize(floats).numpy(), 1e-3
        assert found.dtype == expected.dtype
        assert np.abs(found.astype(float) - expected).max() <= most


def test_a_file_with_other_results_is_not_left_behind(
    style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object) -> tuple[dict[str, bytes], export.Runner]:
        return {".pt2": b"wrong"}, lambda array: np.clip(array * 0.9, 0, 1)

    monkeypatch.setitem(export._WRITERS, "pt2", wrong)
    with pytest.raises(InputError, match=r"dots\.pt2 is not written: at 48 x 64 it differs .* by [01]"):
        export_style(style, tmp_path / "dots.pt2", "pt2")
    assert list(tmp_path.iterdir()) == [style]


SAMPLE = {"openvino": [("uint8", (2, 3))], "pt2": []}
FIXED = [
    pytest.param(name, pixels, size, marks=() if quick else pytest.mark.slow)
    for name in ("onnx", "openvino", "pt2")
    for pixels in ("float", "uint8")
    for size in ((32, 40), (19, 33), (2, 3))
    for quick in [name == "onnx" or (pixels, size) in SAMPLE[name]]
]


@pytest.mark.parametrize(("format", "pixels", "size"), FIXED, indirect=["format"])
def test_an_export_of_a_fixed_size_has_the_same_result_and_takes_no_other(
    style: Path, format: Any, pixels: Any, size: Any, tmp_path: Path
) -> None:
    most: float
    out = tmp_path / f"dots{ENDINGS[format]}"
    export_style(style, out, format, pixels=pixels, fixed_size=size)
    stylize = Stylizer.load(style, device="cpu", precision="fp32", backend="torch")
    levels = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    floats = torch.stack([from_uint8(one) for one in levels])
    if pixels == "uint8":
        found, expected, most = run(out, format, levels), stylize.run_uint8(levels), 1
    else:
        found, expected, most = run(out, format, floats.numpy()), stylize(floats).numpy(), 1e-3
    assert np.abs(found.astype(float) - expected).max() <= most
    with pytest.raises(Exception):  # noqa: B017, PT011 - each engine has its own
        run(out, format, np.zeros((1, 3, 64, 64), np.float32))


@pytest.mark.parametrize("size", [(32, 40), (19, 33), (2, 3)])
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_opencv_runs_an_onnx_export_of_a_fixed_size(
    preset: str, size: tuple[int, int], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; the extra onnx brings it")
    import cv2

    torch.manual_seed(0)
    style, out = tmp_path / "dots.safetensors", tmp_path / "dots.onnx"
    save_checkpoint(
        style, TransformNet(replace(PRESETS[preset], widths=(4, 4, 8), blocks=1)), {"style": "dots"}
    )
    export_style(style, out, "onnx", fixed_size=size)
    image = torch.rand(1, 3, *size)
    network = cv2.dnn.readNetFromONNX(str(out))
    network.setInput(image.numpy())
    found = network.forward()
    expected = Stylizer.load(style, device="cpu", precision="fp32", backend="torch")(image).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("size", [None, (32, 40)])
def test_every_convolution_of_an_onnx_export_says_its_kernel_shape(
    style: Path, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed; the extra onnx brings it")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; the extra onnx brings it")
    export_style(style, tmp_path / "dots.onnx", "onnx", fixed_size=size)
    nodes = onnx.load(tmp_path / "dots.onnx").graph.node
    convolutions = [node for node in nodes if node.op_type in ("Conv", "ConvTranspose")]
    assert len(convolutions) == (8 if size else 9)
    for node in convolutions:
        assert "kernel_shape" in {attribute.name for attribute in node.attribute}
    if size:
        assert not {node.op_type for node in nodes} & {"Shape", "Range", "Gather", "Slice", "Mod", "Max"}


@pytest.mark.slow
def test_a_pt2_export_of_a_fixed_size_computes_no_sizes(style: Path, tmp_path: Path) -> None:
    export_style(style, tmp_path / "dots.pt2", "pt2", fixed_size=(32, 40))
    called = {str(node.target) for node in torch.export.load(tmp_path / "dots.pt2").graph.nodes}
    assert not [name for name in called if "sym" in name or "arange" in name]


@pytest.mark.parametrize("format", SLOW_PT2, indirect=True)
def test_a_full_disk_is_one_error_that_names_the_file_and_leaves_nothing(
    style: Path, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    out = tmp_path / f"dots{ENDINGS[format]}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    make = export._WRITERS[format]

    def then_full(*arguments: object) -> object:
        made = make(*arguments)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
        return made

    monkeypatch.setitem(export._WRITERS, format, then_full)
    try:
        with pytest.raises(OSError, match="the disk is full") as caught:
            export_style(style, out, format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Path(caught.value.filename).stem == "dots"
    assert list(tmp_path.iterdir()) == [style]


def test_openvino_on_a_full_disk_is_one_error(style: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed; the extra openvino brings it")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write there|the disk is full"):
            export_style(style, tmp_path / "dots.xml", "openvino")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [style]


@pytest.mark.parametrize("size", ["480", "0x5", "5x", "axb", "99999x3", "-3x4", "480x640x3"])
def test_a_fixed_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(InputError, match=r"--fixed-size .* is not HEIGHTxWIDTH with sides of 1 to 8192"):
        ExportConfig(fixed_size=size)
    assert ExportConfig(fixed_size="480x640").size == (480, 640)


def test_a_package_that_is_missing_is_named_with_its_extra(
    style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"the package onnx(runtime)?: pip install onnx onnxruntime"):
        export_style(style, tmp_path / "dots.onnx", "onnx")
    assert list(tmp_path.iterdir()) == [style]


def test_what_is_in_the_way_is_kept(style: Path, tmp_path: Path) -> None:
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
def test_a_place_that_cannot_be_is_refused(style: Path, tmp_path: Path, out: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        export_style(style, tmp_path / out, "pt2")


def test_the_command_prints_the_file(
    style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed; the extra onnx brings it")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; the extra onnx brings it")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(style)]) == 0
    said = capsys.readouterr()
    assert said.out == "dots.onnx\n"
    assert "48 x 64" in said.err
    dotted = tmp_path / "dots.v1.5"
    dotted.write_bytes(style.read_bytes())
    assert cli.main(["export", str(dotted), "--fixed-size", "16x24"]) == 0
    said = capsys.readouterr()
    assert said.out == "dots.v1.5.onnx\n"
    assert "dots.v1.5 as onnx, results verified at 24 x 16" in said.err
    assert cli.main(["export", str(style), str(style)]) == 2
    assert "one style is exported at a time, got 2" in capsys.readouterr().err

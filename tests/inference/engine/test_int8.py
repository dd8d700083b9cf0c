"""Residual blocks in 8-bit integers: near fp32, alike for every picture of a batch, refused where wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.config import PRESETS, GalleryNetConfig
from fast_nst.errors import InputError
from fast_nst.inference.engine.backends.candidates import candidates
from fast_nst.inference.engine.backends.openvino import OpenVinoBackend
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.upscaler import Upscaler
from fast_nst.io.images import Picture, from_uint8, load_image, to_uint8
from fast_nst.models.checkpoint import Checkpoint, GalleryCheckpoint
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.transform_net import TransformNet
from fast_nst.system import cpu

able = pytest.mark.skipif(not cpu.cpu_multiplies_int8(), reason="this processor has no VNNI")


@pytest.fixture
def openvino() -> None:
    for name in ("openvino", "onnx"):
        pytest.importorskip(name, reason=f"{name} is not installed; the extra openvino brings it")


def network(**options: Any) -> TransformNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = TransformNet(replace(PRESETS["default"], widths=(8, 8, 16), blocks=2, **options)).eval()
    return net.requires_grad_(False)


def gallery() -> GalleryCheckpoint:
    rows = [{"style": None, "scale": 0.0}, {"style": "one", "scale": 1.0}, {"style": "two", "scale": 1.0}]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = GalleryNet(GalleryNetConfig(widths=(4, 6, 8), blocks=2, rows=3)).eval().requires_grad_(False)
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return GalleryCheckpoint(net, {"style": "my", "rows": rows})


def picture(height: int, width: int, count: int = 1) -> NDArray[Any]:
    return np.random.default_rng(height).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def rounded(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The input of a convolution in 256 levels between its least and its largest value, of every image."""
    (x,) = inputs
    least, most = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    step = (most - least) / 255
    return (((x - least) / step).round() * step + least,)


def expected(net: nn.Module, run: Any) -> Any:
    """What a network gives with the inputs and weights of the convolutions of its blocks rounded."""
    named = net.named_modules()
    convolutions = [part for name, part in named if "block" in name and isinstance(part, nn.Conv2d)]
    assert len(convolutions) == 4
    kept = [conv.weight.clone() for conv in convolutions]
    hooks = [conv.register_forward_pre_hook(rounded) for conv in convolutions]
    try:
        for conv in convolutions:
            scale = conv.weight.abs().amax((1, 2, 3), keepdim=True) / 127
            conv.weight.copy_((conv.weight / scale).round() * scale)
        return run(net)
    finally:
        for conv, weight, hook in zip(convolutions, kept, hooks, strict=True):
            conv.weight.copy_(weight)
            hook.remove()


def levels(image: Tensor) -> NDArray[Any]:
    return (255 * image.clamp(0, 1)).permute(0, 2, 3, 1).numpy()


@able
@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("size", [(45, 38), (32, 64), (3, 17)])
@pytest.mark.parametrize("padding", ["reflect", "paper"])
def test_only_the_blocks_inputs_and_weights_are_rounded(size: tuple[int, int], padding: str) -> None:
    net = network(padding=padding)
    images = picture(*size, 2)
    stylizer = Stylizer(Checkpoint(net, {}), device="cpu", precision="int8")
    assert str(stylizer) == "cpu int8 openvino"
    wanted = levels(expected(net, lambda n: n(torch.stack([from_uint8(one) for one in images]))))
    error = np.abs(stylizer.backend.run_uint8(images) - wanted)
    assert error.mean() < 0.3  # of the rounding of the result
    assert error.max() < 6  # values between two levels fall to one side or the other
    assert np.array_equal(stylizer.backend.run_uint8(images[1:]), stylizer.backend.run_uint8(images)[1:])


@able
@pytest.mark.usefixtures("openvino")
def test_a_gallery_mixes_its_rows_in_integers_too() -> None:
    checkpoint, image = gallery(), picture(45, 61)
    stylizer = Stylizer(checkpoint, device="cpu", precision="int8")
    for weights in ({"one": 1.0}, {"one": 0.25, "two": 0.75}):
        mixture = torch.tensor([[0.0, weights["one"], weights.get("two", 0.0)]])
        net = checkpoint.network
        wanted = levels(expected(net, lambda n, m=mixture: n(from_uint8(image[0])[None], m)))
        error = np.abs(stylizer.mix(weights)(image[0]) - wanted[0])
        assert error.mean() < 0.3
        assert error.max() < 6
    assert np.array_equal(stylizer.mix({"one": 1}, strength=0)(image[0]), image[0])


@able
@pytest.mark.usefixtures("openvino")
def test_channels_that_are_all_zero_stay_what_their_norm_makes_of_them() -> None:
    net, images = network(), picture(40, 40)
    for name, weight in net.named_parameters():
        if "block" in name and weight.dim() == 4:
            weight[::2] = 0
    one, other = (
        Stylizer(Checkpoint(net, {}), device="cpu", precision=kind, backend="openvino").backend
        for kind in ("fp32", "int8")
    )
    assert np.abs(one.run_uint8(images).astype(int) - other.run_uint8(images)).mean() < 1


@able
@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("level", [0, 128, 255])
def test_pictures_of_one_color_stay_as_they_are_in_fp32(level: int) -> None:
    flat = np.full((40, 40, 3), level, np.uint8)
    one, other = (Stylizer(gallery(), device="cpu", precision=kind) for kind in ("fp32", "int8"))
    assert np.abs(one(flat).astype(int) - other(flat)).max() <= 1


@able
@pytest.mark.usefixtures("openvino")
def test_pictures_larger_than_memory_are_stylized_in_fp32() -> None:
    image = Picture(picture(150, 70)[0])
    exact, fast = (Stylizer(gallery(), device="cpu", precision=kind) for kind in ("fp32", "int8"))
    assert np.array_equal(fast.in_bands(image, rows=16).rgb, exact.in_bands(image, rows=16).rgb)


@pytest.mark.usefixtures("openvino")
def test_processors_on_which_sums_would_overflow_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(InputError, match=r"int8 needs a processor with VNNI; .*; give --precision auto$"):
        Stylizer(Checkpoint(network(), {}), device="cpu", precision="int8")
    fastest = Stylizer(Checkpoint(network(), {}), device="cpu", precision="fastest", backend="openvino")
    assert fastest.precision == "fp32"


@pytest.mark.usefixtures("openvino")
def test_networks_without_instance_norms_are_refused() -> None:
    net = TransformNet(replace(PRESETS["default"], norm="batch", widths=(4, 4, 8), blocks=1)).eval()
    with pytest.raises(InputError, match=r"int8 needs .* instance norms; give --precision auto$"):
        Stylizer(Checkpoint(net, {}), device="cpu", precision="int8")


@pytest.mark.parametrize("backend", ["torch", "compile", "onnx"])
def test_other_engines_name_the_one_that_computes_in_int8(backend: str) -> None:
    with pytest.raises(InputError, match="not int8; give --backend openvino"):
        Stylizer(Checkpoint(network(), {}), precision="int8", backend=backend)


def test_super_resolution_has_no_int8() -> None:
    with pytest.raises(InputError, match=r"not compute in int8; give --precision auto$"):
        Upscaler("x4", precision="int8")
    assert Upscaler("x4", device="cpu", precision="fastest").precision in ("fp32", "bf16")


def test_int8_on_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="runs on the processor; give --device cpu"):
        Stylizer(Checkpoint(network(), {}), precision="int8", device="cuda")


@pytest.mark.parametrize(
    ("precision", "normed", "vnni", "expected"),
    [
        ("fastest", True, True, ["openvino fp32", "openvino int8", "onnx fp32"]),
        ("fastest", False, True, ["openvino fp32", "onnx fp32"]),
        ("fastest", True, False, ["openvino fp32", "onnx fp32"]),
        ("auto", True, True, ["openvino fp32", "onnx fp32"]),
    ],
)
def test_fastest_considers_int8_where_it_is_exact_enough(
    precision: str, normed: bool, vnni: bool, expected: list[str]
) -> None:
    found = candidates(
        "cpu",
        precision,
        normed=normed,
        installed=lambda _: True,
        has_matrix_units=lambda: False,
        multiplies_int8=lambda: vnni,
    )
    assert [str(candidate) for candidate in found] == expected
    assert [str(one) for one in candidates("cuda", precision, normed=normed)] == ["torch auto"]


@pytest.mark.parametrize(
    ("flags", "limit", "expected"),
    [
        ({"avx512_vnni"}, None, True),
        ({"avx_vnni"}, None, True),
        ({"avx512_vnni"}, "AVX512_CORE_BF16", True),
        ({"avx512_vnni"}, "AVX512_CORE", False),
        ({"avx512_vnni"}, "AVX2", False),
        ({"avx512f"}, None, False),
    ],
)
def test_sums_of_8_bit_products_count_as_exact_only_with_vnni(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: set[str], limit: str | None, expected: bool
) -> None:
    for name in ("DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    info = tmp_path / "cpuinfo"
    info.write_text(f"flags\t\t: fpu {' '.join(flags)}\n")
    assert cpu.cpu_multiplies_int8(info) is expected


@able
@pytest.mark.usefixtures("openvino")
def test_what_is_cached_for_fp32_is_not_taken_for_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path))
    images = picture(40, 40)
    results = []
    for kind in ("fp32", "int8", "fp32", "int8"):
        stylizer = Stylizer.load("the-scream", device="cpu", precision=kind, backend="openvino")
        assert isinstance(stylizer.backend, OpenVinoBackend)
        results.append(stylizer.backend.run_uint8(images))
    assert np.array_equal(results[0], results[2])
    assert np.array_equal(results[1], results[3])
    assert not np.array_equal(results[0], results[1])


@able
@pytest.mark.weights
@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("style", ["starry-night", "the-great-wave", "irises", "composition-viii"])
def test_the_gallery_looks_the_same_in_int8(style: str, shared: Path) -> None:
    photo = shared / "data" / "content" / "chicago.jpg"
    image = to_uint8(load_image(photo, size=512))
    exact, fast = (
        Stylizer.load(style, device="cpu", precision=kind, backend="openvino")(image).astype(np.float64)
        for kind in ("fp32", "int8")
    )
    assert 10 * np.log10(255**2 / np.mean((fast - exact) ** 2)) > 38

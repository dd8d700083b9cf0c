"""The stylizer as a library: any size in, the same size out, in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError
from fast_nst.inference.controls import Controls
from fast_nst.inference.engine.backends.pytorch import TorchBackend
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.tiled.memory_budget import whole_bytes
from fast_nst.io.images import Picture, from_uint8, to_uint8
from fast_nst.models.checkpoint import Checkpoint, CheckpointError, save_checkpoint
from fast_nst.models.transform_net import TransformNet
from fast_nst.system.memory import resident_memory


def network(**options: Any) -> TransformNet:
    torch.manual_seed(0)
    return TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1, **options)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def stylize() -> Stylizer:
    return Stylizer(Checkpoint(network(), {"style": "dots"}), device="cpu", precision="fp32")


def picture(height: int, width: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 41), st.integers(1, 41))
def test_the_result_has_the_size_of_the_picture_and_its_range(
    stylize: Stylizer, height: int, width: int
) -> None:
    out = stylize(torch.rand(3, height, width))
    assert out.shape == (3, height, width)
    assert out.dtype == torch.float32
    assert 0 <= out.min() <= out.max() <= 1


def test_overshoot_is_clipped_and_nothing_else_is_changed(stylize: Stylizer) -> None:
    image = torch.rand(2, 3, 24, 20)
    raw = network()(image)
    assert raw.min() < 0 or raw.max() > 1
    torch.testing.assert_close(stylize(image), raw.clamp(0, 1), rtol=0, atol=1e-4)


def test_a_batch_is_its_pictures(stylize: Stylizer) -> None:
    images = torch.rand(3, 3, 17, 22)
    together = stylize(images)
    assert together.shape == images.shape
    for image, painted in zip(images, together, strict=True):
        torch.testing.assert_close(stylize(image), painted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda image: image.double(),
        lambda image: image.flip(-1),
        lambda image: image.transpose(-1, -2),
        lambda image: image.to(memory_format=torch.channels_last),
        lambda image: image.clone().requires_grad_(),
    ],
)
def test_the_picture_s_layout_dtype_and_gradient_do_not_matter(
    stylize: Stylizer, prepare: Callable[..., Any]
) -> None:
    image = prepare(torch.rand(1, 3, 12, 12))
    plain = image.detach().float().contiguous()
    out = stylize(image)
    torch.testing.assert_close(out, stylize(plain), rtol=0, atol=1e-5)
    assert not out.requires_grad


def test_the_picture_is_left_as_it_was(stylize: Stylizer) -> None:
    image = torch.rand(3, 13, 14)
    before = image.clone()
    stylize(image)
    assert torch.equal(image, before)


def test_the_result_may_be_changed_in_place(stylize: Stylizer) -> None:
    out = stylize(torch.rand(3, 12, 12))
    out.mul_(0.5)
    (out * torch.ones(1, requires_grad=True)).sum().backward()


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.zeros(12, 12), r"\(3, H, W\) or \(B, 3, H, W\).*\(12, 12\)"),
        (torch.zeros(12, 12, 3), r"\(12, 12, 3\)"),
        (torch.zeros(4, 12, 12), r"\(4, 12, 12\)"),
        (torch.zeros(1, 1, 3, 12, 12), r"\(1, 1, 3, 12, 12\)"),
        (torch.zeros(3, 0, 12), r"\(3, 0, 12\)"),
        (torch.zeros(0, 3, 12, 12), r"\(0, 3, 12, 12\)"),
        (torch.zeros(3, 12, 12, dtype=torch.uint8), r"torch\.uint8; from_uint8 converts"),
        (torch.zeros(3, 12, 12, dtype=torch.int64), r"torch\.int64"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_was_found(stylize: Stylizer, images: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        stylize(images)


def test_pictures_carry_their_alpha_over(stylize: Stylizer) -> None:
    alpha = picture(9, 11)[..., 0]
    clear, opaque = stylize.pictures([Picture(picture(9, 11), alpha), Picture(picture(9, 11, 1))])
    np.testing.assert_array_equal(clear.alpha, alpha)
    assert opaque.alpha is None
    expected = to_uint8(stylize(from_uint8(picture(9, 11, 1)))).astype(int)
    assert np.abs(opaque.rgb - expected).max() <= 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stylizes_nearly_the_same(precision: str) -> None:
    image = torch.rand(3, 24, 24)
    full, half = (Stylizer(Checkpoint(network(), {}), device="cpu", precision=p) for p in ("fp32", precision))
    out = half(image)
    assert out.dtype == torch.float32
    assert (out - full(image)).abs().mean() < 0.02


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_overflow_is_reported_and_not_stylized(precision: str) -> None:
    broken = network()
    broken.body.conv4.conv.weight.fill_(3e38)
    stylize = Stylizer(Checkpoint(broken, {}), device="cpu", backend="torch", precision=precision)
    with pytest.raises(InputError, match="--precision fp32"):
        stylize.pictures([Picture(picture(9, 9))])
    with pytest.raises(InputError, match="--precision fp32"):
        stylize.in_bands(Picture(picture(9, 9)))


@pytest.mark.parametrize("rows", [None, 3])
def test_a_picture_in_bands_is_the_picture(stylize: Stylizer, rows: int | None) -> None:
    one = Picture(picture(30, 27), picture(30, 27)[..., 1])
    (whole,) = stylize.pictures([one])
    strips = stylize.in_bands(one, rows=rows)
    assert np.abs(strips.rgb.astype(int) - whole.rgb).max() <= 1
    np.testing.assert_array_equal(strips.alpha, one.alpha)


class Watched(Stylizer):
    """Keeps the sizes of the batches that the engine got, and which pictures were stylized in row bands."""

    def __init__(self) -> None:
        super().__init__(Checkpoint(network(), {}), device="cpu", backend="torch", precision="fp32")
        self.batches: list[int] = []
        self.banded: list[Picture] = []

    def run_uint8(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.batches.append(len(images))
        return super().run_uint8(images)

    def in_bands(self, picture: Picture, **options: Any) -> Picture:
        self.banded.append(picture)
        return super().in_bands(picture, **options)

    def allow(self, pictures: float, side: int) -> None:
        """Limit the process to what it holds now and what so many pictures take, and their results."""
        each = whole_bytes(network().config, side, side, self.backend.maps) + 3 * side * side
        self.memory = resident_memory() + int(pictures * each)


def test_a_batch_that_does_not_fit_is_stylized_one_by_one() -> None:
    stylize, side = Watched(), 600
    three = [Picture(picture(side, side, seed)) for seed in range(3)]
    expected = stylize.pictures(three)
    fresh = Watched()
    fresh.allow(1.8, side)
    found = fresh.pictures(three)
    assert (stylize.batches, fresh.batches, fresh.banded) == ([3], [1, 1, 1], [])
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a.rgb.astype(int) - b.rgb).max() <= 1


def test_what_the_engine_keeps_of_one_picture_is_room_for_the_next() -> None:
    stylize, side = Watched(), 600
    stylize.allow(1.8, side)
    for seed in range(4):
        assert len(stylize.pictures([Picture(picture(side, side, seed))])) == 1
    assert stylize.banded == []


def test_pictures_of_many_sizes_leave_no_more_memory_behind_than_the_last_one() -> None:
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend="torch")
    for size in (64, 48, 80, 16):
        stylize.pictures([Picture(picture(size, size))])
    alone = Stylizer(Checkpoint(network(), {}), device="cpu", backend="torch")
    alone.pictures([Picture(picture(16, 16))])
    assert isinstance(stylize.backend, TorchBackend)
    assert isinstance(alone.backend, TorchBackend)
    assert 0 < stylize.backend.kept_bytes == alone.backend.kept_bytes


def test_errors_that_are_not_of_memory_are_not_hidden() -> None:
    class Broken(Stylizer):
        def run_uint8(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Broken(Checkpoint(network(), {}), device="cpu").pictures([Picture(picture(9, 9))])


def test_a_style_is_loaded_from_its_file(tmp_path: Path, stylize: Stylizer) -> None:
    save_checkpoint(tmp_path / "dots.safetensors", network(), {"style": "dots"}, half=False)
    image = torch.rand(3, 16, 16)
    for style in (tmp_path / "dots.safetensors", str(tmp_path / "dots.safetensors")):
        loaded = Stylizer.load(style, device="cpu", precision="fp32")
        assert loaded.style == "dots"
        assert torch.equal(loaded(image), stylize(image))
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*gone\.safetensors"):
        Stylizer.load(tmp_path / "gone.safetensors")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        Stylizer(Checkpoint(network(), {}), device="gpu")


@pytest.mark.gpu
def test_a_gpu_stylizes_in_bands_what_it_stylizes_whole() -> None:
    stylize = Stylizer(Checkpoint(network(), {}), device="cuda", precision="fp32")
    one = Picture(picture(65, 48))
    (whole,) = stylize.pictures([one])
    assert np.abs(stylize.in_bands(one, rows=7).rgb.astype(int) - whole.rgb).max() <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_stylizes_what_the_cpu_stylizes(stylize: Stylizer, precision: str) -> None:
    images = torch.rand(2, 3, 65, 48)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # whose products have 10 bits
        out = Stylizer(Checkpoint(network(), {}), device="cuda", precision=precision)(images)
    assert out.device == images.device
    assert (out - stylize(images)).abs().mean() < (1e-3 if precision == "fp32" else 0.02)


def test_controls_apply_to_every_picture_of_a_batch(stylize: Stylizer) -> None:
    pictures = [Picture(picture(20, 24, seed)) for seed in range(3)]
    half = stylize.with_controls(Controls(strength=0.5)).pictures(pictures)
    for one, mixed, full in zip(pictures, half, stylize.pictures(pictures), strict=True):
        away = mixed.rgb.astype(int) - (one.rgb.astype(int) + full.rgb) / 2
        assert np.abs(away).max() <= 1


def test_other_controls_leave_the_stylizer_as_it_was(stylize: Stylizer) -> None:
    before = stylize(picture(16, 16))
    stylize.with_controls(Controls(stroke=2, colors="photo"))(picture(16, 16))
    assert stylize.controls.are_default
    np.testing.assert_array_equal(stylize(picture(16, 16)), before)


def test_controls_are_not_left_out_in_silence_for_tensors(stylize: Stylizer) -> None:
    with pytest.raises(InputError, match="controls do not work on tensors; give a picture"):
        stylize.with_controls(Controls(strength=0.5))(torch.rand(3, 8, 8))

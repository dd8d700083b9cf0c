"""The image transformation network: sizes, kernels and norms, against what they are defined to equal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fast_nst.config import PRESETS, NetworkConfig
from fast_nst.models.transform_net import InstanceNorm, TransformNet, Upsample, reflection_pad, tied_kernel

NARROW = (2, 3, 4)
# Johnson et al. 2016, supplementary material, table 1: (layer, channels, size) for a picture of 256 x 256.
TABLE_1 = [
    ("conv1", 32, 336),
    ("conv2", 64, 168),
    ("conv3", 128, 84),
    ("block1", 128, 80),
    ("block2", 128, 76),
    ("block3", 128, 72),
    ("block4", 128, 68),
    ("block5", 128, 64),
    ("up1", 64, 128),
    ("up2", 32, 256),
    ("conv4", 3, 256),
]


def net(preset: str = "default", **changes: Any) -> TransformNet:
    """A preset with few channels and random weights, ready for inference."""
    config = replace(PRESETS[preset], **{"widths": NARROW, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TransformNet(config).eval()


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


NETS = {preset: net(preset) for preset in ("default", "paper")}
NETS |= {"free": net(upsample="free"), "crop": net(alignment="crop")}
SMALL = {name: net(name, blocks=1) for name in ("default", "paper")}


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_the_output_has_the_size_of_the_input_from_1_to_70(name: Any) -> None:
    for size in range(1, 71):
        for h, w in ((size, size), (size, 71 - size)):
            assert SMALL[name](torch.rand(1, 3, h, w)).shape == (1, 3, h, w)


@pytest.mark.parametrize("name", NETS)
@given(h=st.integers(1, 70), w=st.integers(1, 70))
@settings(max_examples=15, deadline=None, derandomize=True)
@torch.inference_mode()
def test_the_output_has_the_size_of_the_input_for_any_pair(name: Any, h: int, w: int) -> None:
    out = NETS[name](torch.rand(1, 3, h, w))
    assert out.shape == (1, 3, h, w)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(3, 2000), (2000, 1)])
@torch.inference_mode()
def test_the_output_has_the_size_of_the_input_for_a_thread(name: Any, size: tuple[int, int]) -> None:
    assert NETS[name](torch.rand(1, 3, *size)).shape == (1, 3, *size)


@torch.inference_mode()
def test_the_paper_preset_walks_through_the_sizes_of_table_1() -> None:
    found: dict[str, tuple[int, ...]] = {}
    network = net("paper")
    for name, module in network.body.named_children():
        module.register_forward_hook(lambda _, _in, out, name=name: found.update({name: tuple(out.shape)}))
    inputs: list[tuple[int, ...]] = []
    network.body.register_forward_pre_hook(lambda _, args: inputs.append(tuple(args[0].shape)))
    network(torch.rand(1, 3, 256, 256))
    assert inputs == [(1, 3, 336, 336)]
    for name, _, size in TABLE_1:
        assert found[name][-2:] == (size, size), name


@pytest.mark.parametrize("preset", ["paper", "default"])
def test_full_width_presets_have_the_channels_of_table_1(preset: str) -> None:
    found: dict[str, int] = {}
    network = TransformNet(PRESETS[preset]).eval()
    for name, module in network.body.named_children():
        module.register_forward_hook(lambda _, _in, out, name=name: found.update({name: out.shape[1]}))
    with torch.inference_mode():
        network(torch.rand(1, 3, 8, 8))
    assert {name: found[name] for name, _, _ in TABLE_1} == {name: c for name, c, _ in TABLE_1}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_number_of_parameters_is_that_of_the_layers_without_biases_before_norms(preset: Any) -> None:
    a, b, c = {"small": (16, 32, 64), "tiny": (8, 16, 32)}.get(preset, (32, 64, 128))
    convs = 3 * a * 81 + a * b * 9 + b * c * 9 + 10 * c * c * 9 + c * b * 9 + b * a * 9 + a * 3 * 81 + 3
    normed = a + b + c + 10 * c + b + a
    found = sum(p.numel() for p in TransformNet(PRESETS[preset]).parameters())
    assert found == convs + 2 * normed
    if c == 128:
        assert found == 1_679_235 - normed  # what is quoted for the paper's network, less those biases


@pytest.mark.parametrize("preset", PRESETS)
def test_a_convolution_has_a_bias_only_where_no_norm_follows(preset: Any) -> None:
    biased = [
        name
        for name, module in TransformNet(PRESETS[preset]).named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None
    ]
    assert len(biased) == 1
    assert "conv4" in biased[0]


@pytest.mark.parametrize("name", [*NETS, "paper kernels"])
def test_gradients_reach_every_parameter(name: Any) -> None:
    network = net(upsample="paper") if name == "paper kernels" else NETS[name]
    out = network(picture(2, 3, 20, 24))
    (out * picture(2, 3, 20, 24, seed=1)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key
        parameter.grad = None


@pytest.mark.parametrize("name", NETS)
@torch.inference_mode()
def test_a_picture_comes_out_the_same_alone_and_in_a_batch(name: Any) -> None:
    images = picture(3, 3, 21, 18)
    together = NETS[name](images)
    for i in range(3):
        torch.testing.assert_close(together[i], NETS[name](images[i : i + 1])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
@torch.inference_mode()
def test_the_memory_layout_changes_no_picture(name: Any) -> None:
    images = picture(2, 3, 21, 18)
    last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(NETS[name](last), NETS[name](images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
@torch.inference_mode()
def test_the_input_is_left_as_it_was(name: Any) -> None:
    images = picture(1, 3, 16, 16)
    NETS[name](images)
    torch.testing.assert_close(images, picture(1, 3, 16, 16), rtol=0, atol=0)


@torch.inference_mode()
def test_the_padding_that_makes_sizes_fit_is_reflected_and_cropped_away() -> None:
    images = picture(1, 3, 18, 21)
    fitted = F.pad(images, (0, 3, 0, 2), mode="reflect")
    torch.testing.assert_close(NETS["default"](images), NETS["default"](fitted)[..., :18, :21])


@pytest.mark.parametrize("size", [(24, 24), (21, 23)])
@torch.inference_mode()
def test_a_cropping_network_is_its_layers_on_the_bare_picture(size: tuple[int, int]) -> None:
    network, image = NETS["crop"], picture(1, 3, *size)
    out = network.body(image)
    assert out.shape == (1, 3, 24, 24)
    torch.testing.assert_close(network(image), out[..., : size[0], : size[1]], rtol=0, atol=0)


@torch.inference_mode()
def test_the_linear_output_is_unclamped_and_the_tanh_output_stays_in_the_papers_range() -> None:
    network = net()
    network.body.conv4.conv.bias.fill_(3.0)
    assert network(picture(1, 3, 8, 8)).min() > 1.5
    paper = net("paper")
    for bias, limit in ((50.0, 0.5 + 150 / 255), (-50.0, 0.5 - 150 / 255)):
        paper.body.conv4.bias.fill_(bias)
        torch.testing.assert_close(
            paper(picture(1, 3, 8, 8)), torch.full((1, 3, 8, 8), limit), atol=1e-3, rtol=0
        )


# Fractionally-strided convolutions.

SIZES = [(1, 1), (1, 5), (2, 2), (7, 4), (8, 8), (9, 9)]


@pytest.mark.parametrize("size", SIZES)
def test_a_tied_upsampling_is_one_fractionally_strided_convolution_with_the_tied_kernel(
    size: tuple[int, int],
) -> None:
    layer = Upsample(5, 3, "tied", bias=True).double()
    x = picture(2, 5, *size).double()
    bordered = F.pad(x, (1, 1, 1, 1), mode="replicate")
    folded = F.conv_transpose2d(
        bordered, tied_kernel(layer.conv.weight), layer.conv.bias, stride=2, padding=3
    )
    torch.testing.assert_close(folded, layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_a_tied_upsampling_is_nearest_neighbor_reflection_and_a_3x3_convolution(
    size: tuple[int, int],
) -> None:
    layer = Upsample(4, 3, "tied", bias=False)
    x = picture(1, 4, *size)
    large = np.repeat(np.repeat(x.numpy(), 2, axis=2), 2, axis=3)
    large = np.pad(large, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    torch.testing.assert_close(layer(x), F.conv2d(torch.from_numpy(large), layer.conv.weight))


def test_a_free_upsampling_with_a_tied_kernel_is_the_tied_one() -> None:
    tied, free = Upsample(4, 3, "tied", bias=False), Upsample(4, 3, "free", bias=False)
    free.conv.weight.data.copy_(tied_kernel(tied.conv.weight))
    x = picture(2, 4, 7, 6)
    torch.testing.assert_close(free(x), tied(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["tied", "free", "paper"])
@pytest.mark.parametrize("size", SIZES)
def test_every_kind_of_upsampling_doubles_the_size(kind: str, size: tuple[int, int]) -> None:
    out = Upsample(3, 2, kind, bias=False)(picture(2, 3, *size))
    assert out.shape == (2, 2, 2 * size[0], 2 * size[1])


def test_a_flat_map_stays_flat_to_the_border_under_a_tied_upsampling() -> None:
    out = Upsample(3, 2, "tied", bias=False)(torch.ones(1, 3, 6, 6))
    torch.testing.assert_close(out, out[..., :1, :1].expand_as(out))


# Norm and padding.


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_instance_norm_is_torchs(training: bool, scale: float) -> None:
    ours, theirs = InstanceNorm(5).train(training), nn.InstanceNorm2d(5, affine=True).train(training)
    for parameter, other, seed in ((ours.weight, theirs.weight, 1), (ours.bias, theirs.bias, 2)):
        parameter.data = other.data = picture(5, seed=seed)
    x = scale * (picture(3, 5, 7, 6) + 2)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_instance_norm_of_16_bit_maps_takes_its_statistics_in_fp32(dtype: torch.dtype) -> None:
    x = (picture(1, 4, 64, 64) * 20000 + 20000).to(dtype)  # the sum of squares is far beyond fp16
    out = InstanceNorm(4)(x)
    assert out.dtype == dtype
    wide = x.double()
    expected = (wide - wide.mean((2, 3), keepdim=True)) / wide.std((2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(out.double(), expected, rtol=0.01, atol=0.01)


amounts = st.tuples(*[st.integers(0, 12)] * 4)


@given(h=st.integers(1, 6), w=st.integers(1, 6), amount=amounts)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_reflection_padding_is_numpys_by_any_amount(h: int, w: int, amount: Any) -> None:
    left, right, top, bottom = amount
    x = picture(1, 2, h, w)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), mode="reflect")
    np.testing.assert_array_equal(reflection_pad(x, *amount).numpy(), expected)


# Configuration.


def test_the_same_seed_gives_the_same_weights_and_the_presets_say_what_they_are() -> None:
    torch.testing.assert_close(net().state_dict(), net().state_dict(), rtol=0, atol=0)
    assert PRESETS["default"] == NetworkConfig() == TransformNet().config
    assert (PRESETS["paper"].norm, PRESETS["paper"].padding) == ("batch", "paper")


@torch.inference_mode()
def test_a_network_without_residual_blocks_still_keeps_the_size() -> None:
    for preset in ("default", "paper"):
        assert net(preset, blocks=0)(picture(1, 3, 13, 9)).shape == (1, 3, 13, 9)


def test_bf16_autocast_keeps_the_picture_within_a_few_levels() -> None:
    images = picture(1, 3, 32, 32)
    with torch.inference_mode():
        exact = NETS["default"](images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = NETS["default"](images)
    assert (rough - exact).abs().mean() < 3 / 255


def test_16_bits_keep_what_a_nearly_flat_image_varies_by() -> None:
    noise = torch.randint(-2, 3, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    images = 0.8 + noise / 255
    with torch.inference_mode():
        exact = NETS["default"](images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = NETS["default"](images)
    assert (rough - exact).std() < 0.1 * exact.std()

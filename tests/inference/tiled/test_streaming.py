"""Pictures painted in strips: the same picture, whatever the strips, in the memory that was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fast_nst.config import PRESETS, NetworkConfig
from fast_nst.errors import InputError
from fast_nst.inference.engine.folded_net import DTYPES, FoldedNet, plan_of
from fast_nst.inference.tiled.feature_store import FeatureMap, FeatureStore
from fast_nst.inference.tiled.memory_budget import plan_bands, whole_bytes
from fast_nst.inference.tiled.streaming import stream
from fast_nst.models.checkpoint import load_checkpoint
from fast_nst.models.model_files import bundled_networks
from fast_nst.models.transform_net import TransformNet

NARROW = NetworkConfig(widths=(2, 3, 4), blocks=2)
CONFIGS = {
    "default": NARROW,
    "free": replace(NARROW, upsample="free"),
    "cropped": replace(NARROW, alignment="crop", upsample="paper"),
    "batch-norm": replace(NARROW, norm="batch"),
    "tanh": replace(NARROW, output="tanh"),
    "no-blocks": replace(NARROW, blocks=0),
    "paper": replace(PRESETS["paper"], widths=(2, 3, 4)),
    "paper-instance": replace(PRESETS["paper"], widths=(2, 3, 4), norm="instance"),
}


def network(config: NetworkConfig) -> TransformNet:
    torch.manual_seed(0)
    net = TransformNet(config).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net


NETS = {name: network(config) for name, config in CONFIGS.items()}


def streamed(
    net: TransformNet,
    image: Tensor,
    rows: int,
    memory: int | None = None,
    dtype: str = "fp32",
    **options: Any,
) -> Tensor:
    folded = FoldedNet(plan_of(net), DTYPES[dtype])
    with FeatureStore(memory) as store:
        size = image.shape[-2], image.shape[-1]
        strips = stream(folded, lambda a, b: image[:, a:b], size, rows=rows, store=store, **options)
        return torch.cat(list(strips), 2)


@pytest.mark.parametrize("name", CONFIGS)
@given(
    height=st.integers(1, 41),
    width=st.integers(1, 33),
    rows=st.integers(1, 50),
    memory=st.sampled_from([None, 0]),
)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_bands_of_any_height_give_what_the_whole_picture_gives(
    name: str, height: int, width: int, rows: int, memory: Any
) -> None:
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(rows))
    out = streamed(NETS[name], image, rows, memory)
    torch.testing.assert_close(out, NETS[name](image[None]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(20, 24), (21, 23)])
def test_every_band_height_gives_what_the_whole_picture_gives(size: tuple[int, int]) -> None:
    net = NETS["default"]
    image = torch.rand(3, *size)
    whole = net(image[None])
    for rows in range(1, size[0] + 2):
        assert (streamed(net, image, rows) - whole).abs().max() < 1e-4


def test_half_precision_in_bands_stays_near_half_precision() -> None:
    image = torch.rand(3, 40, 40)
    whole = NETS["default"](image[None])
    assert (streamed(NETS["default"], image, 7, dtype="bf16") - whole).abs().mean() < 0.02


def test_progress_rises_from_nothing_to_all() -> None:
    for name in ("default", "batch-norm", "no-blocks"):
        seen: list[float] = []
        streamed(NETS[name], torch.rand(3, 40, 36), 8, progress=seen.append)
        assert seen == sorted(seen)
        assert seen[0] < 0.2
        assert seen[-1] == pytest.approx(1, abs=1e-6)


def test_the_work_costs_the_network_no_gradient_and_no_training_mode() -> None:
    net = TransformNet(NARROW).eval()
    assert not streamed(net, torch.rand(3, 20, 20), 5).requires_grad


def test_maps_at_full_size_are_computed_again_where_there_is_no_room_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times: list[str] = []
    folded = FoldedNet(plan_of(NETS["default"]), DTYPES["fp32"])
    names = {layer.weight.shape: layer.layer.name for layer in folded.layers}

    def counting(convolve: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counted(x: Tensor, weight: Tensor, *arguments: Any, **options: Any) -> Tensor:
            times.append(names[weight.shape])
            return convolve(x, weight, *arguments, **options)

        return counted

    for name in ("conv2d", "conv_transpose2d"):
        monkeypatch.setattr(functional, name, counting(getattr(functional, name)))
    image = torch.rand(3, 16, 16)
    with_room = streamed(NETS["default"], image, 16)
    once = Counter(times)
    times.clear()
    without = streamed(NETS["default"], image, 16, 0)
    again = {name for name in once if times.count(name) > once[name] and not name.startswith("conv4")}
    assert again == {"conv1", "up2"}
    assert torch.equal(without, with_room)


def test_no_more_maps_are_held_than_the_residual_blocks_need() -> None:
    held: list[int] = []

    class Watched(FeatureStore):
        def map(self, *shape: object) -> FeatureMap:
            made = super().map(*shape)
            held.append(sum(one.size for one in self._maps))
            return made

    image, net = torch.rand(3, 64, 64), NETS["default"]
    folded = FoldedNet(plan_of(net))
    with Watched(0) as store:
        for _ in stream(folded, lambda a, b: image[:, a:b], (64, 64), rows=8, store=store):
            pass
    half, quarter = 3 * 32 * 32 * 4, 4 * 16 * 16 * 4
    assert max(held) <= half + quarter + max(half, quarter)
    assert len(held) == 4  # conv2's, conv3's, one for the branches, up1's


def test_a_plan_uses_the_memory_it_is_given_and_no_more() -> None:
    net = network(PRESETS["tiny"])
    plans = [
        plan_bands(net.config, 10_000, 10_000, memory) for memory in (120_000_000, 400_000_000, 4_000_000_000)
    ]
    assert [p.rows for p in plans] == sorted(p.rows for p in plans)
    assert 1 <= plans[0].rows < plans[-1].rows
    assert [p.maps for p in plans] == sorted(p.maps or 0 for p in plans)
    assert plan_bands(net.config, 10_000, 10_000, None).maps is None
    assert whole_bytes(net.config, 10_000, 10_000, 2) > 10 * 200_000_000


def test_too_little_memory_is_reported_with_how_much_is_missing() -> None:
    with pytest.raises(
        InputError, match=r"10000 x 500 pixels do not fit .* need \d+ MB more; give more --memory"
    ):
        plan_bands(PRESETS["tiny"], 500, 10_000, 10_000_000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", [(3000, 3000)])
def test_a_large_picture_in_a_bundled_style_is_that_of_the_whole_at_several_band_heights(
    size: tuple[int, int],
) -> None:
    net = load_checkpoint(bundled_networks()["starry-night-full"]).network
    small = torch.rand(1, 3, 60, 60, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(small, size, mode="bicubic")[0].clamp(0, 1)
    image = (image + 0.05 * torch.randn(image.shape)).clamp(0, 1)
    with torch.no_grad():
        whole = net(image[None]).clamp(0, 1)
    for rows in (1, 5, 64, 1000, 3000):
        assert (streamed(net, image, rows, 0).clamp(0, 1) - whole).abs().max() < 1 / 255

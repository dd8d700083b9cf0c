"""Convolutions that walk down a map against the whole map."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fast_nst.config import NetworkConfig
from fast_nst.inference.engine.folded_net import FoldedLayer, FoldedNet, plan_of
from fast_nst.inference.tiled.sliding_convolution import PendingBand, output_size, slide_convolution
from fast_nst.models.transform_net import TransformNet


def layers() -> dict[str, FoldedLayer]:
    """One of each kind there is."""
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    for upsample, padding in (("tied", "reflect"), ("free", "reflect"), ("paper", "paper")):
        config = NetworkConfig(widths=(2, 3, 4), blocks=1, upsample=upsample, padding=padding)
        for layer in FoldedNet(plan_of(TransformNet(config))).layers:
            found[f"{layer.layer.name} {upsample} {padding}"] = layer
    return found


LAYERS = layers()


def strips_of(x: Tensor, heights: list[int]) -> list[PendingBand]:
    def put(part: Tensor, out: Tensor) -> None:
        out.copy_(part)

    return [PendingBand(tuple(part.shape), partial(put, part)) for part in x.split(heights, 2)]


@pytest.mark.parametrize("name", LAYERS)
@given(height=st.integers(8, 20), width=st.integers(8, 12), strips=st.lists(st.integers(1, 9), min_size=24))
@settings(max_examples=12, deadline=None, derandomize=True)
@torch.no_grad()
def test_a_walking_convolution_is_the_convolution_of_the_whole_map(
    name: Any, height: int, width: int, strips: Any
) -> None:
    layer = LAYERS[name]
    channels = layer.layer.weight.shape[0 if layer.layer.fractional else 1]
    x = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(height))
    walked = torch.cat(list(slide_convolution(iter(strips_of(x, cut(strips, height))), height, layer)), 2)
    whole = layer.convolve(layer.border(x))
    torch.testing.assert_close(walked, whole, rtol=0, atol=1e-5)
    assert walked.shape[2:] == output_size(layer.layer, height, width)


def cut(strips: list[int], height: int) -> list[int]:
    """The strips' heights as they add up to the map's."""
    heights: list[int] = []
    while (left := height - sum(heights)) > 0:
        heights.append(min(left, strips[len(heights)]))
    return heights


def test_a_walking_convolution_holds_only_what_its_kernel_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = LAYERS["conv1 tied reflect"]
    seen: list[int] = []
    conv2d = torch.nn.functional.conv2d

    def watched(x: Tensor, *arguments: Any) -> Tensor:
        seen.append(x.shape[2])
        return conv2d(x, *arguments)

    monkeypatch.setattr(torch.nn.functional, "conv2d", watched)
    list(slide_convolution(iter(strips_of(torch.rand(1, 3, 100, 9), [2] * 50)), 100, layer))
    assert max(seen) <= 4 + 4 + 2 + 4  # held, come, and those beyond the map at its end


def test_a_band_is_computed_before_the_next_one_is_asked_for() -> None:
    order: list[str] = []

    def strips() -> Iterator[Any]:
        for i in range(6):

            def make(out: Tensor, i: int = i) -> Tensor:
                order.append(f"made {i}")
                return out.zero_()

            order.append(f"asked {i}")
            yield PendingBand((1, 3, 2, 9), make)

    list(slide_convolution(strips(), 12, LAYERS["conv1 tied reflect"]))
    assert order == [f"{word} {i}" for i in range(6) for word in ("asked", "made")]


def test_upsampling_gives_no_larger_bands_than_come() -> None:
    layer = LAYERS["up1 tied reflect"]
    made = slide_convolution(iter(strips_of(torch.rand(1, 4, 40, 9), [8] * 5)), 40, layer)
    assert max(strip.shape[2] for strip in made) <= 10

"""Enlarged pictures are the network's, whole or in tiles, in the colors of what they were made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.exposure import match_histograms

from fast_nst.config import UPSCALE_PRESETS, UpscaleNetConfig
from fast_nst.errors import InputError
from fast_nst.inference.engine.folded_net import fold
from fast_nst.inference.histograms import match_histogram
from fast_nst.inference.tiled.tiles import FIXED, reach_of, tile_side, upscale_in_tiles, whole_bytes
from fast_nst.inference.upscaler import Upscaler
from fast_nst.io.images import Picture, to_uint8
from fast_nst.models.checkpoint import CheckpointError, save_checkpoint
from fast_nst.models.upscale_net import UpscaleNet
from fast_nst.system.memory import resident_memory

PAPER = UpscaleNetConfig(width=4, blocks=1)
MODERN = replace(UPSCALE_PRESETS["modern"], width=8, blocks=2)
VARIANTS = [PAPER, replace(PAPER, factor=8), MODERN, replace(MODERN, upsample="shuffle", factor=2)]


def network(config: UpscaleNetConfig) -> UpscaleNet:
    """One whose weights and statistics are all at random."""
    torch.manual_seed(0)
    made = UpscaleNet(config).eval().requires_grad_(False)
    for name, tensor in made.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(0.8 + 0.4 * torch.rand_like(tensor) if "running_var" in name else tensor)
            tensor.add_(0.05 * torch.randn_like(tensor) if tensor.ndim > 1 else 0.05)
    return made


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """The file of a network, as if trained on pixels or on features."""

    def save(config: UpscaleNetConfig = MODERN, loss: str = "pixel") -> Path:
        path = tmp_path / f"{loss}.safetensors"
        save_checkpoint(path, network(config), {"style": "x", "recipe": {"loss": loss}}, half=False)
        return path

    return save


def noise(height: int, width: int, seed: int = 0) -> NDArray[Any]:
    """``(H, W, 3)`` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("config", VARIANTS)
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (24, 17)])
def test_a_folded_network_is_its_equal(config: Any, size: tuple[int, int]) -> None:
    net, images = network(config), torch.rand(2, 3, *size)
    torch.testing.assert_close(fold(net)(images), net(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", VARIANTS)
def test_a_picture_in_tiles_is_the_whole_picture(config: Any, saved: Callable[..., Path]) -> None:
    upscale, picture = Upscaler(saved(config), precision="fp32", device="cpu"), Picture(noise(45, 38))
    (whole,) = upscale.pictures([picture])
    shares: list[float] = []
    for side in (11, 16):
        tiled = upscale.in_tiles(picture, side=side, progress=shares.append)
        difference = whole.rgb.astype(int) - tiled.rgb
        assert np.abs(difference).max() <= 1  # sums in another order may round otherwise
        assert (difference != 0).mean() < 1e-3
    assert shares[-1] == 1.0
    assert all(0 < share <= 1 for share in shares)


@pytest.mark.parametrize("config", VARIANTS)
def test_nothing_beyond_the_reach_changes_a_pixel(config: Any) -> None:
    net, reach, f = network(config), reach_of(config), config.factor
    first = torch.rand(1, 3, 2 * reach + 9, 12)
    second = first.clone()
    second[..., :4, :] = torch.rand(1, 3, 4, 12)
    changed = (net(first) - net(second)).abs().amax(dim=(0, 1, 3)) > 1e-6
    assert changed[: 4 * f].any()
    assert not changed[(4 + reach) * f :].any()


def test_tiles_leave_no_pixel_out_and_take_none_twice() -> None:
    rgb = noise(23, 31)

    def enlarge(part: NDArray[Any]) -> NDArray[Any]:
        return part.repeat(2, axis=1).repeat(2, axis=2)

    made = upscale_in_tiles(enlarge, rgb, factor=2, reach=3, side=10, progress=lambda share: None)
    np.testing.assert_array_equal(made, rgb.repeat(2, axis=0).repeat(2, axis=1))


def test_tiles_are_as_large_as_the_memory_allows_and_an_impossible_limit_is_reported() -> None:
    small, large = (tile_side(MODERN, FIXED + n * whole_bytes(MODERN, 100, 100)) for n in (1, 9))
    assert small < large
    assert tile_side(MODERN, None) == tile_side(MODERN, 10**12)
    with pytest.raises(InputError, match=r"smallest tiles do not fit .* more are needed; give more --memory"):
        tile_side(MODERN, 10**6)


class Watched(Upscaler):
    """Keeps the longest side of every picture or tile that the engine got."""

    def __init__(self, model: Path, memory: int | None = None) -> None:
        super().__init__(model, precision="fp32", device="cpu", backend="torch", memory=memory)
        self.sides: list[int] = []
        run = self.backend.run_uint8

        def watched(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
            self.sides.append(max(images.shape[1:3]))
            return run(images)

        self.backend.run_uint8 = watched


@pytest.mark.slow
def test_a_limit_of_memory_is_held_by_tiles(saved: Callable[..., Path]) -> None:
    file, picture = saved(PAPER), Picture(noise(500, 500))
    room = FIXED + whole_bytes(PAPER, 350, 350) + 10 * 16 * 500 * 500
    tiled = Watched(file, memory=resident_memory() + room)
    (found,) = tiled.pictures([picture])
    upscale = Watched(file)
    (whole,) = upscale.pictures([picture])
    assert upscale.sides == [500]
    assert len(tiled.sides) > 1
    assert max(tiled.sides) < 400
    assert np.abs(whole.rgb.astype(int) - found.rgb).max() <= 1


def test_floats_and_levels_give_the_same_picture(saved: Callable[..., Path]) -> None:
    upscale, rgb = Upscaler(saved(), precision="fp32", device="cpu"), noise(12, 15)
    image = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    (picture,) = upscale.pictures([Picture(rgb)])
    np.testing.assert_array_equal(to_uint8(upscale(image)), picture.rgb)


def test_alpha_is_enlarged_with_the_picture(saved: Callable[..., Path]) -> None:
    alpha = np.zeros((9, 12), np.uint8)
    alpha[:, 6:] = 255
    (made,) = Upscaler(saved(), device="cpu").pictures([Picture(noise(9, 12), alpha)])
    assert made.alpha.shape == made.rgb.shape[:2] == (36, 48)
    assert made.alpha[:, :16].max() == 0
    assert made.alpha[:, 32:].min() == 255


def test_histograms_are_matched_for_networks_trained_on_features_unless_reported_otherwise(
    saved: Callable[..., Path],
) -> None:
    pixel, feature = saved(loss="pixel"), saved(loss="feature")
    assert [Upscaler(file, device="cpu").match for file in (pixel, feature)] == [False, True]
    assert [Upscaler(feature, device="cpu", match=on).match for on in (True, False)] == [True, False]
    rgb = noise(20, 20) // 3
    (plain,) = Upscaler(feature, device="cpu", match=False).pictures([Picture(rgb)])
    (matched,) = Upscaler(feature, device="cpu").pictures([Picture(rgb)])
    np.testing.assert_array_equal(matched.rgb, match_histogram(plain.rgb, rgb))


def test_histogram_matching_is_that_of_scikit_image() -> None:
    picture, reference = noise(40, 30), noise(11, 13, seed=1) // 2 + 40
    # As floats: of whole numbers it would cut the decimals off.
    expected = match_histograms(picture.astype(float), reference.astype(float), channel_axis=-1)
    np.testing.assert_allclose(match_histogram(picture, reference), expected, atol=0.51)


def test_a_picture_matched_with_itself_stays_as_it_is() -> None:
    picture = noise(30, 30)
    np.testing.assert_array_equal(match_histogram(picture, picture), picture)


@pytest.mark.parametrize("name", ["x99", "nowhere.safetensors"])
def test_an_unknown_network_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"unknown model 'x99'; .*bundled: |there is no checkpoint at"):
        Upscaler(name)


def test_other_shapes_and_integers_are_refused(saved: Callable[..., Path]) -> None:
    upscale = Upscaler(saved(), device="cpu")
    with pytest.raises(InputError, match="expected \\(3, H, W\\)"):
        upscale(torch.rand(4, 8, 8))
    with pytest.raises(InputError, match="from_uint8 converts"):
        upscale(torch.zeros(3, 8, 8, dtype=torch.uint8))

"""Flat pictures among the crops: as many as asked for, of every kind, and the same in every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from fast_nst.config import TrainConfig
from fast_nst.training.data.flat_crops import FLAT, GRAIN, flat_crop, with_grain
from fast_nst.training.data.loader import PhotoBatches
from fast_nst.training.data.photos import open_photos
from fast_nst.training.trainer import Trainer

SIZE = 24


def test_the_share_is_kept_and_nothing_depends_on_the_order() -> None:
    made = {i: flat_crop(3, 0, i, SIZE, 1 / 16) for i in range(4000)}
    count = sum(crop is not None for crop in made.values())
    assert abs(count - 250) < 60
    for i in reversed(range(0, 4000, 100)):
        again = flat_crop(3, 0, i, SIZE, 1 / 16)
        assert (again is None) == (made[i] is None)
        if again is not None:
            assert_array_equal(again, made[i])
    assert flat_crop(3, 0, 0, SIZE, 0) is None


def test_every_kind_occurs_white_and_black_too() -> None:
    crops = [flat_crop(0, epoch, 0, SIZE, 1.0) for epoch in range(300)]
    assert all(
        crop is not None and crop.shape == (3, SIZE, SIZE) and crop.dtype == np.uint8 for crop in crops
    )
    spreads = [np.ptp(crop.reshape(3, -1), axis=1).max() for crop in crops]
    colors = [len(np.unique(crop.reshape(3, -1).T, axis=0)) for crop in crops]
    assert min(map(spreads.count, (0,))) > 30
    assert sum(0 < spread <= 6 for spread in spreads) > 30
    assert sum(count == 2 and spread > 6 for count, spread in zip(colors, spreads, strict=True)) > 20
    assert sum(count > 12 for count in colors) > 30
    assert any((crop == 255).all() for crop in crops)
    assert any((crop == 0).all() for crop in crops)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_crop_of_one_color_gets_faint_noise_and_no_other_crop_does(level: int) -> None:
    flat = np.full((3, SIZE, SIZE), level, np.uint8)
    nearly = flat.copy()
    nearly[1, 5, 5] ^= 1
    for crop in (flat, nearly):
        grained = with_grain(crop, 0, 0, 7)
        assert np.abs(grained.astype(int) - crop).max() == GRAIN
        assert grained.reshape(3, -1).std(axis=1).min() > FLAT
        assert_array_equal(grained, with_grain(crop, 0, 0, 7))
        assert (grained != with_grain(crop, 0, 1, 7)).any()
    half = flat.copy()
    half[:, :, SIZE // 2 :] ^= 8
    for crop in (half, grained):
        assert with_grain(crop, 0, 0, 7) is crop


@pytest.mark.parametrize("start", [0, 3])
def test_batches_hold_them_whatever_the_step_they_start_from(tmp_path: Path, start: int) -> None:
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")

    def images(share: float, step: int, workers: int) -> list[NDArray[Any]]:
        settings = {"batch_size": 4, "image_size": SIZE, "seed": 1, "start_step": step, "workers": workers}
        with PhotoBatches(open_photos(tmp_path), flat_share=share, **settings) as batches:
            return [next(batches).images.numpy() for _ in range(6)]

    plain, some = images(0.0, start, 0), images(0.5, start, 2)
    kept = [
        (a == b).all() for old, new in zip(plain, some, strict=True) for a, b in zip(old, new, strict=True)
    ]
    assert 4 < sum(kept) < 20
    for early, late in zip(images(0.5, 0, 0)[start:], some, strict=False):
        assert_array_equal(early, late)


def test_a_trained_network_can_learn_from_flat_pictures(tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(np.full((80, 80, 3), 255 - 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    config = TrainConfig(
        style=Path(__file__).parents[3] / "checkpoints" / "paintings" / "starry-night.jpg",
        dataset=str(tmp_path),
        out=tmp_path / "style.safetensors",
        run=tmp_path / "run",
        warm_start=Path("starry-night-full"),
        steps=3,
        warmup=0,
        batch_size=2,
        image_size=64,
        precision="fp32",
        compile="off",
        device="cpu",
        validation_images=0,
    )
    trainer = Trainer(config)
    for _ in trainer:
        pass
    assert trainer.step == 3
    assert trainer.training_step.loss_monitor.skipped == 0

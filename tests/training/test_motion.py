"""Motions made from stills: known, repeatable, and judged where both pictures show the same."""

from __future__ import annotations

import pytest
import torch

from fast_nst.training.motion import BRIGHTNESS, NOISE, SHIFT, motion_of

PICTURES = torch.rand(4, 3, 40, 56, generator=torch.Generator().manual_seed(0))


def test_a_motion_depends_on_seed_and_step_and_nothing_else() -> None:
    first, again = motion_of(3, 7, PICTURES), motion_of(3, 7, torch.zeros_like(PICTURES))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.noise, motion_of(3, 8, PICTURES).noise)
    assert not torch.equal(first.noise, motion_of(4, 7, PICTURES).noise)


@pytest.mark.parametrize("step", range(0, 12, 2))
def test_every_other_motion_moves_by_whole_pixels_and_loses_nothing(step: int) -> None:
    motion = motion_of(0, step, PICTURES)
    moved = motion.apply(PICTURES)
    for picture, result, inside in zip(PICTURES, moved, motion.inside, strict=True):
        fits = [
            (down, right)
            for down in range(-SHIFT, SHIFT + 1)
            for right in range(-SHIFT, SHIFT + 1)
            if ((picture.roll((-down, -right), (1, 2)) - result) * inside).abs().max() < 1e-4
        ]
        assert len(fits) == 1, "moved by exactly one vector"
        down, right = fits[0]
        assert inside.sum() == (40 - abs(down)) * (56 - abs(right))


def test_the_other_motions_change_the_size_too() -> None:
    motion = motion_of(0, 1, PICTURES)
    widths = motion.grid[:, 0, -1, 0] - motion.grid[:, 0, 0, 0]
    still = motion_of(0, 2, PICTURES).grid[:, 0, -1, 0] - motion_of(0, 2, PICTURES).grid[:, 0, 0, 0]
    assert (widths / still - 1).abs().max() > 0.005


def test_pictures_that_moved_with_the_photograph_agree_and_others_do_not() -> None:
    motion = motion_of(0, 5, PICTURES)
    assert motion.disagreement(PICTURES, motion.apply(PICTURES)) == 0
    assert motion.disagreement(PICTURES, motion.apply(PICTURES) + 0.1).item() == pytest.approx(0.01, rel=1e-4)
    assert motion.disagreement(PICTURES, PICTURES) > 0.01


def test_what_comes_from_outside_the_picture_does_not_count() -> None:
    motion = motion_of(0, 4, PICTURES)
    assert (motion.inside == 0).any()
    spoiled = torch.where(motion.inside > 0, motion.apply(PICTURES), 7.0)
    assert motion.disagreement(PICTURES, spoiled) == 0


def test_disturbed_photographs_differ_by_noise_and_brightness_only() -> None:
    gray = torch.full((4, 3, 64, 64), 0.5)
    motion = motion_of(0, 1, gray)
    disturbed = motion.disturbed(gray)
    means = disturbed.mean(dim=(1, 2, 3)) / 0.5 - 1
    assert means.abs().max() <= BRIGHTNESS + 0.01
    assert means.std() > 0.005
    spread = (disturbed - disturbed.mean(dim=(1, 2, 3), keepdim=True)).std()
    assert spread.item() == pytest.approx(NOISE, rel=0.05)
    assert 0 <= disturbed.min() <= disturbed.max() <= 1


@pytest.mark.gpu
def test_a_gpu_makes_the_same_motions_with_noise_of_its_own() -> None:
    here, there = motion_of(3, 7, PICTURES), motion_of(3, 7, PICTURES.cuda())
    torch.testing.assert_close(there.grid.cpu(), here.grid)
    assert torch.equal(there.gain.cpu(), here.gain)
    assert there.noise.is_cuda
    assert torch.equal(there.noise, motion_of(3, 7, PICTURES.cuda()).noise)
    assert float(there.noise.std()) == pytest.approx(NOISE, rel=0.05)

"""Random motion, brightness and noise for the temporal loss: still photographs stand in for video frames.

A network trained to give a photograph and a slightly moved copy of it the same strokes does not flicker on
video, without having seen any: the stability training of Zheng et al. 2016, with motion added. Not in Johnson
et al. 2016.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.models.losses import wide
from fast_nst.system.device import to_device

__all__ = ["Motion", "motion_of"]

SHIFT = 8  # pixels either way; strokes would otherwise stick to the network's own grid of 4
ZOOM = 0.03  # either way, for every other step; resampling blurs, so not in all
BRIGHTNESS = 0.05  # either way
NOISE = 0.015  # standard deviation; a camera's is 0.005 to 0.02


class Motion(NamedTuple):
    """One motion for each image of a batch.

    Attributes:
        grid: ``(B, H, W, 2)``, where each pixel comes from, in the coordinates of `grid_sample`.
        inside: ``(B, 1, H, W)``, 1.0 where it comes from within the image, else 0.0.
        shown: the mean of `inside` over the images of all processes, a scalar.
        gain: ``(B, 1, 1, 1)``, change of brightness of the moved photographs.
        noise: ``(B, 3, H, W)``, added to the moved photographs.
    """

    grid: Tensor
    inside: Tensor
    shown: Tensor
    gain: Tensor
    noise: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` images, moved only."""
        grid = self.grid.to(images.dtype)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def disturbed(self, photos: Tensor) -> Tensor:
        """``(B, 3, H, W)`` photographs in [0, 1], moved, brightened or darkened, with noise; in [0, 1]."""
        return (self.apply(photos) * self.gain + self.noise).clamp(0, 1)

    def disagreement(self, before: Tensor, after: Tensor) -> Tensor:
        """Mean square of moved stylized images minus stylized moved images, where both are defined.

        Args:
            before, after: ``(B, 3, H, W)``, stylized from the photographs and from the disturbed ones.

        Returns:
            A scalar, in squares of the image's range.
        """
        with torch.autocast(before.device.type, enabled=False):
            difference = (wide(after) - self.apply(wide(before))) * self.inside
            return difference.square().mean() / self.shown.clamp_min(1 / self.inside.numel())


def motion_of(seed: int, step: int, images: Tensor, *, rank: int = 0, processes: int = 1) -> Motion:
    """The motion for the photographs of a step: a pure function of the seed, the step and the kind of device.

    Noise and coordinates are made on the device: a step on a GPU is shorter than a processor needs for them.

    Args:
        images: ``(B, 3, H, W)``; only its size and device count.
        rank, processes: which equal share of the step's photographs these are, of how many.
    """
    (share, _, h, w), device = images.shape, images.device
    b = share * processes
    step_seed = (seed * 1_000_003 + step) % 2**63
    generator = torch.Generator().manual_seed(step_seed)

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=generator) - 1

    shift = (uniform(b, 2) * (SHIFT + 0.5)).trunc()  # whole pixels: those are moved without blur
    zoom = 1 + ZOOM * uniform(b) * (step % 2)
    rows = torch.zeros(b, 2, 3)
    rows[:, 0, 0] = rows[:, 1, 1] = zoom
    rows[:, :, 2] = 2 * shift / torch.tensor([w, h])
    gain = 1 + BRIGHTNESS * uniform(b, 1, 1, 1)
    if device.type == "cuda":
        generator = torch.Generator(device).manual_seed(step_seed)
    noise = NOISE * torch.randn(b, 3, h, w, generator=generator, device=generator.device)
    grid = F.affine_grid(to_device(rows, device), [b, 3, h, w], align_corners=False)
    inside = (grid.abs() <= 1).all(dim=-1)[:, None].float()
    mine = slice(rank * share, (rank + 1) * share)
    gain, noise = to_device(gain[mine], device), noise[mine].to(device)
    return Motion(grid[mine], inside[mine], inside.mean(), gain, noise)

"""Flat pictures: stylized beside a reference picture.

An instance norm relates every value to the mean and deviation of its feature map. In a picture of one color
there is no deviation, every norm returns its bias whatever the color, and the result is nearly black; in a
nearly flat picture noise is amplified until it looks like brush strokes. So such a picture is stylized as the
upper part of a larger one, whose lower part has the colors and contrasts of an ordinary photograph:

    picture     H rows          kept
    its edge    GAP rows        so that strokes at the border do not reach into the picture
    reference   H rows or more

Its color then becomes what that color becomes in other pictures: light ones light, dark ones dark. Between
`FLAT` and `CLEAR` the two results are mixed, so that nothing jumps in a video that fades; a picture beyond
`CLEAR` takes the way it always took, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fast_nst.io.images import MAX_LEVEL, Levels
from fast_nst.models.reference_picture import reference_picture

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["beside_reference", "flatness", "run_float", "run_uint8"]

FLAT, CLEAR = 2.0, 4.0  # standard deviation, levels
GAP = 64  # pixels; the strokes of the bundled styles reach about 40
SMALLEST = 64  # pixels in all; smaller pictures stay as they are
SAMPLED = 1 << 16  # pixels looked at


def flatness(image: Levels) -> float:
    """The share of the result beside the reference: 1 for a flat ``(H, W, 3)`` uint8 picture, else 0."""
    height, width = image.shape[:2]
    if height * width < SMALLEST:
        return 0.0
    step = max(1, int((height * width / SAMPLED) ** 0.5))
    values = image[::step, ::step].reshape(-1, 3).astype(np.float32)
    deviation = float(np.sqrt(values.var(axis=0).mean()))
    return min(1.0, max(0.0, (CLEAR - deviation) / (CLEAR - FLAT)))


def beside_reference(image: Levels) -> Levels:
    """An ``(H, W, 3)`` uint8 picture as the first rows of the larger one."""
    height, width = image.shape[:2]
    below = reference_picture(max(height, GAP), width)
    return np.concatenate([image, np.repeat(image[-1:], GAP, axis=0), below])


def run_uint8(run: Callable[[Levels], Levels], images: Levels) -> Levels:
    """A batch through a network, flat pictures beside the reference.

    Args:
        run: stylizes ``(B, H, W, 3)`` uint8 images.
        images: such a batch.
    """
    shares = [flatness(image) for image in images]
    if not any(shares):
        return run(images)
    out = np.empty_like(images)
    if clear := [i for i, share in enumerate(shares) if share < 1]:
        out[clear] = run(images[clear])
    for i, share in enumerate(shares):
        if share:
            made = run(beside_reference(images[i])[None])[0, : images.shape[1]]
            mixed = share * made.astype(np.float32) + (1 - share) * out[i] if share < 1 else made
            out[i] = np.rint(mixed).astype(np.uint8)
    return out


def run_float(run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """As `run_uint8`, for ``(B, 3, H, W)`` tensors in [0, 1]."""
    import torch

    shares = [flatness(_levels(image)) for image in images]
    if not any(shares):
        return run(images)
    made = []
    for image, share in zip(images, shares, strict=True):
        plain = run(image[None])[0] if share < 1 else torch.zeros_like(image, dtype=torch.float32)
        if share:
            below = torch.from_numpy(beside_reference(_levels(image)).copy()).permute(2, 0, 1)
            canvas = torch.cat([image.float(), below[:, image.shape[1] :].to(image.device) / MAX_LEVEL], 1)
            plain = torch.lerp(plain, run(canvas[None])[0, :, : image.shape[1]], share)
        made.append(plain)
    return torch.stack(made)


def _levels(image: Tensor) -> Levels:
    """A ``(3, H, W)`` tensor as ``(H, W, 3)`` uint8."""
    from fast_nst.io.images import to_uint8

    return to_uint8(image)

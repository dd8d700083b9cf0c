"""Photographs for training, decoded: pictures of a size to crop from, and their crops.

All that is wrong with a file is an `ImageReadError` that names it.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor

from fast_nst.io.images import ImageReadError, Levels, Picture, fit, over_white, read_picture
from fast_nst.training.data.photos import DatasetError, PhotoSource
from fast_nst.training.data.sampling import Crop

__all__ = ["SCENE", "center_crops", "check_shape", "cut", "load_photo"]

MAX_PIXELS = 40_000_000  # 120 MB decoded, by each thread
MIN_SIDE = 32  # pixels; less would be enlarged eight times for a crop of 256
SCENE = 9 / 8  # short side of a photograph to that of a crop: crops differ, and show a scene and no detail
MAX_ASPECT = 16  # long side to short; of a longer strip a crop shows next to nothing


class _NamedBytes(io.BytesIO):
    """Bytes that `read_picture` can call by the photograph's name."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def load_photo(source: PhotoSource, index: int, image_size: int, photo_size: int | None = None) -> Levels:
    """``(H, W, 3)``: a photograph on white, its short side between `image_size` and `photo_size`.

    By default up to `SCENE` times `image_size`. All that is wrong with a file is an `ImageReadError`.
    """
    name = source.names[index]
    try:
        data = source.read(index)
    except OSError as error:
        raise ImageReadError(name, f"cannot be read ({error.strerror or error})") from error
    try:
        picture = read_picture(_NamedBytes(data, name), max_pixels=MAX_PIXELS)
    except ImageReadError as error:  # the limit is fixed in training
        raise ImageReadError(name, error.reason.partition("; --max-pixels")[0]) from error
    check_shape(name, picture)
    target = min(max(min(picture.height, picture.width), image_size), photo_size or round(image_size * SCENE))
    return fit(Picture(over_white(picture)), shorter_side=target).rgb


def check_shape(name: str, picture: Picture) -> None:
    """Refuse a photograph that is too small or too elongated to train on.

    Raises:
        ImageReadError: it is.
    """
    short, long = sorted((picture.height, picture.width))
    if short < MIN_SIDE:
        raise ImageReadError(name, f"too small: short side {short} px, at least {MIN_SIDE} needed")
    if long > MAX_ASPECT * short:
        size = f"{picture.width} x {picture.height}"
        raise ImageReadError(name, f"too elongated: {size}, at most {MAX_ASPECT}:1 is of use")


def center_crops(
    source: PhotoSource, count: int, image_size: int, bad: dict[str, str] | None = None
) -> Tensor:
    """``(N, 3, S, S)`` uint8: the middles of `count` photographs, or as many as can be read, spread evenly.

    For previews and validation: no seed, no mirroring, the same pictures every time. Those that cannot be
    read are added to `bad`, by name, with the reason.
    """
    total = len(source.names)
    wanted = min(count, total)
    crops: dict[int, Levels | None] = {}  # None: cannot be read
    for start in (i * total // wanted for i in range(wanted)):
        for index in (n % total for n in range(start, start + total)):
            if index in crops:
                continue
            try:
                crops[index] = _center_crop(source, index, image_size)
                break
            except ImageReadError as error:
                crops[index] = None
                if bad is not None:
                    bad[source.names[index]] = error.reason
    good = [crop for _, crop in sorted(crops.items()) if crop is not None]
    if not good:
        raise DatasetError(f"none of the {total} pictures in {source.where} can be read")
    return torch.from_numpy(np.stack(good))


def _center_crop(source: PhotoSource, index: int, size: int) -> Levels:
    photo = load_photo(source, index, size)
    height, width = photo.shape[:2]
    return cut(photo, Crop((height - size) // 2, (width - size) // 2, False), size)


def cut(photo: Levels, crop: Crop, side: int, size: int | None = None) -> Levels:
    """A square of ``(H, W, 3)``, resized if a size is given: ``(3, size, size)``, owning its memory."""
    square = photo[crop.top : crop.top + side, crop.left : crop.left + side]
    square = fit(Picture(square), shorter_side=size).rgb
    return np.array((square[:, ::-1] if crop.flip else square).transpose(2, 0, 1), order="C")

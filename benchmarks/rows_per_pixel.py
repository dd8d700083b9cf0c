"""Two styles of the gallery in one picture: two results blended by a mask, or rows mixed for every pixel.

    python benchmarks/rows_per_pixel.py photo.jpg starry-night the-great-wave --out both.png

Left of the middle the first style, right of it the second, over a strip of each width in ``--soft``. Rows for
every pixel take one pass of the network for any number of styles, but its norms then have one mean and one
variance of each channel for all of them. Printed is how far both ways are from the style alone where the mask
is all its own: mean absolute difference in levels. The picture has the ways side by side, the widths in rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fast_nst.inference.styles import choose_style, mix_rows
from fast_nst.io.images import load_image, save_image
from fast_nst.models.checkpoint import load_gallery
from fast_nst.models.gallery_files import gallery_rows
from fast_nst.models.gallery_net import ConditionalInstanceNorm, GalleryNet
from fast_nst.models.padding import padding_of
from fast_nst.models.transform_net import reflection_pad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("styles", nargs=2, help="of the gallery")
    parser.add_argument("--side", type=int, default=512, help="the photograph's longer side")
    parser.add_argument("--soft", type=float, nargs="+", default=[0.02, 0.5], help="shares of the width")
    parser.add_argument("--out", type=Path, default=Path("rows-per-pixel.png"))
    arguments = parser.parse_args()
    file = choose_style(arguments.styles[0]).file
    gallery = load_gallery(file)
    net = gallery.network.float().eval().requires_grad_(False)
    rows = gallery_rows(file, gallery.metadata)
    first, second = (torch.from_numpy(mix_rows(rows, {style: 1}).rows) for style in arguments.styles)
    photo = load_image(arguments.photo, size=arguments.side)[None]
    alone = [net(photo, row[None]).clamp(0, 1) for row in (first, second)]
    height, width = photo.shape[-2:]
    pictures = []
    print("| width of the strip | blended | rows for every pixel |\n|---|---|---|")
    for soft in arguments.soft:
        mask = ((torch.linspace(0, 1, width) - 0.5) / soft + 0.5).clamp(0, 1).expand(1, 1, height, width)
        blended = alone[0] * (1 - mask) + alone[1] * mask
        mixture = first.view(1, -1, 1, 1) * (1 - mask) + second.view(1, -1, 1, 1) * mask
        mixed = with_rows_per_pixel(net, photo, mixture).clamp(0, 1)
        words = [f"{difference(result, alone, mask):.1f}" for result in (blended, mixed)]
        print(f"| {soft:g} | {' | '.join(words)} |")
        pictures.append(torch.cat([blended, mixed], dim=3))
    save_image(arguments.out, torch.cat(pictures, dim=2)[0])


def difference(result: Tensor, alone: list[Tensor], mask: Tensor) -> float:
    """Levels, where the mask is 0 or 1."""
    errors = [
        (result - style).abs().mean(1)[mask[:, 0] == own] for style, own in zip(alone, (0, 1), strict=True)
    ]
    return 255 * float(torch.cat(errors).mean())


def with_rows_per_pixel(net: GalleryNet, images: Tensor, mixture: Tensor) -> Tensor:
    """The network with a mixture ``(B, R, H, W)`` for every pixel, averaged where maps are smaller."""
    padding = padding_of(net.config, *images.shape[-2:])
    x, mixture = reflection_pad(images, *padding), F.pad(mixture, tuple(padding), mode="replicate")

    def normed(norm: ConditionalInstanceNorm, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
        here = F.adaptive_avg_pool2d(mixture, (x.shape[2], x.shape[3]))
        weight, bias = (torch.einsum("brhw,rc->bchw", here, table) for table in (norm.weight, norm.bias))
        return (x - mean) * torch.rsqrt(var + norm.eps) * weight + bias

    stages: Any = net  # its lists of layers are lists of modules to a type checker
    for stage in stages.down:
        x = F.relu(normed(stage.norm, stage.conv(x)))
    for block in stages.blocks:
        x = x + normed(block.norm2, block.conv2(F.relu(normed(block.norm1, block.conv1(x)))))
    for stage in stages.up:
        x = F.relu(normed(stage.norm, stage.conv(x)))
    color = torch.einsum("brhw,roc->bochw", mixture, net.color)
    x = torch.einsum("bochw,bchw->bohw", color, net.out(x))
    x = x + torch.einsum("brhw,ro->bohw", mixture, net.offset)
    return x[..., : images.shape[-2], : images.shape[-1]]


if __name__ == "__main__":
    main()

"""Checkerboard artifacts of upsampling, measured in stylized smooth gradients.

    python benchmarks/checkerboard.py [STYLE ...]

Each of 24 gradients, 256 x 256, with camera noise of 2 gray levels, is stylized; rows and columns of
the result are Fourier-transformed under a Hann window. Printed is the energy at periods of 2 and 4 over the
median of the neighboring frequencies: 1 is no grid at all. Median and maximum over the gradients.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torch import Tensor

from fast_nst.inference.styles import bundled_styles
from fast_nst.inference.stylizer import Stylizer

SIZE = 256
NOISE = 2 / 255
NEIGHBOURS = range(3, 11)  # bins to either side; a Hann window spreads a line over one


def gradients(count: int, seed: int = 0) -> Tensor:
    """``(count, 3, S, S)`` in [0, 1]: linear blends of two colors in random directions, with noise."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(-1, 1, SIZE)
    pictures = []
    for _ in range(count):
        angle = 2 * torch.pi * torch.rand((), generator=generator)
        blend = 0.5 + 0.35 * (ramp[:, None] * torch.sin(angle) + ramp[None, :] * torch.cos(angle))
        first, second = torch.rand(2, 3, 1, 1, generator=generator)
        picture = first + (second - first) * blend
        pictures.append(picture + NOISE * torch.randn(3, SIZE, SIZE, generator=generator))
    return torch.stack(pictures).clamp(0, 1)


def spectrum(picture: Tensor) -> Tensor:
    """``(S/2 + 1,)``: mean energy of the rows and columns of a ``(3, S, S)`` picture by frequency."""
    window = torch.hann_window(SIZE, periodic=True)
    energy = torch.zeros(SIZE // 2 + 1)
    for lines in (picture, picture.mT):
        centerd = lines - lines.mean(dim=-1, keepdim=True)
        energy += torch.fft.rfft(centerd * window).abs().square().mean(dim=(0, 1))
    return energy


def grid(picture: Tensor, period: int) -> float:
    """Energy at a period over that of its neighbors."""
    energy = spectrum(picture)
    line = SIZE // period
    near = [line + sign * step for step in NEIGHBOURS for sign in (-1, 1)]
    around = energy[[bin for bin in near if bin <= SIZE // 2]]
    return float(energy[line] / around.median())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="*", help="names or files [default: all bundled]")
    parser.add_argument("--count", type=int, default=24)
    arguments = parser.parse_args()
    pictures = gradients(arguments.count)
    print("| style | period 2, median (max) | period 4, median (max) |")
    print("|---|---|---|")
    for style in arguments.styles or list(bundled_styles()):
        stylize = Stylizer.load(style, precision="fp32")
        stylized = [stylize(picture).cpu() for picture in pictures]
        cells = []
        for period in (2, 4):
            found = [grid(picture, period) for picture in stylized]
            cells.append(f"{statistics.median(found):.2f} ({max(found):.2f})")
        print(f"| {stylize.style} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

"""Pictures of any size in little memory, equal to what the whole picture gives.

Instance norm asks for the statistics of a whole map before its first pixel can go on, so the network is
walked in passes from norm to norm, each from the top of the picture to the bottom, a few rows at a time. What
a pass ends in is a map of raw convolution results, and its moments.

Maps at half and quarter size are kept, in memory or in a file (see `spill`), in fp32, so that keeping them
changes nothing. Those at full size, the largest for the fewest multiplications a value, are computed again
where they are needed: to write and read the first one takes longer than its 9x9 convolution. Rows are
overwritten once they have been read: the residual blocks need two maps, however many they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fast_nst.device import autocast
from fast_nst.errors import InputError
from fast_nst.inference.spill import Map, Spill
from fast_nst.inference.windows import Moments, Rows, kernel_of, slide
from fast_nst.plain import show_bytes
from fast_nst.transform_net import InstanceNorm, TransformNet, mirrored, reflection_pad

__all__ = ["Plan", "Source", "plan", "stream", "whole_bytes"]

Source = Callable[[int, int], Tensor]
"""rows of a picture, from the first to before the second, as ``(3, rows, W)`` in [0, 1]"""

BYTES = 4  # of a value
# Measured: the most held at once, in maps as wide as the first convolution's at full size, and what oneDNN
# and the allocator add to strips of any size.
WHOLE = 8.0
STRIP = 14.0
FIXED = 100_000_000
# Strips of this many pixels are as quick as larger ones, and stay in the processor's caches for a part.
STRIP_PIXELS = 1 << 17


class _Affine:
    """A norm whose statistics are known: a factor and a summand for each channel."""

    def __init__(self, norm: nn.Module, moments: Moments) -> None:
        assert isinstance(norm, InstanceNorm | nn.BatchNorm2d)
        mean, var = moments.mean, moments.var
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, var = norm.running_mean.cpu().double(), norm.running_var.cpu().double()
        scale = norm.weight.detach().cpu().double() * torch.rsqrt(var + norm.eps)
        shift = norm.bias.detach().cpu().double() - mean * scale
        self._scale, self._shift = (x.float().view(-1, 1, 1).to(norm.weight.device) for x in (scale, shift))

    def __call__(self, strips: Rows, *, relu: bool = True) -> Rows:
        """Normalise in place, and cut off below 0."""
        for strip in strips:
            strip.mul_(self._scale).add_(self._shift)
            yield strip.relu_() if relu else strip


class _Walk:
    """One picture on its way through one network."""

    def __init__(
        self,
        network: TransformNet,
        source: Source,
        size: tuple[int, int],
        *,
        rows: int,
        spill: Spill,
        precision: str,
        progress: Callable[[float], None],
    ) -> None:
        self._network, self._source, self._size = network, source, size
        self._rows, self._spill, self._precision, self._progress = rows, spill, precision, progress
        self._device = next(network.parameters()).device
        self._tracked = network.config.norm == "batch"  # and so known beforehand
        _, self._right, _, self._bottom = network.margins(*size)
        self._full = size[0] + self._bottom, size[1] + self._right
        self._half = -(-self._full[0] // 2), -(-self._full[1] // 2)
        self._quarter = -(-self._half[0] // 2), -(-self._half[1] // 2)
        self._done, self._todo = 0.0, self._multiplications()

    def painted(self) -> Rows:
        """The result at the size of the picture, unclamped."""
        _, second, third = self._network.config.widths
        (height, _), (below, _), quarter = self._full, self._half, self._quarter
        norm = self._measured("conv1", self._conv("conv1", self._picture(), height))
        kept = self._spill.map(second, *self._half)
        first = norm(self._conv("conv1", self._picture(), height))
        norm = self._kept("conv2", self._conv("conv2", first, height), kept)
        x = self._spill.map(third, *quarter)
        norm = self._kept("conv3", self._conv("conv3", norm(self._read(kept)), below), x)
        self._spill.free(kept)
        trunk = self._blocks(x, norm)
        kept = self._spill.map(second, 2 * quarter[0], 2 * quarter[1])
        enlarged = self._kept("up1", self._conv("up1", self._thinner(trunk), quarter[0]), kept)

        def last() -> Rows:
            return self._conv("up2", self._thinner(enlarged(self._read(kept))), 2 * quarter[0])

        norm = self._measured("up2", last())
        yield from self._cropped(self._conv("conv4", norm(last()), 4 * quarter[0]))

    def _blocks(self, x: Map, norm: _Affine) -> Rows:
        """What leaves the residual blocks, from the raw map of what enters them."""
        trunk = norm(self._read(x))
        if not self._network.config.blocks:
            return trunk
        branch = self._spill.map(x.channels, x.height, x.width)
        for i in range(1, self._network.config.blocks + 1):
            first, second = f"block{i}.conv1", f"block{i}.conv2"
            # The trunk is put in place of what it was made from, the branch in place of the one before.
            inner = self._kept(first, self._conv(first, self._into(x, trunk), x.height), branch)
            outer = self._kept(second, self._conv(second, inner(self._read(branch)), x.height), branch)
            added = outer(self._read(branch), relu=False)
            trunk = (a.add_(b) for a, b in zip(self._read(x), added, strict=True))
        return trunk

    def _picture(self) -> Rows:
        """The picture in strips, padded as the network pads it."""
        height, _ = self._size
        below = mirrored(height, 0, self._bottom, torch.device("cpu"))[height:].tolist()
        spans = [(top, min(top + self._rows, height)) for top in range(0, height, self._rows)]
        for top, bottom in [*spans, *((row, row + 1) for row in below)]:
            strip = self._source(top, bottom).unsqueeze(0).to(self._device)
            yield reflection_pad(strip, 0, self._right, 0, 0)

    def _read(self, source: Map) -> Rows:
        for top in range(0, source.height, self._rows):
            yield source.read(top, min(top + self._rows, source.height)).to(self._device)

    def _thinner(self, strips: Rows) -> Rows:
        """Strips of half as many rows, which the enlargement that follows doubles."""
        for strip in strips:
            yield from torch.split(strip, max(1, self._rows // 2), 2)

    @staticmethod
    def _into(target: Map, strips: Rows) -> Rows:
        """Keep a copy of what passes."""
        top = 0
        for strip in strips:
            target.write(top, strip)
            top += strip.shape[2]
            yield strip

    def _conv(self, name: str, strips: Rows, height: int) -> Rows:
        """The raw results of the convolution of that name, over a map of that height."""
        module = self._network.body.get_submodule(name)
        kernel, cost = kernel_of(module), _cost(module)

        def apply(window: Tensor) -> Tensor:
            # Here and not around the walk: what a generator enters stays entered while it waits.
            with torch.no_grad(), autocast(self._device, self._precision):
                out = kernel.apply(window).float()
            self._done += cost * out.shape[2] * out.shape[3]
            self._progress(min(1.0, self._done / self._todo))
            return out

        return slide(strips, height, kernel._replace(apply=apply))

    def _kept(self, name: str, strips: Rows, target: Map) -> _Affine:
        """Write a raw map; returns the norm that follows it."""
        return self._measured(name, self._into(target, strips), tracked=False)

    def _measured(self, name: str, strips: Rows, *, tracked: bool | None = None) -> _Affine:
        """Walk a raw map, unless its norm is known beforehand; returns the norm that follows it."""
        norm = self._network.body.get_submodule(_norm_after(name))
        moments = Moments()
        if not (self._tracked if tracked is None else tracked):
            for strip in strips:
                moments.add(strip)
        return _Affine(norm, moments)

    def _cropped(self, strips: Rows) -> Rows:
        (height, width), config, top = self._size, self._network.config, 0
        for strip in strips:
            if config.output == "tanh":
                strip = 0.5 + config.tanh_scale * torch.tanh(strip)
            if top < height:
                yield strip[:, :, : height - top, :width]
            top += strip.shape[2]

    def _multiplications(self) -> float:
        """Of all passes together."""
        blocks = [f"block{i}.conv{j}" for i in range(1, self._network.config.blocks + 1) for j in (1, 2)]
        full, half, quarter = (
            float(height * width) for height, width in (self._full, self._half, self._quarter)
        )
        sizes = {"conv1": full, "conv2": half, "conv3": quarter, **dict.fromkeys(blocks, quarter)}
        sizes |= {"up1": 4 * quarter, "up2": 16 * quarter, "conv4": 16 * quarter}
        twice = () if self._tracked else ("conv1", "up2")
        return sum(
            size * _cost(self._network.body.get_submodule(name)) * (1 + (name in twice))
            for name, size in sizes.items()
        )


def _norm_after(conv: str) -> str:
    return conv.replace(".conv", ".norm") if "." in conv else f"{conv}_norm"


def _cost(module: nn.Module) -> float:
    """Multiplications for one position of the result."""
    conv = module.conv
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    return conv.weight.numel() / (4 if isinstance(conv, nn.ConvTranspose2d) else 1)


def stream(
    network: TransformNet,
    source: Source,
    size: tuple[int, int],
    *,
    rows: int,
    spill: Spill,
    precision: str = "fp32",
    progress: Callable[[float], None] = lambda share: None,
) -> Rows:
    """What the network makes of a picture, in strips from top to bottom.

    Args:
        network: with ``padding="reflect"``, ready for inference; where it is, the work is done.
        source: the picture.
        size: its height and width.
        rows: of a strip; any number from 1 gives the same result.
        spill: where the maps are kept.
        progress: called now and then with the share of the work that is done.

    Returns:
        ``(1, 3, rows, W)`` strips, unclamped, on the network's device: to rounding, `TransformNet.forward`'s.

    Raises:
        InputError: the paper's padding, or no room on the disk.
    """
    if network.config.padding != "reflect":
        raise InputError("the paper preset cannot paint in strips; give a smaller --size or more --memory")
    walk = _Walk(network, source, size, rows=rows, spill=spill, precision=precision, progress=progress)
    return walk.painted()


@dataclass(frozen=True)
class Plan:
    """How a picture is streamed within a limit."""

    rows: int
    """of a strip"""
    maps: int | None
    """bytes of maps that may stay in memory; None: all"""


def whole_bytes(network: TransformNet, height: int, width: int) -> int:
    """About what painting a picture in one piece takes, besides the picture and the result."""
    return int(height * width * BYTES * (WHOLE * network.config.widths[0] + 6))


def plan(network: TransformNet, height: int, width: int, memory: int | None) -> Plan:
    """The strips and the maps that fit into `memory` bytes, the picture and the result not counted.

    Raises:
        InputError: not even the smallest strips do.
    """
    rows = max(4, STRIP_PIXELS // width)
    if memory is None:
        return Plan(rows, None)
    a_row = STRIP * BYTES * width * max(network.config.widths[0], network.config.widths[1] / 2)
    reach = 8  # rows that the last convolution holds besides those of its strip
    rows = min(rows, int((memory - FIXED) / a_row) - reach)
    if rows < 1:
        needed = show_bytes(FIXED + (reach + 1) * a_row - memory)
        raise InputError(
            f"{width} x {height} pixels do not fit into the memory allowed: the smallest strips need "
            f"{needed} more; give more --memory or a smaller --size"
        )
    return Plan(rows, max(0, int(memory - FIXED - (rows + reach) * a_row)))

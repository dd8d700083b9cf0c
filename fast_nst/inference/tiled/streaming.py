"""Pictures of any size in little memory, equal to what the whole picture gives.

Instance norm asks for the statistics of a whole map before its first pixel can go on, so the folded network
is walked in passes from norm to norm, each from the top of the picture to the bottom, a few rows at a time.
What a pass ends in is a map of raw convolution results, and its moments.

Maps at half and quarter size are kept, in memory or in a file (see `store`), as the convolutions gave them,
so that keeping them changes nothing. Those at full size, the largest for the fewest multiplications a value,
are computed again where the memory has no room for them: to write the first one to a file and to read it
takes longer than its 9x9 convolution. Rows are overwritten once they have been read: the residual blocks need
two maps, however many they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from fast_nst.inference.engine.folded_net import FoldedLayer, FoldedNet, bounded
from fast_nst.inference.engine.folding import Layer
from fast_nst.inference.engine.running_statistics import RunningStatistics
from fast_nst.inference.tiled.feature_store import FeatureStore, Map
from fast_nst.inference.tiled.sliding_convolution import Rows, Strip, output_size, slide_convolution
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.padding import mirrored

__all__ = ["Source", "stream"]

Source = Callable[[int, int], Tensor]
"""rows of a picture, from the first to before the second, as ``(3, rows, W)`` in [0, 1]"""


class _Walk:
    """One picture on its way through one network."""

    def __init__(
        self,
        network: FoldedNet,
        source: Source,
        size: tuple[int, int],
        *,
        rows: int,
        store: FeatureStore,
        progress: Callable[[float], None],
    ) -> None:
        self._network, self._source, self._size = network, source, size
        self._rows, self._spill, self._progress = rows, store, progress
        self._device = network.device
        self._frame = frame = network.plan.frame(*size)
        framed = size[0] + frame.top + frame.bottom, size[1] + frame.left + frame.right
        self._sizes = [framed]  # of each layer's input, and of the last one's result
        for layer in network.plan.layers:
            self._sizes.append(output_size(layer, *self._sizes[-1]))
        self._again = [self._is_made_again(i) for i in range(len(network.plan.layers))]
        self._done = 0.0
        self._todo = sum(
            _cost(layer) * math.prod(self._sizes[i + 1]) * (1 + self._again[i])
            for i, layer in enumerate(network.plan.layers)
        )

    def painted(self) -> Rows:
        """The result at the size of the picture, unclamped."""
        plan = self._network.plan
        made: Callable[[], Iterator[Strip]] = self._picture  # the input of the layer at hand
        source: Map | None = None  # the raw results that it is made from
        trunk: Map | None = None  # where it is put, as a residual
        for i, (layer, folded) in enumerate(zip(plan.layers, self._network.layers, strict=True)):
            assert isinstance(folded, FoldedLayer)
            if plan.is_skipped(i):
                # It takes the place of what it is made from, the one before it or raw results.
                trunk = self._place(i - 1, source if plan.layers[i - 1].skip is None else trunk)
                made = partial(_into, trunk, made)
            raw = partial(self._convolved, i, folded, made)
            if i == len(plan.layers) - 1:
                break
            residual = trunk if layer.skip is not None else None
            moments = None
            if layer.norm is None:
                source = None
            elif self._again[i]:
                moments, source = _moments(raw()), None
            else:
                kept = self._place(i, None if source is trunk else source)
                moments = _moments(_kept(kept, raw()))
                source, raw = kept, partial(self._read, kept)
                self._spill.keep_only(kept, trunk if plan.is_skipped(i) else residual)
            made = partial(self._finished, folded, raw, moments, residual)
        yield from self._cropped(raw())

    def _place(self, index: int, used: Map | None) -> Map:
        """A map for the result of a layer: one that is read at the same time, if it is as large."""
        channels, size = self._channels(index), self._sizes[index + 1]
        if used is not None and (used.channels, used.height, used.width) == (channels, *size):
            return used
        return self._spill.map(channels, *size, self._network.dtype)

    def _picture(self) -> Iterator[Strip]:
        """The picture in strips, extended as the network wants it, as levels if it takes those."""
        (height, width), frame = self._size, self._frame
        across = torch.from_numpy(mirrored(width, frame.left, frame.right))
        down = mirrored(height, frame.top, frame.bottom)
        spans = [(row, row + 1) for row in down[: frame.top].tolist()]
        spans += [(top, min(top + self._rows, height)) for top in range(0, height, self._rows)]
        spans += [(row, row + 1) for row in down[frame.top + height :].tolist()]
        for top, bottom in spans:
            rows = self._source(top, bottom)
            if len(across) > width:
                rows = rows.index_select(-1, across)
            rows = rows.unsqueeze(0).to(self._device)
            scaled = rows * MAX_LEVEL if self._network.in_levels else rows
            yield Strip((1, 3, bottom - top, len(across)), partial(_copy, scaled))

    def _read(self, source: Map) -> Rows:
        for top in range(0, source.height, self._rows):
            yield source.read(top, min(top + self._rows, source.height)).to(self._device)

    def _convolved(self, index: int, layer: FoldedLayer, made: Callable[[], Iterator[Strip]]) -> Rows:
        """The raw results of a layer's convolution."""
        cost = _cost(layer.layer)
        for out in slide_convolution(made(), self._sizes[index][0], layer):
            self._done += cost * out.shape[2] * out.shape[3]
            self._progress(min(1.0, self._done / self._todo))
            yield out

    def _finished(
        self,
        layer: FoldedLayer,
        raw: Callable[[], Rows],
        moments: RunningStatistics | None,
        residual: Map | None,
    ) -> Iterator[Strip]:
        """What becomes of raw results: norm, ReLU and residual are still to come."""
        known = None if moments is None else moments.on(self._device)
        crop, top = layer.layer.skip or 0, 0
        for rows in raw():
            b, c, h, w = rows.shape
            skip = None if residual is None else residual.read(top, top + h + 2 * crop).to(self._device)
            yield Strip((b, c, h, w), partial(layer.finish, rows, known, skip))
            top += h

    def _cropped(self, strips: Rows) -> Rows:
        (height, width), scale, top = self._size, self._network.plan.tanh_scale, 0
        for strip in strips:
            strip = strip.float()
            if scale is not None:
                strip = bounded(strip, scale)
            if top < height:
                yield strip[:, :, : height - top, :width]
            top += strip.shape[2]

    def _is_made_again(self, index: int) -> bool:
        """Whether a layer's results are computed a second time instead of being kept."""
        layers, bytes_of = self._network.plan.layers, self._bytes
        if layers[index].norm is None or math.prod(self._sizes[index + 1]) < math.prod(self._size):
            return False
        # The map that it is made from, or the one made from it, is there at the same time.
        beside = [bytes_of(i) for i in (index - 1, index + 1) if i >= 0 and layers[i].norm is not None]
        return not self._spill.fits(bytes_of(index) + max(beside, default=0))

    def _bytes(self, index: int) -> int:
        return self._channels(index) * math.prod(self._sizes[index + 1]) * self._network.dtype.itemsize

    def _channels(self, index: int) -> int:
        layer = self._network.plan.layers[index]
        return int(layer.weight.shape[1 if layer.fractional else 0])


def _cost(layer: Layer) -> float:
    """Multiplications for one position of the result."""
    return layer.weight.size / (4 if layer.fractional else 1)


def _copy(rows: Tensor, out: Tensor) -> None:
    out.copy_(rows)


def _into(target: Map, made: Callable[[], Iterator[Strip]]) -> Iterator[Strip]:
    """BandProgress of which a copy is kept as they are made."""
    top = 0
    for strip in made():

        def put(out: Tensor, strip: Strip = strip, top: int = top) -> None:
            strip.put(out)
            target.write(top, out)

        yield Strip(strip.shape, put)
        top += strip.shape[2]


def _kept(target: Map, rows: Rows) -> Rows:
    """Keep a copy of what passes."""
    top = 0
    for strip in rows:
        target.write(top, strip)
        top += strip.shape[2]
        yield strip


def _moments(strips: Rows) -> RunningStatistics:
    moments = RunningStatistics()
    for strip in strips:
        moments.add(strip)
    return moments


def stream(
    network: FoldedNet,
    source: Source,
    size: tuple[int, int],
    *,
    rows: int,
    store: FeatureStore,
    progress: Callable[[float], None] = lambda share: None,
) -> Rows:
    """What the network makes of a picture, in strips from top to bottom.

    Args:
        network: of a style; where it is, the work is done.
        source: the picture.
        size: its height and width.
        rows: of a strip; any number from 1 gives the same result.
        spill: where the maps are kept.
        progress: called now and then with the share of the work that is done.

    Returns:
        ``(1, 3, rows, W)`` strips in fp32, unclamped, on the network's device: to rounding,
        `FoldedNet.forward`'s.

    Raises:
        InputError: no room on the disk.
    """
    walk = _Walk(network, source, size, rows=rows, store=store, progress=progress)
    return walk.painted()

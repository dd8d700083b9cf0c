"""Stylize images of any size in little memory, with the result of the whole image.

Instance norm needs the statistics of a whole feature map before its first value can be normalized, so the
network runs in passes from norm to norm, each from the top of the image to the bottom in row bands:

    pass 1    image bands -> conv1 ---------------------> running statistics 1 (and raw map 1, if it fits)
    pass 2    raw map 1 or conv1 again -> norm 1, ReLU -> conv2 -> running statistics 2, raw map 2 (stored)
    pass 3    raw map 2 -> norm 2, ReLU -> conv3 -------> running statistics 3, raw map 3 (stored)
    ...
    last      raw map of up2 -> norm, ReLU -> conv4 ----> bands of the result

Feature maps at half and quarter size are stored as the convolutions return them, in memory or in a file (see
`feature_store`), so that storing changes nothing. Those at full size, the largest for the fewest
multiplications a value, are recomputed where memory has no room for them: writing the first one to a file and
reading it takes longer than its 9x9 convolution. Rows are overwritten once they have been read: the residual
blocks need two feature maps, however many blocks there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from fast_nst.inference.engine.folded_net import FoldedLayer, FoldedNet, bounded
from fast_nst.inference.engine.plan import Layer
from fast_nst.inference.engine.running_statistics import RunningStatistics
from fast_nst.inference.tiled.feature_store import FeatureMap, FeatureStore
from fast_nst.inference.tiled.sliding_convolution import PendingBand, RowBands, output_size, slide_convolution
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.padding import reflected_indices

__all__ = ["Source", "stream"]

Source = Callable[[int, int], Tensor]
"""rows of a picture, from the first to before the second, as ``(3, rows, W)`` in [0, 1]"""


class _Stream:
    """The passes of one image through one network."""

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
        self._rows, self._store, self._progress = rows, store, progress
        self._device = network.device
        self._padding = padding = network.plan.padding(*size)
        padded = size[0] + padding.top + padding.bottom, size[1] + padding.left + padding.right
        self._sizes = [padded]  # of each layer's input, and of the last one's result
        for layer in network.plan.layers:
            self._sizes.append(output_size(layer, *self._sizes[-1]))
        self._recomputed = [self._is_recomputed(i) for i in range(len(network.plan.layers))]
        self._done = 0.0
        self._todo = sum(
            _cost(layer) * math.prod(self._sizes[i + 1]) * (1 + self._recomputed[i])
            for i, layer in enumerate(network.plan.layers)
        )

    def result(self) -> RowBands:
        """The result at the size of the image, unclamped."""
        plan = self._network.plan
        made: Callable[[], Iterator[PendingBand]] = self._picture  # the input of the layer at hand
        source: FeatureMap | None = None  # the raw results that it is made from
        trunk: FeatureMap | None = None  # where it is put, as a residual
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
            measured = None
            if layer.norm is None:
                source = None
            elif self._recomputed[i]:
                measured, source = _statistics_of(raw()), None
            else:
                kept = self._place(i, None if source is trunk else source)
                measured = _statistics_of(_stored(kept, raw()))
                source, raw = kept, partial(self._read, kept)
                self._store.keep_only(kept, trunk if plan.is_skipped(i) else residual)
            made = partial(self._finished, folded, raw, measured, residual)
        yield from self._cropped(raw())

    def _place(self, index: int, used: FeatureMap | None) -> FeatureMap:
        """A map for the result of a layer: one that is read at the same time, if it is as large."""
        channels, size = self._channels(index), self._sizes[index + 1]
        if used is not None and (used.channels, used.height, used.width) == (channels, *size):
            return used
        return self._store.map(channels, *size, self._network.dtype)

    def _picture(self) -> Iterator[PendingBand]:
        """The picture in bands, padded as the network needs it, as levels if it takes those."""
        (height, width), padding = self._size, self._padding
        across = torch.from_numpy(reflected_indices(width, padding.left, padding.right))
        down = reflected_indices(height, padding.top, padding.bottom)
        spans = [(row, row + 1) for row in down[: padding.top].tolist()]
        spans += [(top, min(top + self._rows, height)) for top in range(0, height, self._rows)]
        spans += [(row, row + 1) for row in down[padding.top + height :].tolist()]
        for top, bottom in spans:
            rows = self._source(top, bottom)
            if len(across) > width:
                rows = rows.index_select(-1, across)
            rows = rows.unsqueeze(0).to(self._device)
            scaled = rows * MAX_LEVEL if self._network.in_levels else rows
            yield PendingBand((1, 3, bottom - top, len(across)), partial(_copy, scaled))

    def _read(self, source: FeatureMap) -> RowBands:
        for top in range(0, source.height, self._rows):
            yield source.read(top, min(top + self._rows, source.height)).to(self._device)

    def _convolved(
        self, index: int, layer: FoldedLayer, made: Callable[[], Iterator[PendingBand]]
    ) -> RowBands:
        """The raw results of a layer's convolution."""
        cost = _cost(layer.layer)
        for out in slide_convolution(made(), self._sizes[index][0], layer):
            self._done += cost * out.shape[2] * out.shape[3]
            self._progress(min(1.0, self._done / self._todo))
            yield out

    def _finished(
        self,
        layer: FoldedLayer,
        raw: Callable[[], RowBands],
        measured: RunningStatistics | None,
        residual: FeatureMap | None,
    ) -> Iterator[PendingBand]:
        """What becomes of raw results: norm, ReLU and residual are still to come."""
        known = None if measured is None else measured.on(self._device)
        crop, top = layer.layer.skip or 0, 0
        for rows in raw():
            b, c, h, w = rows.shape
            skip = None if residual is None else residual.read(top, top + h + 2 * crop).to(self._device)
            yield PendingBand((b, c, h, w), partial(layer.finish, rows, known, skip))
            top += h

    def _cropped(self, bands: RowBands) -> RowBands:
        (height, width), scale, top = self._size, self._network.plan.tanh_scale, 0
        for band in bands:
            band = band.float()
            if scale is not None:
                band = bounded(band, scale)
            if top < height:
                yield self._with_base(band[:, :, : height - top, :width], top)
            top += band.shape[2]

    def _with_base(self, strip: Tensor, top: int) -> Tensor:
        """Rows of the result, and what is added to them of the picture."""
        if self._network.base is None:
            return strip
        rows = self._source(top, top + strip.shape[2]).unsqueeze(0).to(self._device)
        added: Tensor = self._network.base(rows)
        return strip + added

    def _is_recomputed(self, index: int) -> bool:
        """Whether a layer's results are computed twice instead of being stored."""
        layers, bytes_of = self._network.plan.layers, self._bytes
        if layers[index].norm is None or math.prod(self._sizes[index + 1]) < math.prod(self._size):
            return False
        # The map that it is made from, or the one made from it, is there at the same time.
        beside = [bytes_of(i) for i in (index - 1, index + 1) if i >= 0 and layers[i].norm is not None]
        return not self._store.fits(bytes_of(index) + max(beside, default=0))

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


def _into(target: FeatureMap, made: Callable[[], Iterator[PendingBand]]) -> Iterator[PendingBand]:
    """The same bands, each stored once it is made."""
    top = 0
    for band in made():

        def put(out: Tensor, band: PendingBand = band, top: int = top) -> None:
            band.put(out)
            target.write(top, out)

        yield PendingBand(band.shape, put)
        top += band.shape[2]


def _stored(target: FeatureMap, rows: RowBands) -> RowBands:
    """The same bands, each stored as it passes."""
    top = 0
    for band in rows:
        target.write(top, band)
        top += band.shape[2]
        yield band


def _statistics_of(bands: RowBands) -> RunningStatistics:
    measured = RunningStatistics()
    for band in bands:
        measured.add(band)
    return measured


def stream(
    network: FoldedNet,
    source: Source,
    size: tuple[int, int],
    *,
    rows: int,
    store: FeatureStore,
    progress: Callable[[float], None] = lambda share: None,
) -> RowBands:
    """Run the network over an image in row bands, from top to bottom.

    Args:
        network: of a style; where it is, the work is done.
        source: the picture.
        size: its height and width.
        rows: of a band; any number from 1 gives the same result.
        store: of the feature maps.
        progress: called now and then with the share of the work that is done.

    Returns:
        ``(1, 3, rows, W)`` bands in fp32, unclamped, on the network's device: to rounding,
        `FoldedNet.forward`'s.

    Raises:
        InputError: no room on the disk.
    """
    streaming = _Stream(network, source, size, rows=rows, store=store, progress=progress)
    return streaming.result()

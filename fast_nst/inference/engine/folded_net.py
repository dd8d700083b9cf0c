"""The folded network in PyTorch: equal to the network it was made from, and faster.

The two steps of a layer, `FoldedLayer.convolve` and `FoldedLayer.finish`, can be called apart: what lies
between them, the statistics of an instance norm, belongs to the whole image, also in a row band.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.inference.engine.folding import fold_weights
from fast_nst.inference.engine.plan import EPSILON, Layer, Plan, taking_levels
from fast_nst.inference.engine.running_statistics import in_pieces, statistics
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.transform_net import TransformNet, reflection_pad
from fast_nst.models.upscale_net import UpscaleNet

__all__ = [
    "DTYPES",
    "FoldedLayer",
    "FoldedNet",
    "PaddedBuffer",
    "arrays_of",
    "bounded",
    "fold",
    "is_finite",
    "plan_of",
]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_PAD_MODES = {"repeat": "replicate", "zero": "constant"}


def bounded(x: Tensor, scale: float) -> Tensor:
    """``0.5 + scale * tanh(x)``, and NaN where x is not finite: tanh alone would make 1 of infinity."""
    return 0.5 + scale * torch.tanh(x) + (x - x)


def is_finite(x: Tensor) -> bool:
    """Whether no value is NaN or infinite; by their sum, which makes one pass and no copy."""
    return bool(x.sum(dtype=torch.float32).isfinite())


def arrays_of(network: nn.Module) -> dict[str, NDArray[np.generic]]:
    """The state dict of a network as arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


def plan_of(network: TransformNet | UpscaleNet) -> Plan:
    """The folded weights of a trained network; see `folding` for what is rewritten."""
    return fold_weights(network.config, arrays_of(network))


def fold(network: TransformNet | UpscaleNet) -> FoldedNet:
    """A trained network in its faster form, on the device it is on."""
    return FoldedNet(plan_of(network)).to(next(network.parameters()).device)


class PaddedBuffer(NamedTuple):
    """A feature map with its padding, allocated before it is computed."""

    border: str
    """its kind, see `Layer`"""
    data: Tensor
    new: slice
    """rows that are still to be written"""
    columns: int
    """of the border, left and right"""
    rows: tuple[int, int]
    """of the border, above and below"""

    @property
    def interior(self) -> Tensor:
        """What is to be written, without the border."""
        return self.data[:, :, self.new, self.columns : self.data.shape[3] - self.columns]

    def fill_border(self) -> None:
        """Write the border, once the rest is there."""
        made = self.data[:, :, self.new]
        for i in range(self.columns):
            self._copy(made, 3, i, self.columns)
            self._copy(made, 3, -1 - i, -1 - self.columns)
        above, below = self.rows
        for i in range(above):  # with their columns
            self._copy(self.data, 2, i, above)
        for i in range(below):
            self._copy(self.data, 2, -1 - i, -1 - below)

    def _copy(self, x: Tensor, axis: int, place: int, edge: int) -> None:
        """One row or column from inside the edge."""
        if self.border == "zero":
            x.select(axis, place).zero_()
        else:
            inside = 2 * edge - place if self.border == "reflect" else edge
            x.select(axis, place).copy_(x.select(axis, inside))


class FoldedLayer(nn.Module):
    """One `Layer`, as ``finish(convolve(border(x)))``.

    Args:
        layer: what it computes; kept as an attribute.
        dtype: of the convolution; norms are in fp32 in any case.
    """

    weight: Tensor
    bias: Tensor | None
    norm_weight: Tensor | None
    norm_bias: Tensor | None

    def __init__(self, layer: Layer, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layer = layer
        scale, shift = layer.norm or (None, None)
        kept = {"bias": layer.bias, "norm_weight": scale, "norm_bias": shift}
        # Channels last, as are the maps: so the processor's convolutions take them without rearranging.
        weight = torch.from_numpy(layer.weight).to(dtype, memory_format=torch.channels_last)
        self.register_buffer("weight", weight)
        for name, array in kept.items():
            tensor = None if array is None else torch.from_numpy(array)
            self.register_buffer(name, tensor.to(dtype) if tensor is not None and name == "bias" else tensor)

    def border(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` extended by the layer's margin in the layer's way."""
        rows, columns = self.layer.margin
        if not (rows or columns):
            return x
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            buffer = self.padded_buffer(x.shape, (rows, rows))
            buffer.interior.copy_(x)
            buffer.fill_border()
            return buffer.data
        sides = (columns, columns, rows, rows)
        if self.layer.border == "reflect":
            return reflection_pad(x, *sides)
        return F.pad(x, sides, mode=_PAD_MODES[self.layer.border])

    def padded_buffer(
        self, shape: Sequence[int], rows: tuple[int, int], before: Tensor | None = None
    ) -> PaddedBuffer:
        """Memory for an input with its border, channels last.

        By hand: ``F.pad`` would go through channels first and back.

        Args:
            shape: ``(B, C, H, W)`` of the input.
            rows: of the border, above and below; columns are the layer's margin.
            before: rows that lie above the input, with their borders.
        """
        (b, c, h, w), (above, below), columns = shape, rows, self.layer.margin[1]
        held = 0 if before is None else before.shape[2]
        sizes = (b, c, above + held + h + below, w + 2 * columns)
        data = torch.empty(
            sizes, dtype=self.weight.dtype, device=self.weight.device, memory_format=torch.channels_last
        )
        if before is not None:
            data[:, :, above : above + held] = before
        new = slice(above + held, above + held + h)
        return PaddedBuffer(self.layer.border, data, new, columns, (above, below))

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution alone, of an input that has its border."""
        layer = self.layer
        if not layer.fractional:
            out = F.conv2d(x, self.weight, self.bias, layer.stride)
            return F.pixel_shuffle(out, layer.shuffle) if layer.shuffle > 1 else out
        before, after = layer.crop
        # Both ends of the full result are cropped by `padding`; `output_padding` gives the second some back.
        return F.conv_transpose2d(
            x, self.weight, self.bias, layer.stride, padding=before, output_padding=before - after
        )

    def finish(
        self,
        x: Tensor,
        mean_var: tuple[Tensor, Tensor] | None = None,
        skip: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Norm, ReLU and residual of a convolution's result.

        Args:
            mean_var: mean and biased variance for the norm, ``(B, C, 1, 1)`` in fp32; default: those of x.
            skip: the residual, uncropped.
            out: where the result is put, of x's shape; default: x.
        """
        scale = shift = None
        if self.norm_weight is not None and self.norm_bias is not None:
            mean, var = mean_var or statistics(x)
            scale = self.norm_weight.view(-1, 1, 1) * torch.rsqrt(var + EPSILON)
            shift = self.norm_bias.view(-1, 1, 1) - mean * scale
        if self.layer.skip is not None and skip is not None:
            crop = self.layer.skip
            skip = skip[..., crop : skip.shape[-2] - crop, crop : skip.shape[-1] - crop]
        else:
            skip = None
        if torch.compiler.is_compiling():
            y = x if scale is None or shift is None else x * scale + shift
            y = y.relu() if self.layer.relu else y
            return (y if skip is None else y + skip).to(x.dtype)
        out, top = x if out is None else out, 0
        for piece in in_pieces(x):
            below = top + piece.shape[2]
            self._finish(
                piece, scale, shift, None if skip is None else skip[:, :, top:below], out[:, :, top:below]
            )
            top = below
        return out

    def _finish(
        self, x: Tensor, scale: Tensor | None, shift: Tensor | None, skip: Tensor | None, out: Tensor
    ) -> None:
        y = x
        if scale is not None and shift is not None:
            # 16-bit values go through fp32, and are rounded once at the end.
            in_place = x.dtype == out.dtype == scale.dtype
            y = torch.addcmul(shift, x.float(), scale, out=out if in_place else None)
        elif x.dtype == out.dtype:
            y = x if x.data_ptr() == out.data_ptr() else out.copy_(x)
        if self.layer.relu:
            y = y.relu_()
        if skip is not None:
            y = y.add_(skip)
        if y.dtype != out.dtype:
            out.copy_(y)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """The whole layer on a whole map."""
        return self.finish(self.convolve(self.border(x)), skip=skip)


class FoldedNet(nn.Module):
    """A folded network: images in and out as `TransformNet` or `UpscaleNet` takes and gives them.

    Args:
        plan: the network.
        dtype: of the convolutions, float32, bfloat16 or float16.
    """

    def __init__(self, plan: Plan, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.plan, self.dtype = plan, dtype
        # Not in fp16, where the weights for levels would be too small to be exact themselves.
        self.in_levels = dtype == torch.bfloat16
        layers = taking_levels(plan.layers) if self.in_levels else plan.layers
        self.layers = nn.ModuleList(FoldedLayer(layer, dtype) for layer in layers)
        self.base = None if plan.base is None else FoldedLayer(plan.base)
        self.eval()

    @property
    def precision(self) -> str:
        """A key of `DTYPES`."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.buffers()).device

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)``, nominally in [0, 1], any size, to `Plan.factor` times that in fp32, unclamped."""
        h, w = images.shape[-2:]
        stylized = self.run_padded(reflection_pad(images, *self.plan.padding(h, w)))
        return stylized[..., : self.plan.factor * h, : self.plan.factor * w]

    def run_padded(self, padded: Tensor) -> Tensor:
        """A padded image, to one that is to be cropped from its top left corner."""
        x = padded * MAX_LEVEL if self.in_levels else padded
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        residual: Tensor | None = None
        for i, layer in enumerate(self.layers):
            # Kept only where the layer after this one adds it: a map that is let go can be used again.
            kept = x if self.plan.is_skipped(i) else None
            x, residual = layer(x, residual), kept
        out = x.float()
        if self.plan.tanh_scale is not None:
            out = bounded(out, self.plan.tanh_scale)
        return out if self.base is None else out + self.base(padded.float())

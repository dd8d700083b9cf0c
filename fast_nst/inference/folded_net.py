"""The folded network in PyTorch: equal to the network it was made from, and faster.

The two steps of a layer, `FoldedLayer.convolve` and `FoldedLayer.finish`, can be called apart: what lies
between them, the statistics of an instance norm, belongs to the whole picture, also where a strip is painted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.images import MAX_LEVEL
from fast_nst.inference.folding import EPSILON, Layer, Plan, fold_weights, taking_levels
from fast_nst.inference.moments import in_pieces, statistics
from fast_nst.transform_net import TransformNet, reflection_pad
from fast_nst.upscale_net import UpscaleNet

__all__ = ["FoldedLayer", "FoldedNet", "fold", "plan_of"]

_PAD_MODES = {"repeat": "replicate", "zero": "constant"}


def plan_of(network: TransformNet | UpscaleNet) -> Plan:
    """The folded weights of a trained network; see `folding` for what is rewritten."""
    state = network.state_dict()
    return fold_weights(network.config, {name: t.detach().cpu().numpy() for name, t in state.items()})


def fold(network: TransformNet | UpscaleNet) -> FoldedNet:
    """A trained network in its faster form, on the device it is on."""
    return FoldedNet(plan_of(network)).to(next(network.parameters()).device)


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
        sides = (columns, columns, rows, rows)
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            return _extended(x, self.layer)
        if self.layer.border == "reflect":
            return reflection_pad(x, *sides)
        return F.pad(x, sides, mode=_PAD_MODES[self.layer.border])

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
        self, x: Tensor, moments: tuple[Tensor, Tensor] | None = None, skip: Tensor | None = None
    ) -> Tensor:
        """Norm, ReLU and residual of a convolution's result, in place where that saves a map.

        Args:
            moments: mean and biased variance for the norm, ``(B, C, 1, 1)`` in fp32; default: those of x.
            skip: the residual, uncropped.
        """
        scale = shift = None
        if self.norm_weight is not None and self.norm_bias is not None:
            mean, var = moments or statistics(x)
            scale = self.norm_weight.view(-1, 1, 1) * torch.rsqrt(var + EPSILON)
            shift = self.norm_bias.view(-1, 1, 1) - mean * scale
        if self.layer.skip is not None and skip is not None:
            crop = self.layer.skip
            skip = skip[..., crop : skip.shape[-2] - crop, crop : skip.shape[-1] - crop]
        else:
            skip = None
        if torch.compiler.is_compiling():
            return self._finished(x, scale, shift, skip).to(x.dtype)
        top = 0
        for piece in in_pieces(x):
            below = top + piece.shape[2]
            done = self._finished(piece, scale, shift, None if skip is None else skip[:, :, top:below])
            if done is not piece:
                piece.copy_(done)
            top = below
        return x

    def _finished(
        self, x: Tensor, scale: Tensor | None, shift: Tensor | None, skip: Tensor | None
    ) -> Tensor:
        """The same of one piece: in place, or what has been a 16-bit one as fp32, rounded once at the end."""
        if scale is not None and shift is not None:
            here = x.dtype == scale.dtype and not torch.compiler.is_compiling()
            x = torch.addcmul(shift, x.float(), scale, out=x if here else None)
        if self.layer.relu:
            x = x.relu_()
        return x if skip is None else x.add_(skip)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """The whole layer on a whole map."""
        return self.finish(self.convolve(self.border(x)), skip=skip)


def _extended(x: Tensor, layer: Layer) -> Tensor:
    """A map with its border, channels last, by copies; ``F.pad`` would go through channels first and back."""
    (rows, columns), (b, c, h, w) = layer.margin, x.shape
    sizes = (b, c, h + 2 * rows, w + 2 * columns)
    out = torch.empty(sizes, dtype=x.dtype, memory_format=torch.channels_last)
    out[..., rows : rows + h, columns : columns + w] = x
    for axis, margin in ((2, rows), (3, columns)):  # the columns of the border rows come along with the rest
        for i in range(margin):
            before, after = (out.select(axis, place) for place in (i, -1 - i))
            if layer.border == "zero":
                before.zero_()
                after.zero_()
                continue
            inner = 2 * margin - i if layer.border == "reflect" else margin
            before.copy_(out.select(axis, inner))
            after.copy_(out.select(axis, -1 - inner))
    return out


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

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)``, nominally in [0, 1], any size, to `Plan.factor` times that in fp32, unclamped."""
        h, w = images.shape[-2:]
        painted = self.paint(reflection_pad(images, *self.plan.frame(h, w)))
        return painted[..., : self.plan.factor * h, : self.plan.factor * w]

    def paint(self, framed: Tensor) -> Tensor:
        """A picture that has its frame, to one that is to be cropped from its top left corner."""
        x = framed * MAX_LEVEL if self.in_levels else framed
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        residual: Tensor | None = None
        for i, layer in enumerate(self.layers):
            # Kept only where the layer after this one adds it: a map that is let go can be used again.
            kept = x if self.plan.is_skipped(i) else None
            x, residual = layer(x, residual), kept
        out = x.float()
        if self.plan.tanh_scale is not None:
            out = 0.5 + self.plan.tanh_scale * torch.tanh(out)
        return out if self.base is None else out + self.base(framed.float())

"""Convolutions of low rank, of which the distilled loss network consists."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

__all__ = ["LOW_RANKS", "LowRankConv"]

# The ranks of the distilled network's convolutions: input channels after the first factor, and output
# channels before the last. The first layer has three inputs and stays as it is.
LOW_RANKS: dict[str, tuple[int, int]] = {
    "conv1_2": (24, 24),
    "conv2_1": (32, 40),
    "conv2_2": (40, 40),
    "conv3_1": (48, 64),
    **{f"conv3_{i}": (64, 64) for i in (2, 3, 4)},
    "conv4_1": (72, 96),
    **{f"conv4_{i}": (112, 112) for i in (2, 3, 4)},
    "conv5_1": (112, 128),
}


class LowRankConv(nn.Sequential):
    """A 3 x 3 convolution as three factors: 1 x 1, 3 x 3 and 1 x 1, without a nonlinearity between them.

    Tucker-2 decomposition of the kernel (Kim et al. 2016, section 3.1). Padding with zeros stays exact, since
    the first factor has no bias.

    Args:
        inputs, outputs: channels of the convolution it stands for.
        ranks: channels after the first factor and before the last.
    """

    def __init__(self, inputs: int, outputs: int, ranks: tuple[int, int]) -> None:
        first, last = ranks
        super().__init__(
            OrderedDict(
                reduce=nn.Conv2d(inputs, first, 1, bias=False),
                conv=nn.Conv2d(first, last, 3, padding=1, bias=False),
                expand=nn.Conv2d(last, outputs, 1),
            )
        )

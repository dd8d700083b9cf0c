"""Layers and weights of the perceptual objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fast_nst.errors import InputError
from fast_nst.serialization import flag_name

__all__ = ["STYLE_LAYERS", "LossConfig", "LossNetwork"]

LossNetwork = Literal["vgg16", "vgg19"]

# The paper's four layers for VGG-16 (section 4.1). VGG-19 has a fourth convolution in blocks 3 and 4; the
# second is taken there: halfway into its block, and a quarter cheaper than the last.
STYLE_LAYERS: dict[str, tuple[str, ...]] = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    "vgg19": ("relu1_2", "relu2_2", "relu3_2", "relu4_2"),
}


@dataclass(frozen=True)
class LossConfig:
    """Weights and layers of the perceptual objective (Johnson et al. 2016, section 3.2)."""

    objective: Literal["dimensionless", "paper"] = "dimensionless"
    """relative errors, whose weights suit any style image, or the paper's unnormalized sums"""
    content_weight: float = 1.0
    """weight of the content term"""
    # Relative errors of both kinds are of order 1 untrained. At 5, a trained network keeps the photograph
    # readable and reaches a tenth to a fifth of its style distance; the README has the table.
    style_weight: float = 5.0
    """weight of the style term"""
    # The paper gives only a range, 1e-6 to 1e-4, for a sum over 0-255 pixels; ours is a mean on [0, 1].
    tv_weight: float = 1.0
    """weight of the total-variation term"""
    # Phases of the 4-pixel grid differ by about 2 gray levels untreated; at 100 that costs as much as a tenth
    # of the objective, and far less once it is gone.
    grid_weight: float = 100.0
    """weight of the checkerboard loss: the energy of patterns of period 2 or 4 in the results"""
    # The arXiv text says relu2_2, the conference text and the released code relu3_3. The shallower one keeps
    # lines and faces better at the same style distance.
    content_layers: tuple[str, ...] = ("relu2_2",)
    """content layers of the loss network"""
    style_layers: tuple[str, ...] = ()
    """style layers of the loss network [default: relu1_2 relu2_2 relu3_3 relu4_3; vgg19: relu3_2 relu4_2]"""

    def __post_init__(self) -> None:
        for name in ("content_weight", "style_weight", "tv_weight", "grid_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{flag_name(name)} must be a finite number of at least 0, got {value}")
        if not (self.content_weight or self.style_weight or self.tv_weight):
            raise InputError("the content, style and tv weights are all 0; set at least one above 0")
        if not self.content_layers:
            raise InputError("--content-layers needs at least one layer, such as relu2_2")

    def style_layers_for(self, arch: str) -> tuple[str, ...]:
        """The style layers, or the defaults of that loss network."""
        return self.style_layers or STYLE_LAYERS[arch]

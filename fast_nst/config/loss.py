"""Layers and weights of the perceptual objective."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fast_nst.config.checks import check_least
from fast_nst.errors import InputError

__all__ = [
    "BY_OBJECTIVE",
    "OBJECTIVES",
    "STYLE_LAYERS",
    "LossConfig",
    "LossNetwork",
    "ObjectiveName",
    "ObjectivePreset",
]

LossNetwork = Literal["vgg16", "vgg19", "distilled"]
ObjectiveName = Literal["bold", "dimensionless", "paper"]
BY_OBJECTIVE: Any = None  # a default that __post_init__ replaces by what the objective says

# The paper's four layers for VGG-16 (section 4.1). VGG-19 has a fourth convolution in blocks 3 and 4; the
# second is taken there: halfway into its block, and a quarter cheaper than the last.
STYLE_LAYERS: dict[str, tuple[str, ...]] = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    "vgg19": ("relu1_2", "relu2_2", "relu3_2", "relu4_2"),
    "distilled": ("relu1_2", "relu2_2", "relu3_2", "relu4_2"),
}
_FIRST_OF_BLOCKS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


class ObjectivePreset(NamedTuple):
    """What an objective sets, each unless it is given."""

    relative: bool
    """terms are relative errors, else the paper's sums"""
    content_layers: tuple[str, ...]
    style_layers: dict[str, tuple[str, ...]]
    """by loss network"""
    style_weight: float
    style_size: int
    """shorter side of the style image, pixels"""
    loss_network: LossNetwork
    border_weight: float = 20.0
    """of the border loss, for networks with instance normalization"""

    def loss_network_for(self, vgg_weights: Path | None) -> LossNetwork:
        """The loss network where none is named: VGG-19 for someone who has its weights at hand."""
        return "vgg19" if vgg_weights and self.loss_network == "distilled" else self.loss_network


# Relative errors of both kinds are of order 1 untrained. The arXiv text has its content layer at relu2_2, the
# conference text and the released code at relu3_3; the shallower one keeps lines and faces.
_BEFORE = ObjectivePreset(True, ("relu2_2",), STYLE_LAYERS, 5.0, 384, "vgg16")
OBJECTIVES: dict[str, ObjectivePreset] = {
    # Gatys et al. 2016, section 2, has these layers (with conv4_2 for content); docs/objective.md shows what
    # each choice does. Content at relu2_2 pins every edge to its pixel, and strokes cannot form.
    "bold": ObjectivePreset(
        True, ("relu4_2",), dict.fromkeys(STYLE_LAYERS, _FIRST_OF_BLOCKS), 10.0, 256, "distilled"
    ),
    "dimensionless": _BEFORE,
    "paper": _BEFORE._replace(relative=False, border_weight=0.0),
}


@dataclass(frozen=True)
class LossConfig:
    """Weights and layers of the perceptual objective (Johnson et al. 2016, section 3.2).

    What is left out is taken from ``objective``; afterwards every field has a value.
    """

    objective: ObjectiveName = "bold"
    """bold strokes; dimensionless: the paper's layers, finer strokes; or the paper's unnormalized sums. Sets
    the layers, --style-weight, --style-size and --loss-network where they are not given"""
    content_weight: float = 1.0
    """weight of the content term"""
    style_weight: float = BY_OBJECTIVE
    """weight of the style term [default: 10; dimensionless, paper: 5]"""
    # The paper gives only a range, 1e-6 to 1e-4, for a sum over 0-255 pixels; ours is a mean on [0, 1].
    tv_weight: float = 1.0
    """weight of the total-variation term"""
    # Phases of the 4-pixel grid differ by about 2 gray levels untreated; at 100 that costs as much as a tenth
    # of the objective, and far less once it is gone.
    grid_weight: float = 100.0
    """weight of the checkerboard loss: the energy of patterns of period 2 or 4 in the results"""
    content_layers: tuple[str, ...] = BY_OBJECTIVE
    """content layers of the loss network [default: relu4_2; dimensionless, paper: relu2_2]"""
    style_layers: tuple[str, ...] = ()
    """style layers of the loss network [default: relu1_1 relu2_1 relu3_1 relu4_1 relu5_1; dimensionless,
    paper: relu1_2 relu2_2 relu3_3 relu4_3, with other loss networks relu3_2 relu4_2]"""

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise InputError(f"--objective must be one of {known}, got {self.objective!r}")
        for name in ("content_layers", "style_weight"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(self.preset, name))
        check_least(self, dict.fromkeys(("content_weight", "style_weight", "tv_weight", "grid_weight"), 0))
        if not (self.content_weight or self.style_weight or self.tv_weight):
            raise InputError("the content, style and tv weights are all 0; set at least one above 0")
        if not self.content_layers:
            raise InputError("--content-layers needs at least one layer, such as relu4_2")

    @property
    def preset(self) -> ObjectivePreset:
        """What the objective says where nothing else is given."""
        return OBJECTIVES[self.objective]

    def style_layers_for(self, arch: str) -> tuple[str, ...]:
        """The style layers, or those of the objective for that loss network."""
        return self.style_layers or self.preset.style_layers[arch]

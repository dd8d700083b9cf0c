"""The options of the optimizer, and published presets with the source of each number beside it.

Torch is not imported.
A preset is a whole `GatysConfig`; ``dataclasses.replace(GATYS_PRESETS["wang"], size=256)`` changes one field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fast_nst.config import LossConfig, LossNetwork
from fast_nst.config.checks import check_least, check_positive
from fast_nst.errors import InputError

__all__ = ["GATYS_PRESETS", "GatysConfig", "Start", "start_named"]

GatysPreset = Literal[
    "default",
    "gatys2016",
    "johnson2016-baseline",
    "wang",
    "wang-candidate-1",
    "wang-candidate-2",
    "gokalp-kim",
    "sharma",
    "vgg19-adam",
]
# "photo" and "painting" are older names of "content" and "style".
Start = Literal["noise", "content", "style", "photo", "painting"]
_START_ALIASES: dict[str, Start] = {"photo": "content", "painting": "style"}
_FIRST_OF_BLOCKS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
_FEED_FORWARD = LossConfig(objective="dimensionless")


def start_named(start: Start) -> Start:
    """The standard name of a start: photo is content, painting is style."""
    return _START_ALIASES.get(start, start)


@dataclass(frozen=True)
class GatysConfig:
    """Stylize a content image by minimizing an objective over its pixels (Gatys, Ecker and Bethge 2016)."""

    preset: GatysPreset = "default"
    """whole settings, published ones among them; flags change single fields"""
    objective: Literal["gatys", "bold", "dimensionless", "paper"] = "bold"
    """Gatys' sums over activations, or those of training: relative errors (bold, dimensionless) or
    the paper's sums"""
    # The weights of a trained style, with a deeper content layer: pixels can keep more of the content at an
    # equal style distance than a network can.
    content_weight: float = 1.0
    """weight of the content term (α)"""
    style_weight: float = 5.0
    """weight of the style term (β)"""
    tv_weight: float = 1.0
    """weight of the total-variation term"""
    grid_weight: float = 0.0
    """weight of the energy of a grid of period 2 or 4; of the training objectives alone"""
    content_layers: tuple[str, ...] = ("relu4_2",)
    """layers compared for content"""
    content_layer_weights: tuple[float, ...] = ()
    """weight of each, Gatys' objective alone [default: equal shares of 1]"""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """layers compared for style"""
    style_layer_weights: tuple[float, ...] = ()
    """weight of each, Gatys' objective alone [default: equal shares of 1]"""
    scaling: Literal["sums", "means"] = "sums"
    """Gatys' ½Σ(F−P)² and Σ(G−A)²/4N²M², or means over activations and over Gram entries per position"""
    content_factor: float = 0.5
    """factor before the sum of squares of the content term"""

    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """limited-memory BFGS or Adam"""
    steps: int = 200
    """iterations at each scale; one is one evaluation of the objective with its gradient"""
    minutes: float | None = None
    """stop after this many minutes, even before --steps"""
    bounds: Literal["projected", "free"] = "projected"
    """put every pixel back into [0, 1] at every iteration, or clip the result alone"""
    # On 64 x 64 cases 20 pairs end 1 to 5 % lower than 10 after 100 iterations; each costs two pictures.
    history: int = 20
    """steps that L-BFGS remembers"""
    restart_every: int | None = None
    """iterations after which L-BFGS forgets them, as an outer loop around it would [default: never]"""
    learning_rate: float = 0.02
    """Adam's, in the unit of --pixels"""
    beta1: float = 0.9
    """Adam's decay of the mean gradient"""
    epsilon: float = 1e-8
    """added to the root of Adam's mean squared gradient, in the unit of --pixels"""
    pixels: Literal["unit", "levels"] = "unit"
    """scale of pixels for learning rate, epsilon and Gatys' total variation: 0 to 1, or 8-bit levels"""
    start: Start = "content"
    """image to start from: white noise, the content image or the style image (photo, painting: aliases)"""
    seed: int = 0
    """seed of the noise"""

    size: int | None = 512
    """longer side of the result, pixels"""
    scales: int = 1
    """coarse to fine: how many sizes, each twice the one before, end at --size"""
    style_size: Annotated[Literal["content", "own"], tyro.conf.arg(aliases=("--painting-size",))] = "content"
    """scale the style image to the content image's longer side, or keep its own size"""
    median: bool = False
    """apply a 3 x 3 median filter to the result that is written, never to the one that is optimized"""

    loss_network: LossNetwork = "vgg19"
    """the frozen network whose features are compared"""
    vgg_weights: Path | None = None
    """its weights, .safetensors or .pth [default: downloaded once]"""
    vgg_release: Literal["IMAGENET1K_V1", "IMAGENET1K_FEATURES"] = "IMAGENET1K_V1"
    """torchvision's weights or the original Caffe ones (their normalization differs)"""
    pooling: Literal["max", "average"] = "max"
    """max as the network was trained, average as Gatys et al. prefer"""
    activations: Literal["as-is", "normalized", "normalised"] = "as-is"
    """normalized: scale every channel to a mean activation of 1 over a set of images (Gatys et al.)"""
    activation_images: Annotated[Path | None, tyro.conf.arg(aliases=("--activation-photos",))] = None
    """folder of images to measure those means over [default: the content image and the style image]"""
    device: str = "auto"
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """precision of the convolutions; auto is bf16 on GPUs that have it, and on processors where it is faster
    as measured; else fp32"""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; auto takes it on processors with a compiler where the run is long enough to pay"""
    report_every: int = 10
    """iterations between reports"""

    def __post_init__(self) -> None:
        for name in ("vgg_weights", "activation_images"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        object.__setattr__(self, "start", start_named(self.start))
        if self.activations == "normalised":
            object.__setattr__(self, "activations", "normalized")
        least: dict[str, float] = dict.fromkeys(("steps", "history", "scales", "report_every"), 1)
        least |= dict.fromkeys(("content_weight", "style_weight", "tv_weight", "grid_weight", "seed"), 0)
        least |= {"size": 16, "restart_every": 1}
        check_least(self, least)
        check_positive(self, ("learning_rate", "epsilon", "content_factor", "minutes"))
        if not 0 <= self.beta1 < 1:
            raise InputError(f"--beta1 must be at least 0 and below 1, got {self.beta1}")
        if not (self.content_weight or self.style_weight or self.tv_weight):
            raise InputError("the content, style and tv weights are all 0: there is nothing to optimize")
        self._check_layers()

    def _check_layers(self) -> None:
        for kind in ("content", "style"):
            layers, weights = getattr(self, f"{kind}_layers"), getattr(self, f"{kind}_layer_weights")
            if weights and len(weights) != len(layers):
                raise InputError(
                    f"--{kind}-layer-weights has {len(weights)} numbers for {len(layers)} layers: one each"
                )
            if any(not 0 <= weight < float("inf") for weight in weights):
                raise InputError(f"--{kind}-layer-weights must be finite and at least 0, got {weights}")
            if not layers and getattr(self, f"{kind}_weight") and not (kind == "style" and not self.is_gatys):
                raise InputError(f"--{kind}-layers needs at least one layer, or give --{kind}-weight 0")
        if not self.is_gatys and (self.content_layer_weights or self.style_layer_weights):
            raise InputError(
                f"--objective {self.objective} takes no weights of layers; --objective gatys does"
            )
        if self.is_gatys and self.grid_weight:
            raise InputError("--objective gatys has no grid term; give --grid-weight 0")

    @property
    def is_gatys(self) -> bool:
        """Whether the objective is Gatys' own; the others are training objectives."""
        return self.objective == "gatys"

    @property
    def loss(self) -> LossConfig:
        """The training objective with these layers and weights.

        Raises:
            InputError: the objective is Gatys' own.
        """
        if self.objective == "gatys":
            raise InputError("--objective gatys is not a training objective")
        return LossConfig(
            objective=self.objective,
            content_weight=self.content_weight,
            style_weight=self.style_weight,
            tv_weight=self.tv_weight,
            grid_weight=self.grid_weight,
            content_layers=self.content_layers,
            style_layers=self.style_layers,
        )


# Of Gatys et al. 2016, section 2 and figure 3, whose numbers belong to a VGG-19 with mean activations of 1.
_GATYS = GatysConfig(
    preset="gatys2016",
    objective="gatys",
    content_weight=1e-3,  # α/β = 1e-3, figure 3 B
    style_weight=1.0,
    tv_weight=0.0,
    content_layers=("conv4_2",),
    style_layers=_FIRST_OF_BLOCKS,  # w_l = 1/5 each
    steps=500,
    bounds="free",
    start="noise",
    pooling="average",
    activations="normalized",
)
# What several authors below share: Gatys' losses on a plain VGG-19 of the Caffe kind, fed with levels of 0 to
# 255, whose mean activation at relu3_1 is about 100. Weights of a file with smaller activations turn these
# ratios of α and β by the square of the difference.
_PLAIN = replace(_GATYS, pooling="max", activations="as-is")
# Wang's analysis of the algorithm. Its weights and its Adam are those of a much copied Keras tutorial, and
# belong to that one's losses, which are means; it clips every iterate. The learning rate is one of levels.
_WANG = replace(
    _PLAIN,
    preset="wang",
    scaling="means",
    bounds="projected",
    content_weight=1e3,
    style_weight=1e-2,
    content_layers=("conv5_1",),
    optimizer="adam",
    learning_rate=5.0,
    beta1=0.99,
    epsilon=0.1,
    pixels="levels",
    steps=5000,
)
_WANG_CANDIDATE = replace(_WANG, start="content", steps=1000, content_layers=("conv5_4",))

GATYS_PRESETS: dict[str, GatysConfig] = {
    "default": GatysConfig(),
    "gatys2016": _GATYS,
    # Johnson et al. 2016, section 4.1: the objective of training, from noise, projected, 500 iterations.
    "johnson2016-baseline": GatysConfig(
        preset="johnson2016-baseline",
        objective=_FEED_FORWARD.objective,
        content_weight=_FEED_FORWARD.content_weight,
        style_weight=_FEED_FORWARD.style_weight,
        tv_weight=_FEED_FORWARD.tv_weight,
        grid_weight=_FEED_FORWARD.grid_weight,
        content_layers=_FEED_FORWARD.content_layers,
        style_layers=_FEED_FORWARD.style_layers,
        steps=500,
        start="noise",
    ),
    "wang": _WANG,
    "wang-candidate-1": replace(
        _WANG_CANDIDATE,
        preset="wang-candidate-1",
        style_layers=(
            *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2"),
            *("conv4_1", "conv4_2", "conv5_1", "conv5_2", "conv5_3", "conv5_4"),
        ),
    ),
    "wang-candidate-2": replace(
        _WANG_CANDIDATE,
        preset="wang-candidate-2",
        style_layers=("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_2", "conv4_4", "conv5_4"),
    ),
    # Gokalp and Kim: 20 calls of an L-BFGS of at most 20 evaluations. Their filter was fed back, and the
    # pictures brightened; here it is applied to the result only.
    "gokalp-kim": replace(
        _PLAIN,
        preset="gokalp-kim",
        content_weight=1.0,
        style_weight=0.025,
        steps=400,
        restart_every=20,
        start="content",
        median=True,
    ),
    # Sharma: style layers at 1/|L|, content without the ½, started from the content image; the rest is not
    # published and taken from gatys2016.
    "sharma": replace(_GATYS, preset="sharma", content_factor=1.0, start="content"),
    # A common Adam variant: learning rate 0.01 on pixels of 0 to 1, weights that belong to means, a line with
    # the losses every 50 steps.
    "vgg19-adam": replace(
        _PLAIN,
        preset="vgg19-adam",
        scaling="means",
        content_weight=0.1,
        style_weight=0.01,
        optimizer="adam",
        learning_rate=0.01,
        beta1=0.99,
        epsilon=0.1,
        steps=1000,
        bounds="projected",
        start="content",
        report_every=50,
    ),
}

"""Settings that all training runs have, for styles and for super-resolution."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fast_nst.config.checks import check_least, check_positive
from fast_nst.config.loss import LossNetwork
from fast_nst.config.network import GalleryNetConfig, NetworkConfig, UpscaleNetConfig
from fast_nst.config.recipe import EXTERNAL, FREE, LOCAL, SOURCE
from fast_nst.config.stylize import Precision
from fast_nst.errors import InputError
from fast_nst.io.limits import MAX_PIXELS

__all__ = ["AUTO", "NONE", "RunConfig", "TaskName"]

AUTO, NONE = Path("auto"), Path("none")  # of --warm-start: chosen when training begins, and random weights

TaskName = Literal["style", "gallery", "super-resolution"]


@dataclass(frozen=True)
class RunConfig:
    """The settings of a training run that do not depend on what it learns."""

    dataset: str = field(metadata=EXTERNAL)
    """content images to train on: a folder (sub-folders too), a .zip read in place, or the word coco"""
    out: Path | None = field(default=None, metadata=LOCAL)
    """checkpoint to write [default: NAME.safetensors, after the style image or the task]"""
    run: Path | None = field(default=None, metadata=LOCAL)
    """folder for training state, logs and previews [default: runs/NAME]"""
    resume: bool | Literal["must"] = field(default=False, metadata=LOCAL)
    """resume from the last saved state of the run folder and start over if there is none; must: fail then"""
    overwrite: bool = field(default=False, metadata=LOCAL)
    """replace an existing checkpoint and start over in the run folder"""

    steps: int = field(default=40_000, metadata=FREE)
    """optimizer steps"""
    minutes: float | None = field(default=None, metadata=FREE)
    """stop after this many minutes, even before --steps; the learning rate decays to fit"""
    batch_size: int = 4
    """content images in a step"""
    image_size: int = 256
    """side of the square training crops, pixels"""
    # A step on crops of 128 costs a quarter of one on 256, and teaches nearly all of a style; but what is
    # trained on small crops alone is off on large images, so the last steps take the full size.
    start_size: int | None = None
    """side of the crops of a first, faster stage, pixels [default: no such stage]"""
    start_steps: int | None = None
    """steps of that first stage [default: as --start-share says]"""
    start_share: float = 0.6
    """with --start-size: share of --minutes, or else of --steps, that the first stage takes"""
    photo_size: int | None = None
    """shorter side to which content images are reduced before cropping [default: 9/8 of --image-size, and
    for super-resolution 512]"""
    max_images: int | None = None
    """use at most this many images of the dataset"""
    max_bad: float = 0.01
    """stop when more than this share of the images cannot be read"""
    validation: Path | None = field(default=None, metadata=SOURCE)
    """validation set: a folder or zip of images [default: a part of the dataset, which is not trained on]"""
    validation_images: int = 32
    """size of the validation set, at most a tenth of the dataset where it is taken from it"""
    download: bool = field(default=False, metadata=LOCAL)
    """with --dataset coco: download it if it is not there (19 GB)"""

    warm_start: Path | None = field(default=None, metadata=SOURCE)
    """initialize the weights from another checkpoint of this network, a file or a bundled name: far fewer
    steps"""

    loss_network: LossNetwork = "vgg16"
    """the frozen network whose features are compared"""
    vgg_weights: Path | None = field(default=None, metadata=EXTERNAL)
    """its weights, .safetensors or .pth [default: downloaded once]"""
    vgg_release: Literal["IMAGENET1K_V1", "IMAGENET1K_FEATURES"] = "IMAGENET1K_V1"
    """torchvision's weights or the original Caffe ones (their normalization differs)"""

    learning_rate: float = 1e-3
    """Adam's peak learning rate"""
    warmup: int = 50
    """steps over which the learning rate rises to its peak"""
    # The paper keeps the rate constant; a cosine to zero ends at a lower loss for the same number of steps.
    decay: Literal["cosine", "constant"] = "cosine"
    """learning rate schedule after the warm-up"""

    # With a rate that falls to zero the last weights are the better ones: 1.873 against 1.898 with 0.05, on
    # the validation set after 1,780 steps (benchmarks/equal_time.py).
    averaging: float = 0.0
    """the checkpoint holds the weights averaged over this share of the steps taken; 0: the last ones"""

    save_every: int = field(default=500, metadata=FREE)
    """steps between saved training states"""
    report_every: int = field(default=10, metadata=FREE)
    """steps between reports; reading a loss waits for the device"""
    preview_every: int = field(default=500, metadata=FREE)
    """steps between previews, besides early ones"""
    validate_every: int = field(default=500, metadata=FREE)
    """steps between evaluations on the validation set"""
    seed: int = 0
    """of the weights, the order of the images and their crops"""
    device: str = field(default="auto", metadata=FREE)
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: Precision = field(default="auto", metadata=FREE)
    """precision of the convolutions; auto is the faster of fp32 and bf16: measured on processors; on
    GPUs bf16 where they have it"""
    compile: Literal["auto", "on", "off"] = field(default="auto", metadata=FREE)
    """torch.compile; auto uses it where a compiler exists, the run is long enough to pay for it and, on
    processors, compiled steps are faster as measured"""
    workers: int = field(default=2, metadata=LOCAL)
    """threads that read images"""
    max_pixels: int = field(default=MAX_PIXELS, metadata=FREE)
    """refuse a style image with more pixels than this before decoding it"""
    license: Annotated[str | None, tyro.conf.arg(aliases=("--licence",))] = field(
        default=None, metadata=LOCAL
    )
    """license to write into the checkpoint, such as MIT, if the style image is yours or free"""

    @property
    def network(self) -> NetworkConfig | UpscaleNetConfig | GalleryNetConfig:
        """The architecture that is trained."""
        raise NotImplementedError

    @property
    def multiple(self) -> int:
        """The side of a crop is a multiple of this."""
        return 4

    @property
    def name(self) -> str:
        """Name of the run's files, unless --out and --run are given."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        for name in ("out", "run", "warm_start", "vgg_weights", "validation"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        ones = ("steps", "batch_size", "save_every", "report_every", "preview_every", "validate_every")
        at_least = dict.fromkeys((*ones, "max_pixels", "max_images"), 1) | {"image_size": 32}
        at_least |= dict.fromkeys(("validation_images", "warmup", "workers", "seed"), 0)
        check_least(self, at_least)
        if self.seed >= 2**63:
            raise InputError(f"--seed must be below 2**63, got {self.seed}")
        if self.image_size % self.multiple:
            near = round(self.image_size / self.multiple) * self.multiple
            raise InputError(
                f"--image-size must be a multiple of {self.multiple}, got {self.image_size}; take {near}"
            )
        self._check_stages()
        check_positive(self, ("minutes",))
        if self.photo_size is not None and self.photo_size < self.image_size:
            sizes = f"--image-size {self.image_size}, got {self.photo_size}"
            raise InputError(f"--photo-size must be at least {sizes}: crops are cut from it")
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"--max-bad is a share from 0 to 1, got {self.max_bad}")
        if not 0 <= self.averaging <= 1:
            raise InputError(f"--averaging is a share from 0 to 1, got {self.averaging}")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"--learning-rate must lie between 0 and 1, got {self.learning_rate}")

    @property
    def first_stage_steps(self) -> int:
        """Steps of the first stage, at most; with ``minutes`` its share of the time may end it earlier."""
        if self.start_size is None:
            return 0
        if self.start_steps is not None:
            return self.start_steps
        return min(max(1, round(self.start_share * self.steps)), self.steps - 1)

    def _check_stages(self) -> None:
        if self.start_size is None:
            if self.start_steps is not None:
                raise InputError("--start-steps needs --start-size, the size of that stage's crops")
            return
        if self.start_steps is not None and self.minutes is not None:
            raise InputError("--start-steps cannot be used with --minutes; give --start-share instead")
        if self.steps < 2 or (self.start_steps is not None and not 0 < self.start_steps < self.steps):
            raise InputError(
                f"--start-steps must lie between 1 and --steps {self.steps}, got {self.first_stage_steps}"
            )
        if not 0 < self.start_share < 1:
            raise InputError(f"--start-share must lie between 0 and 1, got {self.start_share}")
        if self.start_size % self.multiple or not 32 <= self.start_size < self.image_size:
            limits = f"a multiple of {self.multiple}, at least 32 and below --image-size {self.image_size}"
            raise InputError(f"--start-size must be {limits}, got {self.start_size}")

"""What every training has in common, whatever is learnt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fast_nst.config.loss import LossNetwork
from fast_nst.config.network import NetworkConfig, UpscaleNetConfig, flag
from fast_nst.config.stylize import Precision
from fast_nst.errors import InputError

__all__ = ["RunConfig", "Task"]

Task = Literal["style", "super-resolution"]


@dataclass(frozen=True)
class RunConfig:
    """The settings of a run that do not depend on what it is to learn."""

    dataset: str
    """photographs: a folder (sub-folders too), a .zip read in place, or the word coco"""
    out: Path | None = None
    """the checkpoint to write [default: NAME.safetensors, of the painting or of what is learnt]"""
    run: Path | None = None
    """folder for state, logs and previews [default: runs/NAME]"""
    resume: bool = False
    """go on from the last saved state of the run folder"""
    overwrite: bool = False
    """replace an existing checkpoint and start the run folder afresh"""

    steps: int = 40_000
    """optimizer steps"""
    minutes: float | None = None
    """stop after this many minutes, even before --steps; the learning rate decays to fit"""
    batch_size: int = 4
    """photographs in a step"""
    image_size: int = 256
    """side of the square training crops, pixels"""
    # A step on crops of 128 costs a quarter of one on 256, and teaches nearly all of a style; but what is
    # trained on small crops alone is off on large pictures, so the last steps take the full size.
    start_size: int | None = None
    """side of the crops of a first, quicker stage, pixels [default: no such stage]"""
    start_steps: int | None = None
    """steps of that first stage"""
    photo_size: int | None = None
    """shorter side to which photographs are reduced before cropping [default: 9/8 of --image-size, and
    for super-resolution 512]"""
    max_images: int | None = None
    """use at most this many photographs of the dataset"""
    max_bad: float = 0.01
    """stop when more than this share of the photographs cannot be read"""
    validation: Path | None = None
    """folder or zip of photographs to measure progress with [default: some of the dataset are kept apart]"""
    validation_images: int = 32
    """how many photographs to measure with, at most a tenth of the dataset where they are taken from it"""
    download: bool = False
    """with --dataset coco: download it when it is not there (19 GB)"""

    warm_start: Path | None = None
    """start from what another run of this network has learnt, a file or a bundled name: far fewer steps"""

    loss_network: LossNetwork = "vgg16"
    """the frozen network whose features are compared"""
    vgg_weights: Path | None = None
    """its weights, .safetensors or .pth [default: downloaded once]"""
    vgg_release: Literal["IMAGENET1K_V1", "IMAGENET1K_FEATURES"] = "IMAGENET1K_V1"
    """torchvision's weights or the original Caffe ones (their normalization differs)"""

    learning_rate: float = 1e-3
    """Adam's peak learning rate"""
    warmup: int = 50
    """steps over which the learning rate rises to its peak"""
    # The paper keeps the rate constant; a cosine to zero ends at a lower loss for the same number of steps.
    decay: Literal["cosine", "constant"] = "cosine"
    """how the learning rate falls to the end of the run"""

    # With a rate that falls to zero the last weights are the better ones: 1.873 against 1.898 with 0.05, on
    # photographs kept apart after 1,780 steps (benchmarks/equal_time.py).
    averaging: float = 0.0
    """the checkpoint holds the weights averaged over this share of the steps taken; 0: the last ones"""

    save_every: int = 500
    """steps between saved states"""
    report_every: int = 10
    """steps between reports; reading a loss waits for the device"""
    preview_every: int = 500
    """steps between previews, besides early ones"""
    validate_every: int = 500
    """steps between measurements of the objective on the photographs kept apart"""
    seed: int = 0
    """of the weights, the order of the photographs and their crops"""
    device: str = "auto"
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: Precision = "auto"
    """arithmetic of the convolutions; auto takes bf16 where the device has units for it"""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; auto takes it where a compiler exists and the run is long enough to pay for it"""
    workers: int = 2
    """threads that read photographs"""
    max_pixels: int = 110_000_000
    """refuse a painting or photograph with more pixels than this before decoding it"""
    licence: str | None = None
    """written into the checkpoint, such as MIT; yours to choose if the painting is yours or free"""

    @property
    def network(self) -> NetworkConfig | UpscaleNetConfig:
        """What is trained."""
        raise NotImplementedError

    @property
    def multiple(self) -> int:
        """What the side of a crop must be a multiple of."""
        return 4

    @property
    def name(self) -> str:
        """What its files are called where nothing else is said."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        for name in ("out", "run", "warm_start", "vgg_weights", "validation"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        at_least = {"steps": 1, "batch_size": 1, "image_size": 32, "save_every": 1}
        at_least |= {
            "report_every": 1,
            "preview_every": 1,
            "validate_every": 1,
            "validation_images": 0,
            "warmup": 0,
            "workers": 0,
            "seed": 0,
            "max_pixels": 1,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InputError(f"{flag(name)} must be at least {least}, got {getattr(self, name)}")
        if self.seed >= 2**63:
            raise InputError(f"--seed must be below 2**63, got {self.seed}")
        if self.image_size % self.multiple:
            near = round(self.image_size / self.multiple) * self.multiple
            raise InputError(
                f"--image-size must be a multiple of {self.multiple}, got {self.image_size}; take {near}"
            )
        self._check_stages()
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"--minutes must be above 0, got {self.minutes}")
        if self.max_images is not None and self.max_images < 1:
            raise InputError(f"--max-images must be at least 1, got {self.max_images}")
        if self.photo_size is not None and self.photo_size < self.image_size:
            sizes = f"--image-size {self.image_size}, got {self.photo_size}"
            raise InputError(f"--photo-size must be at least {sizes}: crops are cut from it")
        if not 0 <= self.max_bad <= 1:
            raise InputError(f"--max-bad is a share from 0 to 1, got {self.max_bad}")
        if not 0 <= self.averaging <= 1:
            raise InputError(f"--averaging is a share from 0 to 1, got {self.averaging}")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"--learning-rate must lie between 0 and 1, got {self.learning_rate}")

    def _check_stages(self) -> None:
        if (self.start_size is None) != (self.start_steps is None):
            raise InputError("--start-size and --start-steps make one stage: give both or neither")
        if self.start_steps is None or self.start_size is None:
            return
        if self.minutes is not None:
            raise InputError("--minutes and --start-steps exclude each other: a stage has its own end")
        if not 0 < self.start_steps < self.steps:
            raise InputError(
                f"--start-steps must lie between 1 and --steps {self.steps}, got {self.start_steps}"
            )
        if self.start_size % self.multiple or not 32 <= self.start_size < self.image_size:
            limits = f"a multiple of {self.multiple}, at least 32 and below --image-size {self.image_size}"
            raise InputError(f"--start-size must be {limits}, got {self.start_size}")

"""Real-time style transfer: train a network from one style image, stylize any content image in one pass.

    import fast_nst as nst

    stylize = nst.Stylizer.load("starry-night")
    nst.save_image("out.png", stylize(nst.load_image("photo.jpg")))

Names are imported when they are first used, so that ``import fast_nst`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fast_nst.system.lazy import names_of

if TYPE_CHECKING:
    from fast_nst.baseline.image_optimizer import PictureOptimizer, optimize_image
    from fast_nst.config import LossConfig, NetworkConfig, TrainConfig, UpscaleTrainConfig
    from fast_nst.config.optimize import GATYS_PRESETS, GatysConfig
    from fast_nst.errors import InputError
    from fast_nst.inference.controls import Controls
    from fast_nst.inference.styles import bundled_styles
    from fast_nst.inference.stylizer import Stylizer
    from fast_nst.inference.upscaler import Upscaler
    from fast_nst.io.images import Picture, from_uint8, load_image, save_image, to_uint8
    from fast_nst.models.checkpoint import CheckpointError, load_checkpoint
    from fast_nst.models.gram import gram_matrix
    from fast_nst.models.losses import PerceptualLoss
    from fast_nst.models.transform_net import TransformNet
    from fast_nst.models.upscale_net import UpscaleNet
    from fast_nst.models.vgg import VGGFeatures, load_vgg
    from fast_nst.training.trainer import Trainer

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "models.checkpoint",
    "Controls": "inference.controls",
    "GATYS_PRESETS": "config.optimize",
    "GatysConfig": "config.optimize",
    "InputError": "errors",
    "LossConfig": "config",
    "NetworkConfig": "config",
    "PerceptualLoss": "models.losses",
    "Picture": "io.images",
    "PictureOptimizer": "baseline.image_optimizer",
    "Stylizer": "inference.stylizer",
    "TrainConfig": "config",
    "Trainer": "training.trainer",
    "TransformNet": "models.transform_net",
    "UpscaleNet": "models.upscale_net",
    "UpscaleTrainConfig": "config",
    "Upscaler": "inference.upscaler",
    "VGGFeatures": "models.vgg",
    "bundled_styles": "inference.styles",
    "from_uint8": "io.images",
    "gram_matrix": "models.gram",
    "load_checkpoint": "models.checkpoint",
    "load_image": "io.images",
    "load_vgg": "models.vgg",
    "optimize_image": "baseline.image_optimizer",
    "save_image": "io.images",
    "to_uint8": "io.images",
}
__getattr__, __dir__ = names_of(__name__, _HOMES)
__all__ = [
    "GATYS_PRESETS",
    "CheckpointError",
    "Controls",
    "GatysConfig",
    "InputError",
    "LossConfig",
    "NetworkConfig",
    "PerceptualLoss",
    "Picture",
    "PictureOptimizer",
    "Stylizer",
    "TrainConfig",
    "Trainer",
    "TransformNet",
    "UpscaleNet",
    "UpscaleTrainConfig",
    "Upscaler",
    "VGGFeatures",
    "bundled_styles",
    "from_uint8",
    "gram_matrix",
    "load_checkpoint",
    "load_image",
    "load_vgg",
    "optimize_image",
    "save_image",
    "to_uint8",
]

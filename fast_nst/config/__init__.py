"""Every tunable, as frozen dataclasses: its help text, its unit and where the number comes from.

One tree gives the command line's flags, the TOML file of a run, the Python API and the checkpoint's metadata.
The text under a field is its help. Nothing here imports torch, so ``--help`` is quick.
"""

from fast_nst.config.gallery import AddStyleConfig, GalleryTrainConfig
from fast_nst.config.loss import OBJECTIVES, STYLE_LAYERS, LossConfig, LossNetwork, ObjectiveName
from fast_nst.config.network import (
    PRESETS,
    UPSCALE_PRESETS,
    GalleryNetConfig,
    NetworkConfig,
    Preset,
    StylePredictorConfig,
    UpscaleNetConfig,
)
from fast_nst.config.run import AUTO, NONE, RunConfig, TaskName
from fast_nst.config.stylize import (
    Backend,
    ExportConfig,
    ExportPageConfig,
    InferenceConfig,
    Precision,
    StylizeConfig,
)
from fast_nst.config.train import TrainConfig
from fast_nst.config.upscale import (
    EvaluateConfig,
    ReconstructionConfig,
    UpscaleConfig,
    UpscaleLoss,
    UpscaleTrainConfig,
)
from fast_nst.config.video import CameraConfig, VideoConfig

TaskConfig = TrainConfig | GalleryTrainConfig | UpscaleTrainConfig

__all__ = [
    "AUTO",
    "NONE",
    "OBJECTIVES",
    "PRESETS",
    "STYLE_LAYERS",
    "UPSCALE_PRESETS",
    "AddStyleConfig",
    "Backend",
    "CameraConfig",
    "EvaluateConfig",
    "ExportConfig",
    "ExportPageConfig",
    "GalleryNetConfig",
    "GalleryTrainConfig",
    "InferenceConfig",
    "LossConfig",
    "LossNetwork",
    "NetworkConfig",
    "ObjectiveName",
    "Precision",
    "Preset",
    "ReconstructionConfig",
    "RunConfig",
    "StylePredictorConfig",
    "StylizeConfig",
    "TaskConfig",
    "TaskName",
    "TrainConfig",
    "UpscaleConfig",
    "UpscaleLoss",
    "UpscaleNetConfig",
    "UpscaleTrainConfig",
    "VideoConfig",
]

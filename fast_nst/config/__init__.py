"""Every tunable, as frozen dataclasses: its help text, its unit and where the number comes from.

One tree gives the command line's flags, the TOML file of a run, the Python API and the checkpoint's metadata.
The text under a field is its help. Nothing here imports torch, and names are imported when they are first
used: stylizing a picture needs none of what training is configured with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fast_nst.system.lazy import names_of

if TYPE_CHECKING:
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
    from fast_nst.config.task import TaskConfig
    from fast_nst.config.train import TrainConfig
    from fast_nst.config.upscale import (
        EvaluateConfig,
        ReconstructionConfig,
        UpscaleConfig,
        UpscaleLoss,
        UpscaleTrainConfig,
    )
    from fast_nst.config.video import CameraConfig, VideoConfig

_HOMES = {
    "AUTO": "run",
    "AddStyleConfig": "gallery",
    "Backend": "stylize",
    "CameraConfig": "video",
    "EvaluateConfig": "upscale",
    "ExportConfig": "stylize",
    "ExportPageConfig": "stylize",
    "GalleryNetConfig": "network",
    "GalleryTrainConfig": "gallery",
    "InferenceConfig": "stylize",
    "LossConfig": "loss",
    "LossNetwork": "loss",
    "NONE": "run",
    "NetworkConfig": "network",
    "OBJECTIVES": "loss",
    "ObjectiveName": "loss",
    "PRESETS": "network",
    "Precision": "stylize",
    "Preset": "network",
    "ReconstructionConfig": "upscale",
    "RunConfig": "run",
    "STYLE_LAYERS": "loss",
    "StylePredictorConfig": "network",
    "StylizeConfig": "stylize",
    "TaskConfig": "task",
    "TaskName": "run",
    "TrainConfig": "train",
    "UPSCALE_PRESETS": "network",
    "UpscaleConfig": "upscale",
    "UpscaleLoss": "upscale",
    "UpscaleNetConfig": "network",
    "UpscaleTrainConfig": "upscale",
    "VideoConfig": "video",
}
__getattr__, __dir__ = names_of(__name__, _HOMES)

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

"""What can be trained: the configs of all tasks."""

from fast_nst.config.gallery import GalleryTrainConfig
from fast_nst.config.train import TrainConfig
from fast_nst.config.upscale import UpscaleTrainConfig

__all__ = ["TaskConfig"]

TaskConfig = TrainConfig | GalleryTrainConfig | UpscaleTrainConfig

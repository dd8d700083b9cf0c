"""Every tunable of videos and of the camera, as frozen dataclasses; `StylizeConfig` holds one of each.

The text under a field is its help. Nothing here imports torch, so ``--help`` is fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from fast_nst.config.checks import check_least
from fast_nst.errors import InputError

__all__ = ["CameraConfig", "VideoConfig"]

VideoCodec = Literal["auto", "h264", "h265", "vp9", "av1", "prores", "ffv1"]


@dataclass(frozen=True)
class VideoConfig:
    """Options of videos and animations beyond those of pictures."""

    codec: VideoCodec = "auto"
    """of videos; auto is h264, in .webm vp9, and what keeps alpha where a video has it"""
    start: float = 0.0
    """where in a video to begin, seconds"""
    duration: float = 0.0
    """how much of a video or of the camera to stylize, seconds; 0 is all of it"""
    temporal_smoothing: Annotated[bool, tyro.conf.arg(aliases=("--steady",))] = False
    """less flicker: blend each result with the previous one, warped by optical flow"""
    # Flicker of independent noise falls to (1 - s)^2 / (1 + s): a sixth at 0.5. Fine brush strokes, whose
    # place differs from frame to frame, fade as it grows; see benchmarks/video.py.
    smoothing_strength: Annotated[float, tyro.conf.arg(aliases=("--steadiness",))] = 0.5
    """with --temporal-smoothing: weight of the previous result where the flow is reliable, 0 to below 1"""

    def check(self) -> None:
        """Refuse values out of range; called by the config that holds this one."""
        if not 0 <= self.start < float("inf"):
            raise InputError(f"--start must be a time of at least 0 seconds, got {self.start}")
        if not 0 <= self.duration < float("inf"):
            raise InputError(f"--duration must be a time of at least 0 seconds, got {self.duration}")
        if not 0 <= self.smoothing_strength < 1:
            raise InputError(f"--smoothing-strength goes from 0 to below 1, got {self.smoothing_strength}")


@dataclass(frozen=True)
class CameraConfig:
    """Options of the camera."""

    live: bool = False
    """treat a video or stream as a camera: real time, late frames are dropped"""
    window: bool = True
    """show a window; without it, give --out FILE to record"""
    mirror: bool = False
    """flip left and right, as in a mirror"""
    virtual_camera: bool = False
    """output to a virtual camera for other programs (needs the package pyvirtualcam)"""
    # A camera that is unplugged may block, fail, or repeat its last picture for ever (OpenCV issues 4468,
    # 5221, 5746, 6107, 14044). Sensors are noisy: two equal pictures in a row are rare, for seconds none are.
    patience: float = 3.0
    """seconds without a new frame after which the camera counts as disconnected"""
    tries: int = 5
    """attempts to reopen a disconnected camera"""

    def check(self) -> None:
        """Refuse values out of range."""
        if not 0 < self.patience < float("inf"):
            raise InputError(f"--patience must be a time above 0 seconds, got {self.patience}")
        check_least(self, {"tries": 0})

"""Every tunable of videos and of the camera, as frozen dataclasses; `StylizeConfig` holds one of each.

The text under a field is its help. Nothing here imports torch, so ``--help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fast_nst.errors import InputError

__all__ = ["CameraConfig", "VideoConfig"]

VideoCodec = Literal["auto", "h264", "h265", "vp9", "av1", "prores", "ffv1"]


@dataclass(frozen=True)
class VideoConfig:
    """What is asked of videos, and of animations, beyond what is asked of pictures."""

    codec: VideoCodec = "auto"
    """of videos; auto is h264, in .webm vp9, and what keeps alpha where a video has it"""
    start: float = 0.0
    """where in a video to begin, seconds"""
    duration: float = 0.0
    """how much of a video or of the camera to stylize, seconds; 0 is all of it"""
    steady: bool = False
    """less flicker: blend with the previous result, moved along with what moves in the video"""
    # Flicker of independent noise falls to (1 - s)^2 / (1 + s): a sixth at 0.5. Fine brush strokes, which the
    # network paints elsewhere in every frame, fade as it grows; see benchmarks/video.py.
    steadiness: float = 0.5
    """with --steady: share of the previous result, from 0 to below 1, where the motion is certain"""

    def check(self) -> None:
        """Refuse values out of range; called by the config that holds this one, whose errors are one line."""
        if not 0 <= self.start < float("inf"):
            raise InputError(f"--start must be a time of at least 0 seconds, got {self.start}")
        if not 0 <= self.duration < float("inf"):
            raise InputError(f"--duration must be a time of at least 0 seconds, got {self.duration}")
        if not 0 <= self.steadiness < 1:
            raise InputError(f"--steadiness goes from 0 to below 1, got {self.steadiness}")


@dataclass(frozen=True)
class CameraConfig:
    """What is asked of the camera."""

    live: bool = False
    """treat a video or stream as a camera: shown as it comes, late pictures left out"""
    window: bool = True
    """show a window; without it, --out FILE records"""
    mirror: bool = False
    """swap left and right, as people expect to see themselves"""
    virtual_camera: bool = False
    """offer the result as a camera to other programs (needs the package pyvirtualcam)"""
    # A camera that is unplugged may block, fail, or repeat its last picture for ever (OpenCV issues 4468,
    # 5221, 5746, 6107, 14044). Sensors are noisy: two equal pictures in a row are rare, for seconds none are.
    patience: float = 3.0
    """seconds without a new picture after which the camera counts as gone"""
    tries: int = 5
    """times to open a camera again that has gone"""

    def check(self) -> None:
        """Refuse values out of range."""
        if not 0 < self.patience < float("inf"):
            raise InputError(f"--patience must be a time above 0 seconds, got {self.patience}")
        if self.tries < 0:
            raise InputError(f"--tries must be at least 0, got {self.tries}")

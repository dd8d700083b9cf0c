"""Animated GIF and WebP files, read picture by picture: a video's frames from a picture's file.

FFmpeg reads no animated WebP, and Pillow composes both kinds as they are shown: each frame laid over what the
one before it left. One frame is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fast_nst.errors import FileError
from fast_nst.io.color import to_levels
from fast_nst.io.gif import extent
from fast_nst.io.image_files import ImageReadError, check_size, opened, pillow_settings, read_reason
from fast_nst.io.pixels import MAX_PIXELS, Picture
from fast_nst.io.transparency import fill_hidden

__all__ = ["ANIMATIONS", "Animation", "AnimationFrame", "is_animation", "read_animation"]

ANIMATIONS = frozenset((".gif", ".webp"))
_FORMATS = ("GIF", "WEBP")
# What browsers make of frames that are to be shown for no time, or for a hundredth of a second.
_USUAL_MS = 100


@dataclass(frozen=True)
class Animation:
    """What is known of an animation before its frames are decoded."""

    width: int
    height: int
    frames: int
    loops: int
    """how often it is played, 0 is for ever"""
    alpha: bool
    """whether some frame has transparent pixels, as far as the header says"""


@dataclass(frozen=True)
class AnimationFrame:
    """A frame as it is shown, and when."""

    picture: Picture
    time: int
    """milliseconds from the beginning"""
    duration: int
    """milliseconds"""


def is_animation(path: str | Path) -> bool:
    """Whether a file is an animated GIF or WebP of several frames; False for whatever cannot be read."""
    if Path(path).suffix.lower() not in ANIMATIONS:
        return False
    try:
        with pillow_settings, opened(path) as stream, Image.open(stream, formats=_FORMATS) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # damaged in one of a dozen ways: reading it as a picture will say how
        return False


def read_animation(
    path: str | Path, *, max_pixels: int = MAX_PIXELS
) -> tuple[Animation, Generator[AnimationFrame]]:
    """What an animation is, and its frames, decoded as they are asked for.

    Raises:
        ImageReadError: it cannot be read; also while its frames are decoded.
    """
    try:
        with pillow_settings, opened(path) as stream, Image.open(stream, formats=_FORMATS) as image:
            check_size(path, image.size, max_pixels)
            if image.format == "GIF":  # its frames may lie outside the screen
                with opened(path) as blocks:
                    check_size(path, extent(blocks), max_pixels)
            frames, loops = getattr(image, "n_frames", 1), image.info.get("loop", 1)
            alpha = image.has_transparency_data or image.format == "GIF"
            animation = Animation(*image.size, frames, int(loops), alpha)
    except FileError:
        raise
    except Exception as error:  # fuzzed files make Pillow raise a dozen different types
        raise ImageReadError(path, read_reason(error, b"")) from error
    return animation, _frames(path, animation)


def _frames(path: str | Path, animation: Animation) -> Generator[AnimationFrame]:
    time = 0
    try:
        with opened(path) as stream, Image.open(stream, formats=_FORMATS) as image:
            for number in range(animation.frames):
                with pillow_settings:
                    image.seek(number)
                    image.load()
                    duration = round(image.info.get("duration") or _USUAL_MS)
                    # A copy: what follows turns and splits the image, which Pillow goes on composing upon.
                    rgb, alpha = to_levels(image.copy(), path)
                    picture = Picture(fill_hidden(rgb, alpha), alpha)
                yield AnimationFrame(picture, time, duration)
                time += duration
    except FileError:
        raise
    except EOFError:  # fewer frames than the header says: what is there has been shown
        if time == 0:
            raise ImageReadError(path, "the file ends early (truncated)") from None
    except Exception as error:
        raise ImageReadError(path, read_reason(error, b"")) from error

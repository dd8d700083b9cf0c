"""What is carried from an input to its result: artist, copyright and resolution, and nothing else."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image

from fast_nst.io.pixels import Metadata

__all__ = ["of_image", "to_exif", "to_tags"]

_LONGEST = 1000  # characters
_INCH = 2  # as a resolution's unit; 3 is the centimeter


def of_image(image: Image.Image) -> Metadata:
    """The metadata of an image that Pillow has opened; what is damaged counts as absent."""
    try:
        exif = image.getexif()
        artist, copyright = (_text(exif.get(tag)) for tag in (ExifTags.Base.Artist, ExifTags.Base.Copyright))
        return Metadata(artist, copyright, _dpi(image, exif))
    except MemoryError:
        raise
    except Exception:  # fuzzed files make Pillow raise a dozen different types
        return Metadata()


def _text(value: object) -> str | None:
    """Pillow reads Latin-1, most programs write UTF-8; copyrights may be two strings with a NUL between."""
    if not isinstance(value, str):
        return None
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode()
    parts = ("".join(c for c in part if c.isprintable()).strip() for part in value.split("\0"))
    return "; ".join(part for part in parts if part)[:_LONGEST] or None


def _dpi(image: Image.Image, exif: Image.Exif) -> tuple[float, float] | None:
    found: Any = image.info.get("dpi")
    if found is None and ExifTags.Base.XResolution in exif:
        scale = 2.54 if exif.get(ExifTags.Base.ResolutionUnit) == 3 else 1
        x = exif[ExifTags.Base.XResolution]
        found = (scale * x, scale * exif.get(ExifTags.Base.YResolution, x))
    if found is None:
        return None
    across, down = map(float, found)
    usable = all(math.isfinite(value) and 1 < value < 100_000 for value in (across, down))  # 1 is "unknown"
    return (across, down) if usable else None


def to_tags(metadata: Metadata) -> dict[int, bytes]:
    """Artist and copyright as EXIF and TIFF tags, in UTF-8: Pillow would write ``?`` outside ASCII."""
    tags = {ExifTags.Base.Artist: metadata.artist, ExifTags.Base.Copyright: metadata.copyright}
    return {tag: text.encode() for tag, text in tags.items() if text}


def to_exif(metadata: Metadata) -> bytes | None:
    """An EXIF block that holds the metadata and nothing else; None if there is none."""
    exif = Image.Exif()
    exif.update(to_tags(metadata))
    if metadata.dpi:
        exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = metadata.dpi
        exif[ExifTags.Base.ResolutionUnit] = _INCH
    return exif.tobytes() if len(exif) else None

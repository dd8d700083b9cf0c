"""Picture files, written: whole or not at all, in sRGB, with no metadata but `Metadata`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fast_nst.errors import FileError
from fast_nst.io.color import srgb_profile
from fast_nst.io.files import why_not_writable, write_atomically, write_reason
from fast_nst.io.metadata import to_exif, to_tags
from fast_nst.io.pixels import Picture, over_white, to_pillow

__all__ = ["ImageWriteError", "can_write", "check_target", "keeps_alpha", "write_picture"]


class ImageWriteError(FileError):
    """A picture that cannot be written; nothing was changed on the disk."""


@dataclass(frozen=True)
class _Writer:
    format: str
    alpha: bool = False
    longest: int | None = None  # the longest side the format can hold
    options: tuple[tuple[str, object], ...] = ()


# 65500 is libjpeg's limit, 35 under that of the format.
_JPEG = _Writer("JPEG", longest=65500, options=(("subsampling", 0),))
_TIFF = _Writer("TIFF", alpha=True, options=(("compression", "tiff_adobe_deflate"),))
_WRITERS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": _Writer("PNG", alpha=True),
    # exact: keeps the colors under transparent pixels, as the other formats do.
    ".webp": _Writer("WEBP", alpha=True, longest=16383, options=(("exact", True),)),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".avif": _Writer("AVIF", alpha=True, longest=65536, options=(("subsampling", "4:4:4"),)),
    ".bmp": _Writer("BMP"),
    ".ppm": _Writer("PPM"),
}


def can_write(ending: str) -> bool:
    """Whether `write_picture` knows this ending, such as ``.png``."""
    return ending.lower() in _WRITERS


def keeps_alpha(target: str | Path) -> bool:
    """Whether a file of this name, ending or format holds alpha; others get the picture on white."""
    return _writer(target, None).alpha


def write_picture(
    target: str | Path | BinaryIO,
    picture: Picture,
    *,
    format: str | None = None,
    quality: int = 95,
    overwrite: bool = True,
) -> None:
    """Write a whole file or none: whatever fails, the old file stays and no temporary one is left.

    The format comes from `format` ("png") or else from the ending. JPEG and AVIF keep full color resolution,
    WebP at quality 100 is lossless. An sRGB profile and `picture.metadata` go in where the format takes
    them, and nothing else: the place a photograph was taken at does not leave with it. Where there is no
    alpha, the picture is put on white (see `keeps_alpha`). A link is replaced; its target stays as it is.

    Raises:
        ImageWriteError: an unknown format, a quality outside 1 to 100, too many pixels for the format, or the
            system's reasons.
    """
    name = target if isinstance(target, str | Path) else str(getattr(target, "name", "<picture>"))
    writer = _writer(name, format)
    if isinstance(target, str | Path) and (why := why_not_writable(Path(target), overwrite=overwrite)):
        raise ImageWriteError(target, why)
    # In memory first: a stream need not seek, and a full disk is an OSError instead of a codec's riddle.
    data = _encode(picture, writer, quality, name)
    try:
        if isinstance(target, str | Path):
            write_atomically(Path(target), data)
        else:
            target.write(data)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, a closed stream
        raise ImageWriteError(name, write_reason(error, Path(name))) from error


def _writer(name: str | Path, format: str | None) -> _Writer:
    wanted = format or Path(name).suffix or str(name)
    ending = f".{wanted.lower().removeprefix('.')}"
    if ending not in _WRITERS:
        found = f"cannot write {ending!r}" if format or Path(name).suffix else "the name has no ending"
        raise ImageWriteError(name, f"{found}; known endings are {' '.join(_WRITERS)}")
    return _WRITERS[ending]


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that `save_image` could not write, before long work is done for it.

    Raises:
        ImageWriteError: an unknown ending, no such folder, or something that is not to be replaced.
    """
    _writer(path, None)
    if why := why_not_writable(path, overwrite=overwrite):
        raise ImageWriteError(path, why)
    if not path.absolute().parent.is_dir():
        raise ImageWriteError(path, write_reason(FileNotFoundError(), path))


def _encode(picture: Picture, writer: _Writer, quality: int, name: str | Path) -> bytes:
    if not 1 <= quality <= 100:
        raise ImageWriteError(name, f"quality {quality} is outside 1 to 100")
    if writer.longest and max(picture.height, picture.width) > writer.longest:
        raise ImageWriteError(
            name,
            f"{picture.width} x {picture.height} is too large: {writer.format} holds {writer.longest} pixels "
            "a side; write PNG or TIFF, or use a smaller --size",
        )
    options: dict[str, Any] = {"quality": quality, "icc_profile": srgb_profile(), **dict(writer.options)}
    if picture.metadata.dpi:
        options["dpi"] = picture.metadata.dpi
    if writer.format == "TIFF":
        options["tiffinfo"] = to_tags(picture.metadata)
    elif exif := to_exif(picture.metadata):
        options["exif"] = exif
    if writer.format == "WEBP":
        options["lossless"] = quality == 100
    if writer.format == "TIFF":
        del options["quality"]  # means JPEG inside TIFF
    shown = picture if writer.alpha else Picture(over_white(picture))
    buffer = io.BytesIO()
    try:
        to_pillow(shown).save(buffer, writer.format, **options)
    except Exception as error:  # each codec has exceptions of its own
        why = str(error) or type(error).__name__
        raise ImageWriteError(name, f"cannot be encoded as {writer.format} ({why})") from error
    return buffer.getvalue()

"""Picture files, read: each becomes a `Picture`, or an `ImageReadError` that says why not.

Pillow decodes. What it would read wrongly, slowly or not at all is looked for first, in the modules of each
format; `tests/io/test_readers.py` compares the results with other decoders.
"""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NoReturn

from PIL import Image, UnidentifiedImageError

from fast_nst.io import color_tags, jpeg, metadata, png, tiff
from fast_nst.io.color import log_once, to_levels
from fast_nst.io.color_tags import ColorTags, HdrError
from fast_nst.io.image_files import (
    FORMATS,
    ImageReadError,
    check_size,
    is_heif,
    opened,
    pillow_settings,
    read_reason,
)
from fast_nst.io.pixels import MAX_PIXELS, Picture
from fast_nst.io.transparency import fill_hidden

__all__ = [
    "EXTENSIONS",
    "find_pictures",
    "finished",
    "folders_to_enter",
    "read_picture",
    "read_size",
]

_JPEG_LIKE = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
_PORTABLE = (".ppm", ".pgm", ".pbm", ".pnm")
_OTHERS = (".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2", ".heic", ".heif")
EXTENSIONS = frozenset((*_JPEG_LIKE, *_PORTABLE, *_OTHERS))

# Pillow parses numbers written as text in Python: about a second and a half per million.
_MOST_TEXT_SAMPLES = 2_000_000


def read_picture(source: str | Path | BinaryIO | bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Any picture file as 8-bit sRGB, upright; of an animation or a multi-page file, the first image.

    The pixel limit is checked on the header, before anything is decoded. EXIF orientation is applied and ICC
    profiles are converted; a broken profile or EXIF block is logged and ignored. 16-bit gray is divided by
    257; for 32-bit integers and floats see `color.gray_levels`. Colors that transparency hides are replaced
    (see `fill_hidden`). What was ignored or left out is in the notes of the picture.

    Raises:
        ImageReadError: whatever else is wrong with the file.
    """
    name = source if isinstance(source, str | Path) else str(getattr(source, "name", "<picture>"))
    head = b""
    try:
        with pillow_settings, opened(source) as stream:
            head = stream.read(512)
            stream.seek(0)
            return _read(stream, head, name, max_pixels)
    except ImageReadError:
        raise
    except HdrError as error:
        raise ImageReadError(name, str(error)) from None
    except Exception as error:  # fuzzed files make Pillow raise a dozen different types
        raise ImageReadError(name, read_reason(error, head)) from error


def read_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height from the header of a picture file, as stored; nothing is decoded.

    Raises:
        ImageReadError: it is no picture that `read_picture` knows, or has more pixels than allowed.
    """
    head = b""
    try:
        with pillow_settings, opened(path) as stream:
            head = stream.read(512)
            stream.seek(0)
            with Image.open(stream, formats=_formats(head)) as image:
                check_size(path, image.size, max_pixels)
                return image.size
    except ImageReadError:
        raise
    except Exception as error:  # as in `read_picture`
        raise ImageReadError(path, read_reason(error, head)) from error


def _read(stream: BinaryIO, head: bytes, name: str | Path, max_pixels: int) -> Picture:
    if head.startswith(png.SIGNATURE):
        return _read_png(stream.read(), name, max_pixels)
    if head.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(stream.read(), name, max_pixels)
    if tiff.is_tiff(head):
        return _read_tiff(stream, name, max_pixels)
    tags = None
    if head[4:8] == b"ftyp":
        tags = color_tags.of_isobmff(stream.read())
        stream.seek(0)
    # A stream, not a path: Pillow maps some files by path, and cutting a mapped file short kills us.
    with Image.open(stream, formats=_formats(head)) as image:
        check_size(name, image.size, max_pixels)
        if head[:2] in (b"P1", b"P2", b"P3"):
            _check_text(image, name)
        image.load()
        return finished(image, name, tags)


def _read_png(data: bytes, name: str | Path, max_pixels: int) -> Picture:
    file = png.scan(data)
    tags = color_tags.of_png(file.chunks)
    with Image.open(io.BytesIO(file.data), formats=("PNG",)) as image:
        check_size(name, image.size, max_pixels)
        if image.mode == "RGB" and b"tRNS" in file.chunks and file.chunks[b"IHDR"][8] == 16:
            raise ImageReadError(name, "16-bit RGB with a transparent color is not supported; resave as RGBA")
        try:
            image.load()
        except OSError as error:
            _raise_truncated(error, name, png.share_present(file.data))
        picture = finished(image, name, tags)
    notes = file.notes + ((_FIRST.format("frames"),) if file.animated else ())
    return replace(picture, notes=picture.notes + notes)


def _read_jpeg(data: bytes, name: str | Path, max_pixels: int) -> Picture:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        check_size(name, image.size, max_pixels)
        jpeg.check_scans(data, name, image.width * image.height, max_pixels)
        try:
            image.load()
        except OSError as error:
            if "truncated" not in str(error):
                raise
        else:
            return finished(image, name)
    whole, share = jpeg.recovered(data)
    if share is None or share < 1:
        _raise_truncated(OSError("truncated"), name, share)
    picture = finished(whole, name)
    return replace(picture, notes=(*picture.notes, "its end marker is missing; the picture is complete"))


def _read_tiff(stream: BinaryIO, name: str | Path, max_pixels: int) -> Picture:
    page, pages = tiff.main_page(stream, name)
    stream.seek(0)
    try:
        with Image.open(stream, formats=("TIFF",)) as image:
            image.seek(page)
            check_size(name, image.size, max_pixels)
            tiff.check_layout(image, name)
            try:
                image.load()
            except OSError as error:
                _raise_truncated(error, name, tiff.share_present(stream, page))
            picture = finished(image, name)
    except (UnidentifiedImageError, SyntaxError):
        if found := tiff.layout(stream):
            raise ImageReadError(name, tiff.unsupported(found)) from None
        raise
    return replace(picture, notes=picture.notes + ((_FIRST.format("pages"),) if pages > 1 else ()))


_FIRST = "only the first of its {} was read"


def finished(image: Image.Image, name: str | Path, tags: ColorTags | None = None) -> Picture:
    """A loaded image as a picture: upright, sRGB, without hidden colors."""
    if color_tags.profile_is_hdr(image.info.get("icc_profile") or b""):
        raise HdrError("its color profile is for HDR (PQ or HLG); convert it to SDR (sRGB) first")
    kept = metadata.of_image(image)
    rgb, alpha = to_levels(image, name)
    if tags is not None and not image.info.get("icc_profile"):
        rgb = color_tags.convert(rgb, tags)
    animated = image.format in ("GIF", "WEBP", "AVIF") and getattr(image, "is_animated", False)
    notes = (_FIRST.format("frames"),) if animated else ()
    return Picture(fill_hidden(rgb, alpha), alpha, kept, notes)


def _raise_truncated(error: OSError, name: str | Path, share: float | None) -> NoReturn:
    """Raise `error`, or say which share of a file that ends early is there."""
    if share is None or share >= 1:
        raise error
    there = f"{int(100 * share)} % of the picture is there"
    raise ImageReadError(name, f"the file ends early or is damaged (truncated); {there}") from None


def _check_text(image: Image.Image, name: str | Path) -> None:
    """Refuse a PPM whose samples are written as text if there are too many."""
    samples = image.width * image.height * len(image.getbands())
    if samples > _MOST_TEXT_SAMPLES:
        raise ImageReadError(
            name,
            f"{samples:,} numbers as text take too long to read (limit: {_MOST_TEXT_SAMPLES:,}); "
            "convert it to binary PPM or PNG",
        )


def _formats(head: bytes) -> tuple[str, ...]:
    """What Pillow may try on a file that starts with `head`; HEIC needs a plugin, loaded when first met."""
    if not is_heif(head):
        return FORMATS
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return FORMATS
    return (*FORMATS, "HEIF")


def find_pictures(
    folder: Path,
    *,
    endings: Collection[str] = EXTENSIONS,
    on_error: Callable[[OSError], None] = lambda error: log_once(f"skipped: {error}"),
) -> list[Path]:
    """All picture files below `folder` by their ending, sorted; hidden ones and linked folders are left out.

    A link to a file counts. A link to a folder does not: it may lead out of the tree, or form a cycle. It is
    logged.

    Args:
        on_error: called for each folder that cannot be read.

    Raises:
        ImageReadError: it is not a folder.
    """
    if not folder.is_dir():
        raise ImageReadError(folder, "is not a folder" if folder.exists() else "no such folder")
    found = []
    for place, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = folders_to_enter(place, folders)
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in endings and path.is_file()]
    return sorted(found)


def folders_to_enter(place: str, folders: list[str]) -> list[str]:
    """Those of the `folders` in `place` that a search enters: neither hidden nor links, which are logged."""
    visible = [name for name in folders if not name.startswith(".")]
    links = {name for name in visible if os.path.islink(os.path.join(place, name))}
    for name in sorted(links):
        path = os.path.join(place, name)
        log_once(f"skipped: {path} is a link to a folder; name it itself to have its pictures")
    return [name for name in visible if name not in links]

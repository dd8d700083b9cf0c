"""Sources of a command line as pictures and videos: files, folders, glob patterns, addresses, stdin."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.video.codecs import VIDEO_ENDINGS
from fast_nst.io.images import EXTENSIONS, find_pictures
from fast_nst.io.remote import is_remote, list_pictures

__all__ = ["STANDARD", "NoInputError", "Source", "camera_of", "expand"]

# What cameras are reached by; other addresses are files, or cameras by --live.
_STREAMS = ("rtsp://", "rtsps://", "rtmp://", "udp://", "srt://")
STANDARD = "-"  # stdin as a source, stdout as an output
DEMO = "demo"  # a source for a first try: a photograph that comes with a package we need anyway


class Source(NamedTuple):
    """A picture or video before its result has a name."""

    name: str
    """a file, an address, or ``-`` for stdin"""
    root: str | None = None
    """where the results of the folder it was found in go"""
    below: Path | None = None
    """its place in that folder"""
    folder: str | None = None
    """the name of that folder"""
    from_pattern: bool = False
    """whether a pattern matched it"""


class NoInputError(InputError):
    """A source that yields no picture."""


def camera_of(sources: Sequence[str], config: StylizeConfig) -> str | None:
    """The camera among the sources: a number, a stream's address, or what ``--live`` says is one; or None.

    Raises:
        InputError: a camera among other sources.
    """
    for source in sources:
        number = source.isdecimal() and source.isascii() and not os.path.exists(source)
        if number or source.startswith(_STREAMS) or config.camera.live:
            if len(sources) > 1:
                raise InputError(f"{source} is a camera, which must be the only source; give it alone")
            return source
    return None


def expand(source: str, style: str, out: str | None, unreadable: list[OSError]) -> Iterator[Source]:
    """The pictures and videos of a source; each of a folder with the place of its result, sub-folders kept.

    Args:
        unreadable: gets the error of each folder that cannot be read, whose pictures are missed.

    Raises:
        NoInputError: there are none.
        InputError: an empty name.
    """
    path = Path(source)
    if source == STANDARD:
        yield Source(STANDARD)
    elif not source:
        raise InputError("a source is empty; is a variable of the shell not set?")
    elif is_remote(source):
        yield from _expand_address(source, style, out)
    elif path.is_dir():
        yield from _expand_folder(path, style, out, unreadable)
    elif source == DEMO and not path.exists():
        yield Source(str(_demo_photograph()))
    elif path.exists() or not glob.has_magic(source):
        yield Source(source)  # a missing file fails alone
    else:
        matches = sorted(name for name in glob.glob(source, recursive=True) if Path(name).is_file())
        unreadable += _unreadable_folders(source)
        if not matches and not unreadable:
            raise NoInputError(f"no file matches {source}")
        for name in matches:
            yield Source(name, from_pattern=True)


def _unreadable_folders(pattern: str) -> list[OSError]:
    """The folders that a pattern would look into and that cannot be read, which `glob` passes over."""
    errors: list[OSError] = []
    before, recursive, _ = pattern.partition("**")
    starts = [os.path.dirname(before) or "."] if recursive else glob.glob(os.path.dirname(pattern) or ".")
    for start in filter(os.path.isdir, starts):
        for _, folders, _ in os.walk(start, onerror=errors.append):
            folders[:] = [name for name in folders if recursive and not name.startswith(".")]
    return errors


def _expand_folder(path: Path, style: str, out: str | None, unreadable: list[OSError]) -> Iterator[Source]:
    name = path.resolve().name
    root = out or f"{name}_{style}"
    found = find_pictures(path, endings=EXTENSIONS | VIDEO_ENDINGS.keys(), on_error=unreadable.append)
    if not is_remote(root):
        found = [file for file in found if not _is_result(file, path, Path(root))]
    if not found and not unreadable:
        raise NoInputError(
            f"no pictures or videos in the folder {path}; names end in .jpg, .png, .mp4 and so on"
        )
    for file in found:
        yield Source(str(file), root, file.relative_to(path), name)


def _expand_address(source: str, style: str, out: str | None) -> Iterator[Source]:
    found = list_pictures(source)
    if found is None:
        yield Source(source)
        return
    root = out or f"{Path(source).name}_{style}"
    # As in folders: results below their own inputs are no inputs.
    found = [(name, below) for name, below in found if not name.startswith(f"{root.rstrip('/')}/")]
    if not found:
        raise NoInputError(f"no pictures below {source}; names end in .jpg, .png and so on")
    for name, below in found:
        yield Source(name, root, Path(below), Path(source).name)


def _demo_photograph() -> Path:
    """Rear Admiral Grace Hopper, photographed by James S. Davis: public domain, bundled with matplotlib."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def _is_result(picture: Path, folder: Path, results: Path) -> bool:
    """Whether it lies in the output folder, itself inside the input folder: a result of an earlier run."""
    results = results.resolve()
    return folder.resolve() in results.parents and results in picture.resolve().parents

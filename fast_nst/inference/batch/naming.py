"""The names of results: see `InferenceConfig.out`. No two results of a run share a file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

from fast_nst.config import InferenceConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.sources import STANDARD, Source
from fast_nst.inference.video.codecs import CONTAINERS, VIDEO_ENDINGS
from fast_nst.io.animations import is_animation
from fast_nst.io.images import EXTENSIONS, can_write
from fast_nst.io.remote import is_remote, join

__all__ = ["check_out", "is_video", "resolve_collisions", "target_of"]


def is_video(source: str, config: InferenceConfig, *, one: bool) -> bool:
    """Whether the result is a video: always of a video, of an animation unless a still is asked for."""
    if source == STANDARD:
        return False
    if Path(source).suffix.lower() in VIDEO_ENDINGS:
        return True
    wanted = Path(source).suffix
    if config.format is not None:
        wanted = _dotted(config.format)
    elif one and config.out is not None and not _is_folder(config.out):
        wanted = Path(config.out).suffix
    return wanted.lower() in CONTAINERS and not is_remote(source) and is_animation(source)


def check_out(config: InferenceConfig, *, one: bool, count: int, videos: int) -> None:
    """Refuse an ``--out`` or ``--format`` that cannot hold these results.

    Args:
        one: whether a single picture or video was named.
        count: of pictures and videos together.
        videos: of videos.

    Raises:
        InputError: with what can be given.
    """
    out = config.out
    if config.format is not None:
        _check_format(config.format, count, videos)
    if out is None or out == STANDARD:
        return
    if not out:
        raise InputError("--out is empty; give a file, a folder, or - for stdout")
    if _is_folder(out):
        return
    ending = Path(out).suffix
    for_videos = ending.lower() in CONTAINERS
    if one and config.format is None and not (for_videos if videos else can_write(ending)):
        found = f"cannot write {ending!r}" if ending else "has no ending"
        kind, example = (" of a video", "out.mp4") if videos else ("", "out.png")
        raise InputError(
            f"--out {out}: {found}{kind}; give a name such as {example}, or a folder with a / at its end"
        )
    if not one and (for_videos or can_write(ending)):
        raise InputError(f"--out {out} names one file, for {count} pictures; give a folder, such as {out}/")


def _check_format(format: str, count: int, videos: int) -> None:
    dotted = _dotted(format)
    if (videos and dotted in CONTAINERS) or (videos < count and can_write(dotted)):
        return
    known = f"{' '.join(CONTAINERS)} for a video" if videos else "png, jpg, webp, tiff, avif, bmp or ppm"
    raise InputError(f"cannot write --format {format}; give {known}")


def target_of(source: Source, style: str, config: InferenceConfig, *, one: bool, video: bool) -> str:
    """Where a result goes.

    Raises:
        InputError: stdout takes one picture and no video; addresses take no videos.
    """
    name, out = source.name, config.out
    if video and out == STANDARD:
        raise InputError(f"{name} is a video, which cannot be sent to stdout; give --out FILE")
    if video and (is_remote(name) or is_remote(source.root or out or "")):
        raise InputError(f"{name} is a video: videos are read and written on local disks only")
    if out == STANDARD or (out is None and name == STANDARD):
        if not one:
            raise InputError("stdout takes one picture; give --out FOLDER for several")
        return STANDARD
    if out is not None and one and not _is_folder(out):
        return out
    if source.root is not None and source.below is not None:
        below = source.below
        stem, ending = _stem(below), _ending(below, config.format, video=video)
        return join(source.root, below.with_name(stem + ending))
    file = PurePath(PurePath(name).name if name != STANDARD else "stdin.png")
    stem, ending = _stem(file), _ending(file, config.format, video=video)
    return f"{stem}_{style}{ending}" if out is None else join(out, stem + ending)


def resolve_collisions(sources: Sequence[Source], targets: Sequence[str]) -> tuple[list[str], str | None]:
    """Longer names for results that would share a file, and a note that says so.

    A name depends on its source alone, and not on its place in the list: first the source's ending is kept
    (``a.jpg.png``), then its folder's name is put in front.
    """
    longer = list(targets)
    for group in _shared(longer):
        if len({PurePath(sources[i].name).suffix for i in group}) > 1:
            for i in group:
                longer[i] = _with_ending(sources[i], longer[i])
    for group in _shared(longer):
        for i in group:
            longer[i] = _with_folder(sources[i], longer[i])
    changed = [i for i in range(len(longer)) if longer[i] != targets[i]]
    if not changed:
        return longer, None
    i = changed[0]
    return longer, (
        f"{len(changed)} results have longer names, since several sources would share one: "
        f"{sources[i].name} -> {longer[i]}"
    )


def _shared(targets: Sequence[str]) -> list[list[int]]:
    """The positions of targets that are one file, by file."""
    groups = defaultdict[str, list[int]](list)
    for i, target in enumerate(targets):
        if target != STANDARD:
            groups[target if is_remote(target) else os.path.realpath(target)].append(i)
    return [group for group in groups.values() if len(group) > 1]


def _with_ending(source: Source, target: str) -> str:
    """``out/a.png`` of ``a.jpg`` as ``out/a.jpg.png``."""
    own, ending = PurePath(source.name).suffix, PurePath(target).suffix
    known = own.lower() in EXTENSIONS | VIDEO_ENDINGS.keys()
    return target.removesuffix(ending) + own + ending if known else target


def _with_folder(source: Source, target: str) -> str:
    """``out/a.png`` of ``x/a.png`` as ``out/x_a.png``; of the folder ``x`` as ``out/x/a.png``."""
    if source.root is not None and source.folder:
        return join(join(source.root, source.folder), target.removeprefix(source.root).lstrip("/" + os.sep))
    name = os.path.basename(target)
    parent = PurePath(source.name).parent.name or Path(source.name).resolve().parent.name
    return f"{target.removesuffix(name)}{parent}_{name}"


def _dotted(format: str) -> str:
    return f".{format.lower().removeprefix('.')}"


def _is_folder(out: str) -> bool:
    if is_remote(out):  # a name alone does not tell
        return not can_write(Path(out).suffix)
    return out.endswith(("/", os.sep)) or os.path.isdir(out)


def _stem(name: PurePath) -> str:
    """The name without the ending of a picture or video; other dots, as in ``shot 10.00.01``, stay."""
    known = name.suffix.lower() in EXTENSIONS | VIDEO_ENDINGS.keys()
    return name.stem if known else name.name


def _ending(name: PurePath, format: str | None, *, video: bool) -> str:
    """The format asked for if it is one for this kind, else the input's ending where that can be written.

    Else PNG, which loses nothing; see `VIDEO_ENDINGS` for videos.
    """
    if format is not None and (_dotted(format) in CONTAINERS if video else can_write(_dotted(format))):
        return _dotted(format)
    if name.suffix.lower() in CONTAINERS if video else can_write(name.suffix):
        return name.suffix
    return VIDEO_ENDINGS[name.suffix.lower()] if video else ".png"

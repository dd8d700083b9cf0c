"""Turn a form that was uploaded into a job, or refuse it with the reason."""

from __future__ import annotations

import re
from pathlib import Path

from fast_nst.config.web import WebConfig
from fast_nst.errors import shown
from fast_nst.io.images import ImageReadError, read_size
from fast_nst.web.engine import Engine
from fast_nst.web.jobs import WebJob
from fast_nst.web.parameters import parse_parameters, parse_size
from fast_nst.web.refusals import Refusal
from fast_nst.web.uploads import Form

__all__ = ["TEXTS", "check_picture", "file_limits", "make_job", "plain_stem"]

TEXTS = ("parameters", "size")
_LONGEST_NAME = 60
_MASK_PIXELS = 16_000_000
_JPEG = b"\xff\xd8\xff"


def file_limits(config: WebConfig, *, video: bool) -> dict[str, int]:
    """The files that a form may hold, with the most bytes of each."""
    picture = config.bytes_of("max_upload")
    return {"video": config.bytes_of("max_video")} if video else {"image": picture, "mask": picture}


def make_job(form: Form, folder: Path, engine: Engine, config: WebConfig, *, video: bool) -> WebJob:
    """The job that a form asks for; its files are looked at, and nothing of them is decoded.

    Raises:
        InputError: a field is missing or wrong; a file is of no kind that can be read, or too large.
    """
    kind = "video" if video else "image"
    if kind not in form.files:
        raise Refusal(422, f"the form has no file {kind!r}; send one")
    if "parameters" not in form.texts:
        raise Refusal(422, 'the form has no field \'parameters\'; send {"weights": {"STYLE": 1}}')
    parameters = parse_parameters(form.texts["parameters"])
    engine.check(parameters)
    size = parse_size(form.texts.get("size"))
    source, mask = form.files[kind], form.files.get("mask")
    head = _head(source)
    if video:
        ending = "mp4"
        source = source.rename(source.with_suffix(_animation_ending(head)))
    else:
        check_picture(source, config.max_pixels)
        ending = "jpg" if head.startswith(_JPEG) else "png"
    if mask is not None:
        check_picture(mask, min(_MASK_PIXELS, config.max_pixels))
    return WebJob(
        folder=folder,
        source=source,
        target=folder / f"result.{ending}",
        download=f"{plain_stem(form.names.get(kind, kind))}_{'+'.join(parameters.weights)}.{ending}",
        parameters=parameters,
        video=video,
        size=size,
        mask=mask,
    )


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(16)


def check_picture(file: Path, max_pixels: int) -> None:
    """Refuse what is no picture or too large, before it is decoded."""
    try:
        read_size(file, max_pixels=max_pixels)
    except ImageReadError as error:
        status = 413 if "over the limit" in error.reason else 415
        raise Refusal(status, f"{file.stem}: {error.reason}") from None


def _animation_ending(head: bytes) -> str:
    """The ending by which the video pipeline tells animations from videos."""
    if head.startswith((b"GIF87a", b"GIF89a")):
        return ".gif"
    return ".webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else ".bin"


def plain_stem(name: str) -> str:
    """A client's file name without folders, ending and what no file system takes; only for the download."""
    last = re.split(r"[/\\]", shown(name, 200))[-1]
    plain = re.sub(r"[^\w .()-]", "_", last.rpartition(".")[0] or last)
    return plain.strip(" .")[:_LONGEST_NAME] or "result"

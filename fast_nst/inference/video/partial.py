"""The name of an incomplete video: one that no later run takes for a result or for an input."""

from __future__ import annotations

from pathlib import Path

__all__ = ["partial_path"]

_LONGEST = 250  # bytes of a file name; common file systems take a few more


def partial_path(target: Path) -> Path:
    """Where the finished part of an interrupted video goes: ``clip.partial.mp4`` beside ``clip.mp4``."""
    ending = f".partial{target.suffix}"
    stem = target.stem.encode(errors="surrogateescape")[: _LONGEST - len(ending.encode())]
    return target.with_name(stem.decode(errors="surrogateescape") + ending)

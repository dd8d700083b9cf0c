"""Recognize files that are not models of ours by their first bytes. Torch is not needed."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["describe_file", "is_pytorch_file"]

_BROKEN = "the download or the copy went wrong; get the file again"
_NO_COMMAND = "no command reads those"
_STATE_DICT = "torch.save(model.state_dict(), 'weights.pth') in the project it comes from"
# First bytes, in the order they are tried.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "picture"),
    (b"\x89PNG\r\n\x1a\n", "picture"),
    (b"GIF8", "picture"),
    (b"BM", "picture"),
    (b"II*\0", "picture"),
    (b"MM\0*", "picture"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"version https://git-lfs", "git-lfs"),
    (b"%PDF", "pdf"),
    (b"\x1f\x8b", "archive"),
    (b"7z\xbc\xaf", "archive"),
    (b"Rar!", "archive"),
    # Torch7: the type of the first object, a table (3) or a class (4), and its number, 1.
    (b"\x03\0\0\0\x01\0\0\0", "torch7"),
    (b"\x04\0\0\0\x01\0\0\0", "torch7"),
)
_ENDINGS = {".onnx": "onnx", ".t7": "torch7", ".html": "html", ".htm": "html"}
_WHAT = {
    "empty": ("is empty", _BROKEN),
    "html": ("is a web page", _BROKEN),
    "git-lfs": ("is a pointer of Git LFS", "run git lfs pull to get the file itself"),
    "pdf": ("is a PDF document", _BROKEN),
    "archive": ("is an archive", "unpack it and give the file in it"),
    "onnx": ("is an ONNX model", f"{_NO_COMMAND}; give the .safetensors or .pth file it was exported from"),
    "pt2": ("is a program of torch.export", f"{_NO_COMMAND}; give the file it was exported from"),
    "torch7": ("is a file of Torch7 (Lua)", f"{_NO_COMMAND}; give a PyTorch state dict of the network"),
    "torchscript": ("is a TorchScript program", f"import takes weights alone: {_STATE_DICT}"),
    "hdf5": ("is an HDF5 file, as Keras writes", f"{_NO_COMMAND}; give a PyTorch state dict of the network"),
}


def describe_file(path: Path) -> str | None:
    """What a readable file is and which command takes it, as in ``is empty: ...``; None if not recognized.

    A .safetensors file is not described.
    """
    kind = _kind(path)
    if kind == "picture":
        return f"is a picture, not a model: train.py --style {path} trains a style for it"
    if kind == "pytorch":
        return f"is a PyTorch file: fast-nst import {path} makes a style of it, if the network is a known one"
    return ": ".join(_WHAT[kind]) if kind else None


def is_pytorch_file(path: Path) -> bool:
    """Whether ``torch.load`` may be tried: torch.save's, or of a kind that is not recognized."""
    return _kind(path) in ("pytorch", None)


def _kind(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError:
        return None
    if not start:
        return "empty"
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "picture"
    if start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"heic", b"heix", b"mif1"):
        return "picture"
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if start[:1] == b"\x80" and start[1] <= 5:  # a pickle
        return "pytorch"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return "html"
    # Field 1 of ONNX's ModelProto, the version, is a small number; field 2, 7 or 8 follows.
    if start[:1] == b"\x08" and 1 <= start[1] <= 20 and start[2:3] in (b"\x12", b"\x3a", b"\x42"):
        return "onnx"
    return _ENDINGS.get(path.suffix.lower())


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = {name.rpartition("/")[2] for name in file.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return "pytorch"  # cut off; torch.load has the reason
    if "archive_format" in names:
        return "pt2"
    if "constants.pkl" in names:
        return "torchscript"
    return "pytorch" if "data.pkl" in names else "archive"

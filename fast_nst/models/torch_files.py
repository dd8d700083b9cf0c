"""Weights that other programs wrote: read without running code from them, and checked before they are used.

torch.save      a zip: */data.pkl names the tensors, */data/N holds their bytes, uncompressed
before 1.6      pickles, and the bytes behind them
safetensors     see `tensor_header`
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fast_nst.errors import InputError, first_line, shown
from fast_nst.models.file_kinds import describe_file, is_pytorch_file
from fast_nst.models.tensor_header import read_header

__all__ = ["read_torch_file", "tensor_problem", "unreadable_reason"]

MAX_PICKLE = 1 << 24  # bytes that name the tensors; a thousand tensors take 2^17
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def read_torch_file(path: Path, wanted: str, error_kind: type[InputError] = InputError) -> Mapping[str, Any]:
    """The values of a .safetensors file or one of ``torch.save`` by name, on the CPU.

    Args:
        wanted: what the file should hold, for the message: ``VGG weights``.

    Raises:
        InputError: as ``error_kind``: not there, unreadable, holding more than plain values, or not a
            dictionary.
    """
    if not path.exists():
        raise error_kind(f"there is no file {path}")
    if not path.is_file():
        raise error_kind(f"{path} is not a regular file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            read_header(path)
            return load_file(path)
        if not is_pytorch_file(path):
            raise error_kind(f"{path} {describe_file(path)}")
        _check_zip(path)
        with warnings.catch_warnings():  # of sparse tensors and old formats; what is used is checked
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # safetensors, zipfile and pickle raise a dozen kinds between them
        reason = unreadable_reason(error)
        raise error_kind(f"{path} cannot be read as {wanted} (.safetensors or .pth): {reason}") from None
    if not isinstance(loaded, Mapping):
        raise error_kind(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors")
    return loaded


def _check_zip(path: Path) -> None:
    """Refuse what would take more memory than the file has bytes; torch.save compresses nothing."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("its contents are compressed, which torch.save does not do")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ValueError("its contents are larger than the file")
    if any(member.filename.endswith("data.pkl") and member.file_size > MAX_PICKLE for member in members):
        raise ValueError(f"the list of its tensors is larger than the limit, {MAX_PICKLE} bytes")


def unreadable_reason(error: Exception) -> str:
    """Why a file cannot be read. torch advises to unpickle what it refuses, which would run its code."""
    text = str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "its tensors do not fit into memory"
    if found := re.search(r"GLOBAL ([\w.]+)", text):
        return (
            f"it is a pickle of Python objects ({shown(found[1])}), such as a whole module, which would run "
            "code; save its weights with torch.save(model.state_dict(), 'weights.pth') where it comes from"
        )
    if "weights_only" in text:
        return "it holds more than plain tensors, or is no PyTorch file at all"
    return shown(first_line(error), 200)


def tensor_problem(tensor: Tensor) -> str | None:
    """What keeps a tensor from being used as weights; None if it holds a float for every element.

    Checked without touching its elements: a tensor of stride 0 may claim any number of them.
    """
    if tensor.is_quantized:
        return "is quantized"
    if tensor.is_nested or tensor.layout != torch.strided:
        return "is sparse or nested"
    if tensor.device.type != "cpu":
        return "has a shape but no values"
    if tensor.dtype not in _FLOATS:
        return f"has type {tensor.dtype}"
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        return f"has shape {tuple(tensor.shape)} but stores fewer values"
    return None

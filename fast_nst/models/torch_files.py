"""Files of tensors that other programs wrote, read without running code from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fast_nst.errors import InputError, first_line

__all__ = ["read_torch_file", "why_not"]


def read_torch_file(path: Path, wanted: str, refusal: type[InputError] = InputError) -> Mapping[str, Any]:
    """What a .safetensors file, or else one of ``torch.save``, holds by name, on the CPU.

    Args:
        wanted: what the file should hold, for the message: ``VGG weights``.

    Raises:
        InputError: as `refusal`: not there, unreadable, more than plain tensors, or no dictionary.
    """
    if not path.exists():
        raise refusal(f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, zipfile and pickle raise a dozen kinds between them
        raise refusal(f"{path} cannot be read as {wanted} (.safetensors or .pth): {why_not(error)}") from None
    if not isinstance(loaded, Mapping):
        raise refusal(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors")
    return loaded


def why_not(error: Exception) -> str:
    """torch advises to unpickle what it refuses, with the danger that has; we do not pass that on."""
    if "weights_only" in str(error):
        return "it holds more than plain tensors, or is no PyTorch file at all"
    return first_line(error)

"""OpenCV, imported when it is needed: it takes a tenth of a second and needs desktop libraries."""

from __future__ import annotations

import importlib
from typing import Any

from fast_nst.errors import InputError, first_line

__all__ = ["opencv"]


def opencv() -> Any:
    """The module ``cv2``.

    Raises:
        InputError: it is not installed, or lacks a library of the system.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        why = first_line(error)
        if ".so" in why:  # such as "libGL.so.1: cannot open shared object file"
            cure = "install it (Debian, Ubuntu: apt install libgl1 libglib2.0-0), or opencv-python-headless"
        else:
            cure = "pip install opencv-python"
        raise InputError(f"OpenCV cannot be used ({why}); {cure}") from error

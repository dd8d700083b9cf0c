"""OpenVINO, imported without its telemetry, which would report every import to Google Analytics."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

__all__ = ["openvino"]

_TELEMETRY = "openvino_telemetry"
_lock = threading.Lock()


def openvino() -> Any:
    """The module ``openvino``; every import of it in this package goes through here.

    OpenVINO does without the package `openvino_telemetry` where it is not installed. It is made to believe
    so: its other switches are files in the user's home folder, or open a connection first.

    Raises:
        ImportError: it is not installed. A broken installation raises other errors too.
    """
    with _lock:
        if "openvino" not in sys.modules:
            known = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_telemetry(name)}
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's way to block an import
            try:
                importlib.import_module("openvino")
            finally:
                del sys.modules[_TELEMETRY]
                sys.modules.update(known)
    return sys.modules["openvino"]


def _is_telemetry(name: str) -> bool:
    return name.split(".")[0] == _TELEMETRY

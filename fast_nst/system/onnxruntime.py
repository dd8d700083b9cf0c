"""onnxruntime, imported without its telemetry: it reports to Microsoft and leaves an id in the home."""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["onnxruntime"]


def onnxruntime() -> Any:
    """The module ``onnxruntime``; every import of it in this package goes through here.

    Its library reads ``ORT_DISABLE_TELEMETRY`` when it is loaded (1.32); `disable_telemetry_events` comes too
    late, after the id is written.

    Raises:
        ImportError: it is not installed. A broken installation raises other errors too.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return importlib.import_module("onnxruntime")

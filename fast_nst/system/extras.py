"""How to install what optional features need."""

from __future__ import annotations

__all__ = ["PACKAGES", "how_to_install"]

# The optional dependencies of pyproject.toml, by the name of the extra.
PACKAGES = {
    "cluster": ("ray[data]",),
    "heif": ("pillow-heif",),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino", "onnx"),
    "virtualcam": ("pyvirtualcam",),
    "web": ("fastapi", "uvicorn", "websockets", "python-multipart"),
}


def how_to_install(extra: str) -> str:
    """The command for an extra by its packages' names: it works wherever fast-nst itself came from."""
    names = (f"'{name}'" if "[" in name else name for name in PACKAGES[extra])
    return f"pip install {' '.join(names)}"

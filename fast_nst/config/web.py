"""Options of the web server."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fast_nst.config.checks import check_least
from fast_nst.config.stylize import Backend, EnginePrecision
from fast_nst.errors import InputError
from fast_nst.serialization import flag_name, parse_bytes

__all__ = ["WebConfig"]

_SIZES = ("max_upload", "max_video", "max_storage")
_TOKEN = "FAST_NST_WEB_TOKEN"  # not a flag: every user of a machine can read the flags of its processes
_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class WebConfig:
    """Serve the page and its API: pictures, videos and the webcam in the browser."""

    port: int = 8000
    """to listen on; 0 is any free one"""
    host: str = "127.0.0.1"
    """address to listen on; others than loopback ones, such as 0.0.0.0, require a token"""
    open: bool = False
    """open the page in the browser"""
    allow_host: tuple[str, ...] = ()
    """names under which the server is also reached, such as that of a reverse proxy"""
    style: tuple[str, ...] = ()
    """styles to offer: bundled ones' names or .safetensors files [default: all bundled styles]"""
    page: str | None = None
    """folder of the page's files, as fast-nst export-page writes it [default: one in the user's cache]"""
    max_upload: str = "64MB"
    """size limit of a picture's file"""
    max_video: str = "1GB"
    """size limit of a video's file"""
    max_pixels: int = 50_000_000
    """refuse pictures, and videos' frames, with more pixels than this before decoding them"""
    max_storage: str = "4GB"
    """limit of all uploads and results together, which lie in a private temporary folder"""
    max_jobs: int = 32
    """jobs that may wait"""
    device: str = "auto"
    """auto, cpu, cuda, mps, xpu, cuda:1 …"""
    precision: EnginePrecision = "auto"
    """precision of the convolutions; auto is bf16 on GPUs, and on processors with matrix units for it where
    it is faster as measured; else fp32; fastest takes int8 too, if the engine has it"""
    backend: Backend = "auto"
    """engine; auto is the fastest that is installed"""
    memory: str | None = None
    """limit, such as 2GB; what does not fit is computed in parts [default: three quarters of what is free]"""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port goes from 0 to 65535, got {self.port}")
        if not self.host:
            raise InputError("--host is empty; give an address, such as 127.0.0.1 or 0.0.0.0")
        for name in _SIZES:
            parse_bytes(getattr(self, name), flag_name(name))
        if self.memory is not None:
            parse_bytes(self.memory, "--memory")
        check_least(self, {"max_pixels": 1, "max_jobs": 1})
        if 0 < len(self.fixed_token) < _SHORTEST_TOKEN:
            raise InputError(
                f"{_TOKEN} has {len(self.fixed_token)} characters; give {_SHORTEST_TOKEN} or more"
            )

    def bytes_of(self, name: str) -> int:
        """One of the sizes, such as ``max_upload``, in bytes."""
        return parse_bytes(getattr(self, name), flag_name(name))

    @property
    def fixed_token(self) -> str:
        """The token that the environment variable FAST_NST_WEB_TOKEN holds; empty if it does not."""
        return os.environ.get(_TOKEN, "")

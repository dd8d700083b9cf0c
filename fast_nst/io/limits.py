"""Limits of what is read, each with its reason; nothing is imported, so that options can name them."""

from __future__ import annotations

__all__ = ["MAX_PIXELS"]

# 300 MB of RGB, which a PNG of 12 KB can claim to hold. The few cameras above it need --max-pixels.
MAX_PIXELS = 110_000_000

"""Requests that are refused, and the JSON in which they are told why."""

from __future__ import annotations

import json

from fast_nst.errors import InputError, printable

__all__ = ["Refusal", "error_body"]


class Refusal(InputError):
    """A request that is not served.

    Attributes:
        status: the status code of HTTP.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def error_body(reason: object) -> bytes:
    """``{"error": "one line"}``."""
    return json.dumps({"error": printable(reason)}).encode()

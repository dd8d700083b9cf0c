"""Checks that several configs share; errors name the flag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fast_nst.errors import InputError
from fast_nst.serialization import flag_name

__all__ = ["check_least", "check_positive"]


def check_least(config: object, least: Mapping[str, float]) -> None:
    """Fields have to be finite and at least as large as given; None, where a field may be, is left alone.

    Args:
        least: the least value of each field.

    Raises:
        InputError: one is smaller, infinite or not a number.
    """
    for name, limit in least.items():
        value = getattr(config, name)
        if value is not None and not limit <= value < float("inf"):
            kind = "" if isinstance(value, int) else "a finite number of "
            raise InputError(f"{flag_name(name)} must be {kind}at least {limit:g}, got {value}")


def check_positive(config: object, names: Iterable[str]) -> None:
    """Fields have to be finite and above 0; None, where a field may be, is left alone.

    Raises:
        InputError: one is 0 or less, infinite or not a number.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"{flag_name(name)} must be a finite number above 0, got {value}")

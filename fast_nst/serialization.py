"""Dataclasses as the plain values of JSON and TOML, or as words of a command line, and back; all checked.

Ours, and not a library such as cattrs, so that one check serves files, checkpoints and flags, and its errors
name the option, the value and the limit.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import tomli_w

from fast_nst.errors import InputError

__all__ = [
    "aliases_of",
    "flag_name",
    "from_dict",
    "from_words",
    "is_switch",
    "parse_bytes",
    "show_bytes",
    "to_dict",
    "to_toml",
    "without_aliases",
]

T = typing.TypeVar("T")


def flag_name(field: str) -> str:
    """The command line's name of a field: ``--style-size``."""
    return "--" + field.replace("_", "-")


def aliases_of(cls: type[Any]) -> dict[str, tuple[str, ...]]:
    """Every field of a config with the other flags it can be given by, as `tyro.conf.arg` declares them."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        f.name: tuple(
            alias
            for note in getattr(hints[f.name], "__metadata__", ())
            for alias in getattr(note, "aliases", None) or ()
        )
        for f in dataclasses.fields(cls)
    }


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON and TOML values: paths as strings, tuples as lists, what is None left out."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            out[f.name] = to_dict(value)
        elif isinstance(value, tuple):
            out[f.name] = list(value)
        elif value is not None:
            out[f.name] = str(value) if isinstance(value, Path) else value
    return out


def to_toml(config: Any) -> str:
    """A config as the text of a TOML file, nested configs as tables."""
    return tomli_w.dumps(to_dict(config))


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """The inverse of `to_dict`; unknown keys are refused with the nearest known one.

    A key may also be an alias of its flag: ``temporal_smoothing`` for ``--temporal-smoothing``.

    Raises:
        InputError: an unknown key, a value of the wrong kind or out of range.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{cls.__name__} must be a table of options, got {values!r}")
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    for key, value in without_aliases(cls, values).items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            raise InputError(f"{cls.__name__} has no option {key!r}; {hint}")
        given[key] = _coerce(value, hints[key], f"{cls.__name__}.{key}")
    required = [n for n, f in known.items() if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in required if name not in given]:
        raise InputError(f"{cls.__name__} needs {' and '.join(missing)}")
    return cls(**given)


def without_aliases(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A table with every alias replaced by the field it stands for.

    Raises:
        InputError: a field given under two names.
    """
    names = {
        alias.lstrip("-").replace("-", "_"): field
        for field, aliases in aliases_of(cls).items()
        for alias in aliases
    }
    out: dict[str, Any] = {}
    for key, value in values.items():
        if (field := names.get(key, key)) in out:
            raise InputError(f"{cls.__name__}.{field} is given under two names; give it once")
        out[field] = value
    return out


def is_switch(hint: Any) -> bool:
    """Whether a flag needs no value: a bool, or a bool with named forms (``--resume``, ``--resume must``)."""
    return hint is bool or bool in typing.get_args(hint)


def from_words(words: Sequence[str], hint: Any, flag: str) -> Any:
    """What was typed for a flag as the type of its field.

    Raises:
        InputError: words that are not of that type.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if is_switch(hint):
        if len(words) > 1:
            raise InputError(f"{flag} takes at most one value, got {' '.join(words)}")
        return _one_of(words[0], {**_forms(args), "no": False}, flag) if words else True
    if origin is tuple:
        return tuple(from_words([word], args[0], flag) for word in words)
    if origin in (types.UnionType, typing.Union):
        return from_words(words, next(a for a in args if a is not type(None)), flag)
    (word,) = words
    if origin is Literal:
        return _one_of(word, {str(choice): choice for choice in args}, flag)
    if hint in (int, float):
        try:
            return hint(word)
        except ValueError:
            wanted = "a whole number" if hint is int else "a number"
            raise InputError(f"{flag} must be {wanted}, got {word!r}") from None
    return hint(word)


def _one_of(value: Any, choices: Mapping[Any, Any], where: str) -> Any:
    if value in choices:
        return choices[value]
    near = get_close_matches(str(value), map(str, choices), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"{where} must be one of {', '.join(map(str, choices))}, got {value!r}{hint}")


def _forms(kinds: Sequence[Any]) -> dict[Any, Any]:
    """The named forms of a switch."""
    return {form: form for kind in kinds for form in typing.get_args(kind)}


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """A JSON or TOML value as the field's type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if bool in args:
        return _one_of(value, {True: True, False: False, **_forms(args)}, where)
    if origin in (types.UnionType, typing.Union):
        inner = next(a for a in args if a is not type(None))
        return None if value is None else _coerce(value, inner, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(typing.cast(type, hint), value)
    if origin is Literal and not isinstance(value, list | dict):
        return _one_of(value, {choice: choice for choice in args}, where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_coerce(v, args[0], where) for v in value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > 1 << 1023:  # beyond what a float holds
            raise InputError(f"{where} is out of range, got a number of {value.bit_length()} bits")
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise InputError(f"{where} must be of type {getattr(hint, '__name__', hint)}, got {value!r}")


_UNITS = {"": 1, "b": 1} | {
    letter + ending: base**power
    for power, letter in enumerate("kmgt", start=1)
    for ending, base in (("", 1000), ("b", 1000), ("ib", 1024))
}


def parse_bytes(text: str, name: str) -> int:
    """``512MB``, ``2 GB``, ``1.5GiB`` or a plain number of bytes; GB is 10^9, GiB is 2^30.

    Args:
        name: of what has that size, for the message.

    Raises:
        InputError: no such size, or less than a byte.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.strip().lower())
    unit = _UNITS.get(found[2]) if found else None
    size = int(float(found[1]) * unit) if found and unit else 0
    if size < 1:
        raise InputError(f"{name} {text!r} is no size; write 512MB, 2GB or 1.5GiB")
    return size


def show_bytes(size: float) -> str:
    """In the unit that suits: ``12.8 GB``, ``350 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"

"""Configs as tyro reads them: forms whose fields take any words; these are checked after all are read."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from fast_nst.errors import InputError
from fast_nst.serialization import aliases_of, flag_name, from_words, is_switch

__all__ = [
    "REGISTRY",
    "Words",
    "checked",
    "defaults_of",
    "filled",
    "flags_of",
    "form_of",
    "is_required",
    "values_of",
]

T = TypeVar("T")
REGISTRY = ConstructorRegistry()


@dataclasses.dataclass(frozen=True)
class Words:
    """What was typed for one flag, not checked yet."""

    words: tuple[str, ...]


def form_of(config: type[Any], *extra: tuple[str, Any, Any]) -> type[Any]:
    """The config as tyro reads it: any words will do for a field, and none of them is checked."""
    hints = typing.get_type_hints(config, include_extras=True)
    fields: list[Any] = []
    for f in dataclasses.fields(config):
        hint: Any = hints[f.name]
        default: Any = f
        if dataclasses.is_dataclass(hint):
            hint = form_of(typing.cast(type, hint))
            default = dataclasses.field(default_factory=hint)
        elif is_required(f):
            default = None
            hint = Annotated[hint | None, tyro.conf.arg(help_behavior_hint="(required)")]
        elif f.default in (None, ()) or (
            is_switch(hint) and hint is not bool
        ):  # its help says what happens without it
            # A default of None that depends on other fields, where the type has no None.
            late = f.default is None and typing.get_origin(hint) is not Annotated
            hint = Annotated[hint | None if late else hint, tyro.conf.arg(help_behavior_hint="")]
        fields.append((f.name, hint, default))
    namespace = {"__post_init__": lambda self: None, "__doc__": config.__doc__}
    return dataclasses.make_dataclass(
        config.__name__, [*fields, *extra], bases=(config,), namespace=namespace, frozen=True
    )


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether a field has no default."""
    return field.default is field.default_factory is dataclasses.MISSING


def defaults_of(config: type[Any]) -> dict[str, Any]:
    """The defaults of a config's fields as they are declared, nested configs as tables.

    An instance would have replaced those that depend on other fields. None where there is no default.
    """
    hints = typing.get_type_hints(config)
    found: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        if dataclasses.is_dataclass(hints[f.name]):
            found[f.name] = defaults_of(typing.cast(type, hints[f.name]))
        else:
            found[f.name] = None if f.default is dataclasses.MISSING else f.default
    return found


def values_of(config: Any) -> dict[str, Any]:
    """The fields of a config, nested configs as tables."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {n: values_of(v) if dataclasses.is_dataclass(v) else v for n, v in values.items()}


def filled(form: type[Any], values: Mapping[str, Any]) -> Any:
    """A form that holds these values; tables become the forms of nested configs."""
    hints = typing.get_type_hints(form)
    return form(
        **{
            name: filled(hints[name], value) if dataclasses.is_dataclass(hints[name]) else value
            for name, value in values.items()
        }
    )


def checked(config: type[T], form: Any) -> T:
    """The config with what was typed, and the defaults for the rest.

    Raises:
        InputError: a value of the wrong kind or out of range, or none where one is required.
    """
    hints, values = typing.get_type_hints(config), dict[str, Any]()
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    if missing := [flag_name(f.name) for f in fields if is_required(f) and getattr(form, f.name) is None]:
        raise InputError(f"{' and '.join(missing)} must be given; --help lists all options")
    for f in fields:
        value, hint = getattr(form, f.name), hints[f.name]
        if isinstance(value, Words):
            value = from_words(value.words, hint, flag_name(f.name))
        elif dataclasses.is_dataclass(hint):
            value = checked(typing.cast(type, hint), value)
        values[f.name] = value
    return config(**values)


def flags_of(config: type[Any]) -> dict[str, tuple[str, Any]]:
    """Every spelling of every flag, nested configs' too: the flag's own name and its type."""
    hints = typing.get_type_hints(config)
    flags: dict[str, tuple[str, Any]] = {"--help": ("--help", bool)}
    for field, aliases in aliases_of(config).items():
        if dataclasses.is_dataclass(hints[field]):
            flags |= flags_of(typing.cast(type, hints[field]))
            continue
        for spelled in () if field == "sources" else (flag_name(field), *aliases):
            flags[spelled] = (flag_name(field), hints[field])
            if is_switch(hints[field]):
                flags["--no-" + spelled.removeprefix("--")] = flags[spelled]
    return flags


@REGISTRY.primitive_rule
def _any_words(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Words for any field but a switch; `checked` says later whether they are of its type."""
    kind, many = info.type, False
    if is_switch(kind) and kind is not bool:
        return _spec("*", _shown_forms(kind))
    if typing.get_origin(kind) in (UnionType, typing.Union):
        kind = next(inner for inner in typing.get_args(kind) if inner is not type(None))
    if typing.get_origin(kind) is tuple:
        kind, many = typing.get_args(kind)[0], True
    if kind in (bool, type(None)) or dataclasses.is_dataclass(kind):
        return None
    if typing.get_origin(kind) is Literal:
        metavar = "{" + ",".join(map(str, typing.get_args(kind))) + "}"
    else:
        metavar = getattr(kind, "__name__", str(kind)).upper()
    return _spec("*", f"{metavar} ...") if many else _spec(1, metavar)


def _shown_forms(switch: Any) -> str:
    """The named forms of a switch, such as ``[must]``."""
    named = [form for kind in typing.get_args(switch) for form in typing.get_args(kind)]
    return f"[{'|'.join(map(str, named))}]"


def _spec(nargs: Literal[1, "*"], metavar: str) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=nargs,
        metavar=metavar,
        instance_from_str=lambda words: Words(tuple(words)),
        is_instance=lambda value: True,
        str_from_instance=_shown,
    )


def _shown(default: Any) -> list[str]:
    """A default as it stands in the help."""
    values = default if isinstance(default, tuple) else () if default is None else (default,)
    return [str(value) for value in values]

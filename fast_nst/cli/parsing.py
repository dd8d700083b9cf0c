"""Configs from command lines: defaults, then the preset, then the file of ``--config``, then the flags.

tyro splits the command line and writes the help. It hands over what was typed as plain words, which are
checked by the code that checks TOML files too: a wrong value is one line with flag, value and limit.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from fast_nst.errors import InputError
from fast_nst.serialization import aliases_of, flag_name, from_dict, from_words, without_aliases

__all__ = ["parse", "parse_one_of", "parse_with_sources"]

T = TypeVar("T")
_registry = ConstructorRegistry()

# What other programs call an option, and what it is called here.
_SYNONYMS = {
    "alpha": "strength",
    "cpu": "device",
    "cuda": "device",
    "epochs": "steps",
    "force": "overwrite",
    "gpu": "device",
    "iterations": "steps",
    "lr": "learning-rate",
    "model": "style",
    "o": "out",
    "output": "out",
    "resolution": "size",
    "style-image": "style",
    "threads": "workers",
    "y": "overwrite",
}


def parse(config: type[T], arguments: Sequence[str], *, prog: str, description: str) -> T:
    """Arguments as a config.

    Raises:
        InputError: an unknown flag, a missing or wrong value, or a ``--config`` file that cannot be used.
        SystemExit: 0 after ``--help``; 2 after a flag without its value, which tyro reports.
    """
    return _parse(config, arguments, prog, description)[1]


def parse_one_of(
    configs: Mapping[str, type[T]], flag: str, arguments: Sequence[str], *, prog: str, description: str
) -> T:
    """As `parse`, for a command whose flags depend on the value of one of them.

    Args:
        configs: by the value of that flag; the first one where neither the command line nor the file of
            ``--config`` gives it.
    """
    field = flag.removeprefix("--").replace("-", "_")
    chosen = _peek(arguments, field, "config")
    name = chosen[field]
    if name is None and (file := chosen["config"]) is not None:
        name = _read_toml(Path(file)).get(field)
    name = next(iter(configs)) if name is None else name
    if name not in configs:
        raise InputError(f"{flag} must be one of {', '.join(configs)}, got {name!r}")
    elsewhere = {
        typed: f"{typed} belongs to {flag} {other}, and this is {flag} {name}; leave it out"
        for other, config in configs.items()
        for typed in _flags(config)
    }
    return _parse(configs[name], arguments, prog, description, elsewhere=elsewhere)[1]


def parse_with_sources(
    config: type[T],
    arguments: Sequence[str],
    *,
    prog: str,
    description: str,
    help: str,
    presets: Mapping[str, Any] | None = None,
) -> tuple[list[str], T]:
    """As `parse`, with sources before, between and after the flags; after ``--`` they may begin with -.

    Args:
        help: of the sources.
        presets: of a config with a field ``preset``: by its value, the objects that hold the defaults.
    """
    return _parse(config, arguments, prog, description, sources=help, presets=presets or {})


def _parse(
    config: type[T],
    arguments: Sequence[str],
    prog: str,
    description: str,
    *,
    sources: str | None = None,
    presets: Mapping[str, Any] | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> tuple[list[str], T]:
    """The words that belong to no flag, and the config."""
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    # After -- a file may begin with a hyphen; with ./ in front it is the same file and no flag.
    after = [f"./{w}" if w.startswith("-") and w != "-" else w for w in arguments[cut + 1 :]]
    arguments = arguments[:cut]
    command = _form(config, *_flags_of_every_command(sources))
    parsed, unknown = tyro.cli(
        command,
        args=arguments,
        prog=prog,
        description=description,
        default=_filled(command, _defaults(config, arguments, presets or {})),
        return_unknown_args=True,
        registry=_registry,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    flags = _flags(command)
    for word in unknown:
        if word.startswith("-") and word != "-":
            raise InputError(_unknown_option(word, flags, elsewhere or {}))
    _check_repeated(arguments, flags)
    found = getattr(parsed, "sources", ())
    words = [*(found.words if isinstance(found, _Words) else ()), *unknown, *after]
    if words and sources is None:
        raise InputError(f"unexpected argument {words[0]!r}; {prog} --help lists what it takes")
    return words, _checked(config, parsed)


@dataclasses.dataclass(frozen=True)
class _Words:
    """What was typed for one flag, not checked yet."""

    words: tuple[str, ...]


def _form(config: type[Any], *extra: tuple[str, Any, Any]) -> type[Any]:
    """The config as tyro reads it: any words will do for a field, and none of them is checked."""
    hints, plain = typing.get_type_hints(config, include_extras=True), typing.get_type_hints(config)
    fields: list[Any] = []
    for f in dataclasses.fields(config):
        hint, default = hints[f.name], f
        if dataclasses.is_dataclass(hint):
            hint = _form(typing.cast(type, hint))
            inner = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            default = dataclasses.field(default_factory=partial(_filled, hint, _values(inner)))
        elif _is_required(f):
            default = dataclasses.field(default=None)
            hint = Annotated[hint | None, tyro.conf.arg(help_behavior_hint="(required)")]
        elif f.default in (None, ()):  # its help says what happens without it
            hint = Annotated[hint, tyro.conf.arg(help_behavior_hint="")]
        if typing.get_origin(plain[f.name]) is tuple:  # given again, it takes more values
            hint = Annotated[hint, tyro.conf.UseAppendAction, tyro.conf.arg(help_behavior_hint=_default_hint)]
        fields.append((f.name, hint, default))
    namespace = {"__post_init__": lambda self: None, "__doc__": config.__doc__}
    return dataclasses.make_dataclass(
        config.__name__, [*fields, *extra], bases=(config,), namespace=namespace, frozen=True
    )


def _flags_of_every_command(sources: str | None) -> list[tuple[str, Any, Any]]:
    """What belongs to a command and not to its config."""
    file = tyro.conf.arg(
        help="settings from a TOML file, such as a run's config.toml; flags override it",
        help_behavior_hint="",
    )
    debug = tyro.conf.arg(help="show the traceback of an error")
    own = [("config", Annotated[Path | None, file], None), ("debug", Annotated[bool, debug], False)]
    if sources is None:
        return own
    named = tyro.conf.arg(metavar="SOURCE", help=sources, help_behavior_hint="")
    return [("sources", Annotated[tuple[str, ...], tyro.conf.Positional, named], ()), *own]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _default_hint(shown: str) -> str:
    return f"(default: {shown})" if shown else ""


def _values(config: Any) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def _filled(form: type[Any], values: Mapping[str, Any]) -> Any:
    """A form that holds these values, nested configs as forms of their own."""
    hints = typing.get_type_hints(form)
    return form(
        **{
            name: _filled(hints[name], _values(value)) if dataclasses.is_dataclass(value) else value
            for name, value in values.items()
        }
    )


def _checked(config: type[T], form: Any) -> T:
    """The config with what was typed, and the defaults for the rest.

    Raises:
        InputError: a value of the wrong kind or out of range, or none where one is required.
    """
    hints, values = typing.get_type_hints(config), dict[str, Any]()
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    if missing := [flag_name(f.name) for f in fields if _is_required(f) and getattr(form, f.name) is None]:
        raise InputError(f"{' and '.join(missing)} must be given; --help lists all options")
    for f in fields:
        value, hint = getattr(form, f.name), hints[f.name]
        typed = [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, _Words)]
        if typed:
            value = from_words([word for one in typed for word in one.words], hint, flag_name(f.name))
        elif dataclasses.is_dataclass(hint):
            value = _checked(typing.cast(type, hint), value)
        values[f.name] = value
    return config(**values)


def _flags(config: type[Any]) -> dict[str, tuple[str, Any]]:
    """Every spelling of every flag, nested configs' too: the flag's own name and its type."""
    hints = typing.get_type_hints(config)
    flags: dict[str, tuple[str, Any]] = {"--help": ("--help", bool)}
    for field, aliases in aliases_of(config).items():
        if dataclasses.is_dataclass(hints[field]):
            flags |= _flags(typing.cast(type, hints[field]))
            continue
        for spelled in () if field == "sources" else (flag_name(field), *aliases):
            flags[spelled] = (flag_name(field), hints[field])
            if hints[field] is bool:
                flags["--no-" + spelled.removeprefix("--")] = flags[spelled]
    return flags


def _spelled(word: str) -> str:
    """The flag in a word such as ``--out_dir=x``, as `_flags` lists it."""
    return word.partition("=")[0].replace("_", "-")


def _unknown_option(word: str, flags: Mapping[str, object], elsewhere: Mapping[str, str]) -> str:
    """The error for a flag that does not exist, with the nearest one that does."""
    typed = word.partition("=")[0]
    if _spelled(word) in elsewhere:
        return elsewhere[_spelled(word)]
    # Without the hyphens, which would make any two of them look alike.
    names = {flag.removeprefix("--"): flag for flag in flags}
    bare = _spelled(word).lstrip("-").lower()
    near = [_SYNONYMS[bare]] if _SYNONYMS.get(bare) in names else get_close_matches(bare, names, n=1)
    hint = f"did you mean {names[near[0]]}?" if near else "--help lists all of them"
    return f"unknown option {typed}; {hint}"


def _check_repeated(arguments: Sequence[str], flags: Mapping[str, tuple[str, Any]]) -> None:
    """Refuse a flag that is given twice, unless it takes several values: one of them would be lost.

    tyro takes no word for a value that is a flag, so every such word is one.
    """
    seen: dict[str, str] = {}
    counted = Counter(flags[_spelled(word)][0] for word in arguments if _spelled(word) in flags)
    for word in arguments:
        if (spelled := _spelled(word)) not in flags:
            continue
        name, hint = flags[spelled]
        if hint is bool and "=" in word:
            raise InputError(f"{spelled} takes no value, got {word!r}; --no-… turns a switch off")
        before = seen.setdefault(name, spelled)
        if hint is bool and before != spelled:
            raise InputError(f"{before} and {spelled} exclude each other; give one")
        if hint is not bool and typing.get_origin(hint) is not tuple and counted[name] > 1:
            raise InputError(f"{name} is given {counted[name]} times; give it once")


def _defaults(config: type[Any], arguments: Sequence[str], presets: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset says, and a file over it; empty if there is neither."""
    chosen = _peek(arguments, "config", "preset")
    file = chosen["config"]
    values, everything = _from_file(config, Path(file)) if file is not None else ({}, {})
    name = chosen["preset"] or values.get("preset")
    preset = presets.get(str(name))  # an unknown name is refused with the other values, later
    if preset is None:
        return everything
    return everything | _values(preset) | values | {"preset": name}


def _peek(arguments: Sequence[str], *names: str) -> dict[str, str | None]:
    """Values of flags that decide the defaults, or the flags, of the rest; None where not given."""
    fields = [(name, str | None, None) for name in names]
    form = dataclasses.make_dataclass("Peek", fields, frozen=True)
    if any(word.startswith("--tyro") for word in arguments):  # its own requests: completions for a shell
        return dict.fromkeys(names)
    found, _ = tyro.cli(form, args=arguments, add_help=False, return_unknown_args=True, registry=_registry)
    return {name: words.words[-1] if (words := getattr(found, name)) else None for name in names}


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read --config {file}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"--config {file} is not TOML: {error}") from None


def _from_file(config: type[Any], file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values that a file holds, and those with all the defaults.

    What it leaves out and has no default stays required on the command line.
    """
    fields = {f.name: f for f in dataclasses.fields(config)}
    try:
        values = without_aliases(config, _read_toml(file))
        missing = [n for n, f in fields.items() if _is_required(f) and n not in values]
        known = from_dict(config, {**values, **dict.fromkeys(missing, "")})
    except InputError as error:
        raise InputError(f"--config {file}: {error}") from None
    found = _values(known)
    return {n: found[n] for n in values}, found | dict.fromkeys(missing)


@_registry.primitive_rule
def _any_words(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Words for any field but a switch; `_checked` says later whether they are of its type."""
    kind, many = info.type, False
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
    return PrimitiveConstructorSpec(
        nargs="*" if many else 1,
        metavar=f"{metavar} ..." if many else metavar,
        instance_from_str=lambda words: _Words(tuple(words)),
        is_instance=lambda value: True,
        str_from_instance=_shown,
    )


def _shown(default: Any) -> list[str]:
    """A default as it stands in the help."""
    values = default if isinstance(default, tuple) else () if default is None else (default,)
    return [str(value) for value in values]

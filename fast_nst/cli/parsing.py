"""Flags from the dataclasses of ``config.py``: defaults, then the file of ``--config``, then those typed."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
import tomllib
import typing
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from fast_nst.errors import InputError
from fast_nst.serialization import from_dict

__all__ = ["parse", "parse_one_of", "parse_with_sources"]

T = TypeVar("T")
_registry = ConstructorRegistry()


def parse(config: type[T], arguments: Sequence[str], *, prog: str, description: str) -> T:
    """Arguments as a config.

    Raises:
        InputError: an unknown flag, a missing or wrong value, or a ``--config`` file that cannot be used.
        SystemExit: 0, after ``--help``.
    """
    command = _command(config)
    _split(arguments, _known_flags(command))  # in one line, what is unknown; the parser wants their order
    return _settings(config, _run(command, config, arguments, prog, description))


def parse_one_of(
    configs: Mapping[str, type[T]], flag: str, arguments: Sequence[str], *, prog: str, description: str
) -> T:
    """As `parse`, for a command whose flags depend on the value of one of them.

    Args:
        configs: by the value of that flag; the first one where neither the command line nor the file of
            ``--config`` gives it.

    Raises:
        InputError: as `parse`; a flag that belongs to another value is told to.
    """
    name = _value_of(flag, f"one of {', '.join(configs)}", arguments)
    if name is None and (file := _value_of("--config", "a file: --config run.toml", arguments)) is not None:
        name = _read_toml(Path(file)).get(flag.removeprefix("--").replace("-", "_"))
    name = next(iter(configs)) if name is None else name
    if name not in configs:
        raise InputError(f"{flag} must be one of {', '.join(configs)}, got {name!r}")
    own = _known_flags(_command(configs[name]))
    for other, config in configs.items():
        for word in arguments:
            typed = word.partition("=")[0].replace("_", "-")
            if typed.startswith("--") and typed not in own and typed in _known_flags(_command(config)):
                raise InputError(
                    f"{typed} belongs to {flag} {other}, and this is {flag} {name}; leave it out"
                )
    return parse(configs[name], arguments, prog=prog, description=description)


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
    flags, after = list(arguments), list[str]()
    if "--" in flags:
        cut = flags.index("--")
        flags, after = flags[:cut], flags[cut + 1 :]
    # The parser would take them for flags; with a ./ in front they name the same files.
    after = [f"./{name}" if name.startswith("-") and name != "-" else name for name in after]
    told = tyro.conf.arg(metavar="SOURCE", help=help, help_behavior_hint="")
    source = ("sources", Annotated[tuple[str, ...], tyro.conf.Positional, told], ())
    command = _command(config, source)
    before, flags = _split(flags, _known_flags(command))
    parsed = _run(command, config, [*before, *after, *flags], prog, description, presets or {})
    return list(parsed.sources), _settings(config, parsed)


MANY = 2


def _known_flags(command: type[Any]) -> dict[str, int]:
    """Every flag of a command, nested configs' too, and how many values may follow it: 0, 1, or MANY."""
    hints, known = typing.get_type_hints(command), {"--help": 0}
    for field in dataclasses.fields(command):
        hint, name = hints[field.name], field.name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            known |= _known_flags(typing.cast(type, hint))
        elif hint is bool:
            known |= {f"--{name}": 0, f"--no-{name}": 0}
        elif name != "sources":
            known[f"--{name}"] = MANY if typing.get_origin(hint) is tuple else 1
    return known


def _split(arguments: Sequence[str], known: dict[str, int]) -> tuple[list[str], list[str]]:
    """The words that belong to no flag, and the flags with their values; MANY end at the next flag."""
    words: list[str] = []
    flags: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-", "-h") or not word.startswith("-"):
            (flags if word == "-h" else words).append(word)
            continue
        typed, equals, _ = word.partition("=")
        name = typed.replace("_", "-")
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "--help lists all of them"
            raise InputError(f"unknown option {typed}; {hint}")
        flags.append(word)
        if known[name] and not equals:
            if not rest:
                raise InputError(f"{name} needs a value; --help says which")
            flags.append(rest.pop(0))
            while known[name] == MANY and rest and not rest[0].startswith("-"):
                flags.append(rest.pop(0))
    return words, flags


def _command(config: type[Any], *extra: tuple[str, Any, Any]) -> type[Any]:
    """The config with the flags that belong to the command and not to the job."""
    hints = typing.get_type_hints(config, include_extras=True)
    untold = tyro.conf.arg(help_behavior_hint="")  # their help says what happens without them
    fields: list[Any] = [
        (f.name, Annotated[hints[f.name], untold], f) for f in dataclasses.fields(config) if f.default is None
    ]
    file = tyro.conf.arg(
        help="settings from a TOML file, such as a run's config.toml; flags override it",
        help_behavior_hint="",
    )
    fields += [*extra, ("config", Annotated[Path | None, file], None)]
    fields += [("debug", Annotated[bool, tyro.conf.arg(help="show the traceback of an error")], False)]
    # Values are checked when the config itself is made, so that the error is ours, in one line.
    unchecked = {"__post_init__": lambda self: None}
    return dataclasses.make_dataclass(
        config.__name__, fields, bases=(config,), namespace=unchecked, frozen=True
    )


def _run(
    command: type[Any],
    config: type[Any],
    arguments: Sequence[str],
    prog: str,
    description: str,
    presets: Mapping[str, Any] | None = None,
) -> Any:
    defaults = _defaults(config, arguments, presets or {})
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return tyro.cli(
                command,
                args=arguments,
                prog=prog,
                description=description,
                default=command(**defaults) if defaults else tyro.MISSING_NONPROP,
                registry=_registry,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as end:
        if not end.code:
            raise
    raise InputError(f"{_reason(told.getvalue())}; {prog} --help lists all options")


def _reason(box: str) -> str:
    """What the parser's box says between its title and its first rule, in one line."""
    title, *lines = [line.strip(" │╭╮╰╯─") for line in box.splitlines()] or [""]
    # Where stdout has no UTF-8 there is a rule under the title, and rules are made of hyphens.
    rows = itertools.dropwhile(_is_rule, lines)
    said = " ".join(itertools.takewhile(lambda row: not _is_rule(row), rows)).removesuffix(".")
    if title == "Required options":
        return f"{' and '.join(re.findall(r'--[a-z-]+ [A-Z]+', said))} must be given"
    said = said.removeprefix("Error parsing ").removeprefix("loss: ")
    return said or title or "the command line cannot be understood"


def _is_rule(row: str) -> bool:
    return not row.strip("-")


def _settings(config: type[T], parsed: Any) -> T:
    return config(**{f.name: getattr(parsed, f.name) for f in dataclasses.fields(config)})  # type: ignore[arg-type]


def _defaults(config: type[Any], arguments: Sequence[str], presets: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset says, and a file over it; empty if there is neither."""
    file = _value_of("--config", "a file: --config run.toml", arguments)
    told = _from_file(config, Path(file)) if file is not None else ({}, {})
    values, everything = told
    name = _value_of("--preset", "a name", arguments) or values.get("preset")
    # An unknown name is left to the parser, which lists the known ones.
    chosen = presets.get(str(name))
    if chosen is None:
        return everything
    own = {f.name: getattr(chosen, f.name) for f in dataclasses.fields(chosen)}
    return everything | own | values | {"preset": name}


def _value_of(flag: str, kind: str, arguments: Sequence[str]) -> str | None:
    """The value of a flag that is wanted before the rest is parsed, since it decides the defaults."""
    for i, word in enumerate(arguments):
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
        if word == flag:
            if i + 1 == len(arguments):
                raise InputError(f"{flag} needs {kind}")
            return arguments[i + 1]
    return None


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
    values = _read_toml(file)
    missing = [
        f.name
        for f in dataclasses.fields(config)
        if f.default is f.default_factory is dataclasses.MISSING and f.name not in values
    ]
    try:
        known = from_dict(config, {**values, **dict.fromkeys(missing, "")})
    except InputError as error:
        raise InputError(f"--config {file}: {error}") from None
    found = {f.name: getattr(known, f.name) for f in dataclasses.fields(config)}
    return {name: found[name] for name in values}, found | dict.fromkeys(missing, tyro.MISSING)


@_registry.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """``int | None`` reads as an INT that may be left out, not as {None}|INT."""
    union = typing.get_origin(info.type) in (UnionType, typing.Union)
    inner = [kind for kind in typing.get_args(info.type) if kind is not type(None)]
    if not union or len(inner) != 1:
        return None
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(inner[0], info.markers))
    if not isinstance(spec, PrimitiveConstructorSpec):
        return None
    return dataclasses.replace(
        spec,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: [] if value is None else spec.str_from_instance(value),
    )


@_registry.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Numbers, refused in words that say what was wanted."""
    if info.type not in (int, float):
        return None
    kind, wanted = info.type, "a whole number" if info.type is int else "a number"

    def read(words: list[str]) -> Any:
        try:
            return kind(words[0])
        except ValueError:
            raise ValueError(f"{words[0]!r} is not {wanted}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, int | kind) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )

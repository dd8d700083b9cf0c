"""Configs from command lines: defaults, then the preset, then the file of ``--config``, then the flags.

tyro splits the command line and writes the help. It hands over what was typed as plain words, which are
checked by the code that checks TOML files too: a wrong value is one line with flag, value and limit.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from fast_nst.cli.forms import (
    REGISTRY,
    Words,
    checked,
    defaults_of,
    filled,
    flags_of,
    form_of,
    is_required,
    values_of,
)
from fast_nst.errors import InputError
from fast_nst.serialization import from_dict, is_switch, without_aliases

__all__ = ["parse", "parse_one_of", "parse_with_sources"]

T = TypeVar("T")

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
        for typed in flags_of(config)
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
    command = form_of(config, *_flags_of_every_command(sources))
    flags = flags_of(command)
    if not {"-h", "--help"} & set(arguments):
        _check_flags(arguments, flags)
    arguments = [_positive(word, flags) for word in arguments]
    parsed, unknown = tyro.cli(
        command,
        args=arguments,
        prog=prog,
        description=description,
        default=filled(command, _defaults(config, arguments, presets or {})),
        return_unknown_args=True,
        registry=REGISTRY,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    for word in unknown:
        if word.startswith("-") and word != "-":
            raise InputError(_unknown_option(word, flags, elsewhere or {}))
    found = getattr(parsed, "sources", ())
    words = [*(found.words if isinstance(found, Words) else ()), *unknown, *after]
    if words and sources is None:
        raise InputError(f"unexpected argument {words[0]!r}; {prog} --help lists what it takes")
    return words, checked(config, parsed)


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


def _spelled(word: str) -> str:
    """The flag in a word such as ``--out_dir=x``, as `flags_of` lists it."""
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


def _check_flags(arguments: Sequence[str], flags: Mapping[str, tuple[str, Any]]) -> None:
    """Refuse flags that lack their value, and those given twice: what is given first would be lost.

    No flag is ever another one's value, so that every word that is a flag can be taken for one.
    """
    seen: dict[str, str] = {}
    for word, following in zip(arguments, [*arguments[1:], "--help"], strict=False):
        if (spelled := _spelled(word)) not in flags:
            continue
        name, hint = flags[spelled]
        if is_switch(hint):
            if (before := seen.get(name, spelled)) != spelled:
                raise InputError(f"{before} and {spelled} exclude each other; give one")
            if hint is not bool and name in seen:
                raise InputError(f"{name} is given twice; give it once")
            if "=" in word and (hint is bool or spelled != name):
                raise InputError(f"{spelled} takes no value, got {word!r}; --no-… turns a switch off")
        elif name in seen:
            once = f"give its values after one {name}" if typing.get_origin(hint) is tuple else "give it once"
            raise InputError(f"{name} is given twice; {once}")
        elif "=" not in word and _spelled(following) in flags and typing.get_origin(hint) is not tuple:
            raise InputError(f"{spelled} needs a value; --help says which")
        seen[name] = spelled


def _positive(word: str, flags: Mapping[str, tuple[str, Any]]) -> str:
    """``--no-resume`` as ``--resume=no``: tyro knows no opposite of a switch that may have a value."""
    name, hint = flags.get(_spelled(word), (word, bool))
    opposite = _spelled(word).startswith("--no-") and hint is not bool and is_switch(hint)
    return f"{name}=no" if opposite else word


def _defaults(config: type[Any], arguments: Sequence[str], presets: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset says, and a file over it; empty if there is neither."""
    chosen = _peek(arguments, "config", "preset")
    file = chosen["config"]
    values, everything = _from_file(config, Path(file)) if file is not None else ({}, {})
    name = chosen["preset"] or values.get("preset")
    preset = presets.get(str(name))  # an unknown name is refused with the other values, later
    if preset is None:
        return everything
    return everything | values_of(preset) | values | {"preset": name}


def _peek(arguments: Sequence[str], *names: str) -> dict[str, str | None]:
    """Values of flags that decide the defaults, or the flags, of the rest; None where not given."""
    fields = [(name, str | None, None) for name in names]
    form = dataclasses.make_dataclass("Peek", fields, frozen=True)
    if any(word.startswith("--tyro") for word in arguments):  # its own requests: completions for a shell
        return dict.fromkeys(names)
    found: Any
    found, _ = tyro.cli(form, args=arguments, add_help=False, return_unknown_args=True, registry=REGISTRY)
    return {name: words.words[-1] if (words := getattr(found, name)) else None for name in names}


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read --config {file}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"--config {file} is not TOML: {error}") from None


def _from_file(config: type[Any], file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values that a file holds, and those over all the defaults.

    What it leaves out and has no default stays required on the command line.
    """
    fields = {f.name: f for f in dataclasses.fields(config)}
    try:
        values = without_aliases(config, _read_toml(file))
        missing = [n for n, f in fields.items() if is_required(f) and n not in values]
        known = from_dict(config, {**values, **dict.fromkeys(missing, "")})
    except InputError as error:
        raise InputError(f"--config {file}: {error}") from None
    given = _given(config, known, values)
    return given, _over(defaults_of(config), given)


def _given(config: type[Any], known: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a table gives, by their names and checked, those of nested tables too."""
    hints = typing.get_type_hints(config)
    return {
        name: _given(hints[name], getattr(known, name), value)
        if dataclasses.is_dataclass(hints[name])
        else getattr(known, name)
        for name, value in without_aliases(config, values).items()
    }


def _over(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with what is given in their place, in nested tables too."""
    return {
        n: _over(v, given.get(n, {})) if isinstance(v, Mapping) else given.get(n, v)
        for n, v in defaults.items()
    }

"""Turns the configuration file into defaults for the options of the command that runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import click

from instance_tool.configuration.config_file import ConfigFile
from vsock_wire.errors import InputError, quoted

CHOSEN_ELSEWHERE = frozenset({"cid", "enclave", "enclave-name", "profile", "region"})
"""Names for which environment variables come before the file; the settings of the command read them."""


def option_defaults(config: ConfigFile, group: click.Group, ctx: click.Context, name: str) -> dict[str, Any]:
    """Return the defaults for the options of a command, as ``default_map`` of click's context takes them.

    Names of options of other commands are allowed and ignored.

    Args:
        config: the configuration file.
        group: the program's commands.
        ctx: the program's context.
        name: the name of the command.

    Raises:
        InputError: no command has an option of a name in the file, or the value does not fit the option.
    """
    command = group.get_command(ctx, name)
    options = dict(_options(group)) | dict(_options(command))
    if unknown := [key for key in config.values if key not in options]:
        _refuse_unknown(config, group, ctx, unknown)
    return _defaults(config, command, ctx)


def _defaults(config: ConfigFile, command: click.Command | None, ctx: click.Context) -> dict[str, Any]:
    own = {key: option for key, option in _options(command) if key in config.values and key not in CHOSEN_ELSEWHERE}
    defaults = {option.name or key: _value(config, key, option, ctx) for key, option in own.items()}
    if isinstance(command, click.Group):
        defaults |= {name: _defaults(config, inner, ctx) for name, inner in command.commands.items()}
    return {name: value for name, value in defaults.items() if value is not None}


def _options(command: click.Command | None) -> Iterator[tuple[str, click.Option]]:
    """Yield the options of a command, and of the commands in it, each under its long name without the dashes."""
    for option in command.params if command is not None else ():
        long_name = next((flag for flag in option.opts if flag.startswith("--")), "")
        if isinstance(option, click.Option) and long_name and not option.is_eager:  # as --help and --version are
            yield long_name.removeprefix("--"), option
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _options(inner)


def _refuse_unknown(config: ConfigFile, group: click.Group, ctx: click.Context, unknown: list[str]) -> None:
    """Raise InputError for a name that no command has as an option."""
    known = {key for name in group.list_commands(ctx) for key, _ in _options(group.get_command(ctx, name))}
    for name in unknown:
        if name not in known:
            nearest = difflib.get_close_matches(name.lower().replace("_", "-"), sorted(known), n=1)
            guess = f'did you mean "{nearest[0]}"?' if nearest else None
            raise InputError(
                f"{config.path}: no such option: {quoted(name)}",
                hint=guess or "the names are those of the flags, without the dashes",
            )


def _value(config: ConfigFile, key: str, option: click.Option, ctx: click.Context) -> Any:
    """Return a value that fits the option; None if it is a choice that only other commands have."""
    value = config.values[key]
    is_scalar = isinstance(value, str | int | float)
    if option.is_flag or option.count:
        kind = bool if option.is_flag else int
        if not isinstance(value, kind) or (option.count and isinstance(value, bool)):
            raise _misfit(config, key, "true or false" if option.is_flag else "a number")
        return value
    items = value if isinstance(value, list) and option.multiple else [value]
    if isinstance(value, Mapping) or not all(isinstance(item, str | int | float) for item in items):
        raise _misfit(config, key, "text or a number")
    if any(isinstance(item, bool) for item in items):
        raise _misfit(config, key, "text or a number")
    if isinstance(option.type, click.Choice) and is_scalar and str(value) not in option.type.choices:
        return None
    try:
        for item in items:
            option.type.convert(item if isinstance(item, str) else str(item), option, ctx)
    except (click.BadParameter, InputError, ValueError) as error:
        text = error.message if isinstance(error, click.BadParameter) else str(error)
        raise InputError(f"{config.path}: {key}: {text[:1].lower()}{text[1:].rstrip('.')}") from None
    texts = [item if isinstance(item, str) else str(item) for item in items]
    return texts if option.multiple else texts[0]


def _misfit(config: ConfigFile, key: str, expected: str) -> InputError:
    return InputError(f"{config.path}: {key}: expected {expected}")

"""Typed settings for a command: turns the untyped values of a command line into the fields of one object.

A command has one settings class. Each field has the name of one of the command's options. Options that several
commands share have a class of their own, from which the command's class inherits::

    class FetchSettings(ConnectionSettings):
        length: int | None

    @click.command()
    @with_settings(FetchSettings, *CONNECTION_OPTIONS, click.option("--length", type=int))
    def fetch(settings: FetchSettings) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar, dataclass_transform

_Settings = TypeVar("_Settings")
_Rest = ParamSpec("_Rest")
Option = Callable[[Any], Any]
"""What ``click.option`` and ``click.argument`` return."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Settings:
    """Base class of settings. Type checkers treat a subclass as a frozen dataclass with keyword-only fields.

    It is not a real dataclass, because ``dataclass`` compiles the methods of each class at import. That takes 0.4 ms
    per class, and a command whose start-up time matters would wait for several.
    """

    def __init__(self, **values: Any) -> None:
        names = field_names(type(self))
        if values.keys() != set(names):
            raise TypeError(f"{type(self).__name__}: expected {', '.join(names)}, got {', '.join(values)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        raise AttributeError(f"cannot assign to field {name!r}")


def field_names(settings: type) -> list[str]:
    """Return the field names of a settings class, inherited fields first."""
    return [name for base in reversed(settings.__mro__) for name in inspect.get_annotations(base)]


def with_settings(
    settings: type[_Settings], *options: Option
) -> Callable[[Callable[Concatenate[_Settings, _Rest], None]], Callable[..., None]]:
    """Return a decorator that gives a command ``options``, in this order, and passes their values to it as settings.

    Args:
        settings: a dataclass, or a subclass of Settings; each field has the name of one of the options.
        options: the command's options and arguments.
    """
    names = field_names(settings)

    def decorate(function: Callable[Concatenate[_Settings, _Rest], None]) -> Callable[..., None]:
        perform: Callable[..., None] = function

        @functools.wraps(function)
        def command(**values: Any) -> None:
            perform(settings(**{name: values.pop(name) for name in names}), **values)

        for option in reversed(options):
            option(command)
        return command

    return decorate

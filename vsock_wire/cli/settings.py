"""Typed settings for a command: where a command line's untyped values become the fields of one object.

A command has one class of settings. Each of its fields is the name of one of the command's options. Options that
several commands share have a class of their own, which the class of a command inherits::

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
    """Base class of settings. To type checkers, a subclass is a frozen dataclass with keyword-only fields.

    It is no dataclass, because ``dataclass`` compiles the methods of each class when it is imported. That takes 0.4 ms
    for a class, and a command whose start-up time matters would wait for several.
    """

    def __init__(self, **values: Any) -> None:
        names = field_names(type(self))
        if values.keys() != set(names):
            raise TypeError(f"{type(self).__name__}: expected {', '.join(names)}, got {', '.join(values)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        raise AttributeError(f"cannot assign to field {name!r}")


def field_names(settings: type) -> list[str]:
    """Return the names of the fields of a class of settings, those that it inherits first."""
    return [name for base in reversed(settings.__mro__) for name in inspect.get_annotations(base)]


def with_settings(
    settings: type[_Settings], *options: Option
) -> Callable[[Callable[Concatenate[_Settings, _Rest], None]], Callable[..., None]]:
    """Return a decorator that gives a command ``options``, in this order, and hands it the settings they amount to.

    Args:
        settings: a dataclass, or a subclass of Settings; each of its fields is the name of one of the options.
        options: what the command takes.
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

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from vsock_wire.cli import shared_options
from vsock_wire.cli.shared_options import ENCRYPTION_CONTEXT, KEY_ID, VERBOSE, SharedOption, with_options
from vsock_wire.errors import InputError

EVERY_OPTION = {name: value for name, value in vars(shared_options).items() if isinstance(value, SharedOption)}


def values_of(arguments: list[str], *options: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the arguments with which a command with ``options`` is called."""

    @click.command()
    @with_options(options)
    def command(**values: Any) -> dict[str, Any]:
        return values

    values: dict[str, Any] = command(arguments, standalone_mode=False)
    return values


@pytest.mark.parametrize("name", EVERY_OPTION)
def test_click_takes_every_option_and_it_has_its_help(name: str) -> None:
    @click.command()
    @EVERY_OPTION[name].declare(click.option)
    def command(**_: Any) -> None: ...

    (option,) = command.params
    assert isinstance(option, click.Option)
    assert [*option.opts] == [flag for flag in EVERY_OPTION[name].names if flag.startswith("-")]
    assert option.help


def test_change_affects_only_the_option_declared_with_it() -> None:
    with pytest.raises(click.MissingParameter):
        values_of([], KEY_ID.declare(click.option, required=True))
    assert values_of([], KEY_ID.declare(click.option)) == {"key_id": None}


def test_options_are_listed_in_the_order_of_their_groups() -> None:
    @click.command()
    @with_options(
        (KEY_ID.declare(click.option), VERBOSE.declare(click.option)), (ENCRYPTION_CONTEXT.declare(click.option),)
    )
    def command(**_: Any) -> None: ...

    assert [option.name for option in command.params] == ["key_id", "verbose", "encryption_context"]


class TestEncryptionContext:
    def test_entries_are_gathered(self) -> None:
        arguments = ["--encryption-context", "a=1", "--encryption-context", "b=x=y"]
        assert values_of(arguments, ENCRYPTION_CONTEXT.declare(click.option)) == {
            "encryption_context": (("a", "1"), ("b", "x=y"))
        }

    @pytest.mark.parametrize("entry", ["a", "=1", ""])
    def test_malformed_entry_is_a_usage_error_that_names_option_and_form(self, entry: str) -> None:
        with pytest.raises(click.UsageError) as caught:
            values_of(["--encryption-context", entry], ENCRYPTION_CONTEXT.declare(click.option))
        assert caught.value.format_message() == (
            f"Invalid value for '--encryption-context': expected NAME=VALUE, got \"{entry}\""
        )


@pytest.mark.parametrize("name", ["KEY_ID", "ENCRYPTION_ALGORITHM", "ENCRYPTION_CONTEXT", "GRANT_TOKEN"])
def test_text_that_cannot_be_sent_is_refused(name: str) -> None:
    option = EVERY_OPTION[name]
    with pytest.raises(InputError, match=r"^argument: expected UTF-8 text"):
        values_of([option.names[0], "a=\udcff"], option.declare(click.option))

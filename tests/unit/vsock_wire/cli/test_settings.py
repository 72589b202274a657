from __future__ import annotations

from dataclasses import dataclass

import click
import pytest

from vsock_wire.cli.settings import Settings, field_names, with_settings

LENGTH = click.option("--length", type=int)


class Group(Settings):
    name: str
    verbose: int


class Own(Group):
    length: int | None


def test_fields_of_all_classes_are_listed_inherited_ones_first() -> None:
    @dataclass
    class Plain:
        first: int

    assert field_names(Own) == ["name", "verbose", "length"]
    assert field_names(Plain) == ["first"]


def test_settings_are_frozen_and_show_no_value() -> None:
    settings = Own(name="theSecret", verbose=1, length=None)
    assert (settings.name, settings.verbose, settings.length) == ("theSecret", 1, None)
    with pytest.raises(AttributeError, match="cannot assign to field 'name'"):
        settings.name = "other"  # type: ignore[misc] # that is what is tested
    assert "theSecret" not in repr(settings)


@pytest.mark.parametrize("values", [{"name": "x"}, {"name": "x", "verbose": 1, "length": 2, "more": 3}])
def test_field_that_is_missing_or_unknown_is_a_type_error(values: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"^Own: expected name, verbose, length, got "):
        Own(**values)  # type: ignore[arg-type] # that is what is tested


def test_command_gets_its_settings_and_has_the_options_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @with_settings(Own, click.argument("name"), click.option("-v", "--verbose", count=True), LENGTH)
    def show(settings: Own) -> None:
        """Show them."""
        click.echo(f"{settings.name} {settings.verbose} {settings.length}")

    assert [option.name for option in show.params] == ["name", "verbose", "length"]
    assert (show.name, show.help) == ("show", "Show them.")
    show(args=["x", "-vv", "--length", "3"], standalone_mode=False)
    assert capsys.readouterr().out == "x 2 3\n"


def test_option_without_a_field_is_passed_as_a_separate_argument(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @with_settings(Group, click.argument("name"), click.option("-v", "--verbose", count=True), LENGTH)
    def show(settings: Group, *, length: int | None) -> None:
        click.echo(f"{settings.name} {length}")

    show(args=["x", "--length", "3"], standalone_mode=False)
    assert capsys.readouterr().out == "x 3\n"

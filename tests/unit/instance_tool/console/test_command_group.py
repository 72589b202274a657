from __future__ import annotations

import click
import pytest

from instance_tool.console.command_group import CommandGroup

FLAG = click.option("--flag", is_flag=True)
TEXT = click.option("--text", type=str)
MANY = click.option("--many", multiple=True)
COUNT = click.option("-v", count=True)


def program(default: str | None = None) -> CommandGroup:
    """Return a group whose commands ``show`` and ``nested show`` print their options; ``flagless`` lacks --flag."""

    class Group(CommandGroup):
        default_command = default

    @click.group(cls=Group)
    @FLAG
    @TEXT
    @MANY
    @COUNT
    def top(**_options: object) -> None:
        pass

    @top.group(cls=CommandGroup, invoke_without_command=True)
    @FLAG
    def nested(*, flag: bool) -> None:
        if click.get_current_context().invoked_subcommand is None:
            click.echo(f"nested {flag}")

    def show(*, flag: bool, text: str | None, many: tuple[str, ...], v: int, words: tuple[str, ...]) -> None:
        click.echo(f"{flag} {text} {','.join(many)} {v} {','.join(words)}")

    for group in (top, nested):
        shown = click.command("show")(click.argument("words", nargs=-1)(FLAG(TEXT(MANY(COUNT(show))))))
        group.add_command(shown)
    top.add_command(click.command("flagless")(TEXT(click.echo)))
    return top


def run(arguments: str, capsys: pytest.CaptureFixture[str], default: str | None = None) -> str:
    program(default)(args=arguments.split(), prog_name="tool", standalone_mode=False)
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("show", "False None  0"),
        ("--flag --text a show", "True a  0"),
        ("show --flag --text a", "True a  0"),
        ("--text a show --text b", "False b  0"),
        ("--many a -v show --many b -vv", "False None a,b 3"),
        ("--text=a -vv -- show w", "False a  2 w"),
        ("--text show show w", "False show  0 w"),
        ("nested show --text a", "False a  0"),
        ("--text a nested show", "False a  0"),
        ("nested --flag show w", "True None  0 w"),
        ("nested --flag", "nested True"),
        ("--flag nested", "nested True"),
        ("nested", "nested False"),
    ],
)
def test_options_on_either_side_of_the_name_reach_the_command(
    arguments: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, capsys) == shown


@pytest.mark.parametrize("arguments", ["", "--text a", "--text a --"])
def test_default_command_gets_the_options_too(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments, capsys, "show") == f"False {'a' if arguments else None}  0"


@pytest.mark.parametrize("arguments", ["--flag flagless", "flagless --flag", "--text a nested"])
def test_option_that_the_command_does_not_have_is_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.NoSuchOption):
        run(arguments, capsys)


@pytest.mark.parametrize(("arguments", "error"), [("--nope show", click.NoSuchOption), ("", click.UsageError)])
def test_unknown_option_and_missing_command_are_refused(
    arguments: str, error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error):
        run(arguments, capsys)


def test_help_before_a_name_shows_the_help_of_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help show", capsys).startswith("Usage: tool [OPTIONS] COMMAND [ARGS]...")


def test_mistyped_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.NoSuchCommand) as caught:
        run("shw", capsys)
    assert caught.value.possibilities == ["show"]

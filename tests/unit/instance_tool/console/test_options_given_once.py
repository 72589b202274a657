"""Options that may be given once."""

from __future__ import annotations

import click
import pytest

from instance_tool.console.options import option_once
from vsock_wire.errors import InputError


@click.command()
@option_once("--root", metavar="FILE", help="A file.")
@option_once("--age", "age_s", type=int, default=5, show_default=True)
@option_once("-p", "--policy", required=True)
def _show(root: str | None, age_s: int, policy: str) -> None:
    click.echo(f"{root} {age_s} {policy}")


def _run(*arguments: str) -> None:
    _show(args=list(arguments), prog_name="show", standalone_mode=False)


def test_one_value_or_the_default_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    _run("--policy", "a")
    _run("--root", "r", "--age=7", "-p", "b")
    assert capsys.readouterr().out == "None 5 a\nr 7 b\n"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--root", "r", "--root", "r"], "--root"),
        (["--age", "5", "--age", "6"], "--age"),
        (["-p", "b", "--policy=c"], "-p"),
    ],
)
def test_second_value_is_refused_by_the_options_name(arguments: list[str], name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} can be given only once$"):
        _run("--policy", "a", *arguments)


def test_type_and_requirement_hold() -> None:
    with pytest.raises(click.BadParameter, match="valid integer"):
        _run("--policy", "a", "--age", "x")
    with pytest.raises(click.MissingParameter):
        _run("--root", "r")


def test_help_shows_one_value_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    _run("--help")
    out = capsys.readouterr().out
    assert "--root FILE" in out
    assert "[default: 5]" in out

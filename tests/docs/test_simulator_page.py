"""docs/reference/simulator.md names the commands, variables and fixtures that the simulator has."""

from __future__ import annotations

import re

import click

from nitro_simulator import SimulatedAccount
from nitro_simulator.cli import COMMANDS, command
from nitro_simulator.deployment.environment import deployment_variables
from nitro_simulator.pytest_plugin import fixtures
from tests.support.project.doc_blocks import ROOT

TEXT = (ROOT / "docs/reference/simulator.md").read_text("utf-8")


def first_cells(head: str) -> list[str]:
    """Return the code in the first column of the table with this heading."""
    table = TEXT.partition(f"\n| {head} | ")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    return [name for cell in cells for name in re.findall("`([^`]+)`", cell)]


def test_commands() -> None:
    assert [name.split()[:2] for name in first_cells("Command")] == [
        ["kmstool-sim", name] for name in ("demo", "up", "run")
    ]
    assert {"demo", "up", "run"} == set(COMMANDS)


def test_variables() -> None:
    with SimulatedAccount() as account:
        assert set(first_cells("Variable")) == deployment_variables(account).keys()


def test_fixtures() -> None:
    assert first_cells("Fixture") == [name for name in vars(fixtures) if name.startswith("kmstool_")]


def test_options() -> None:
    run = command.get_command(click.Context(command), "run")
    assert run is not None
    options = {name for parameter in run.params for name in parameter.opts}
    named = [name.split()[0] for name in first_cells("Option")]
    assert len(named) == 4
    assert set(named) <= options
    assert {"--fail", "--region", "--replica-region"} <= options & set(re.findall("--[a-z-]+", TEXT))

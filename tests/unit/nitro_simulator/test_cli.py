"""kmstool-sim: its commands, and what its help loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import nitro_simulator.commands
from nitro_simulator.cli import COMMANDS, command
from vsock_wire.errors import InputError

HEAVY = ("boto3", "botocore", "cbor2", "cryptography", "pyasn1", "urllib3")


def test_every_module_in_commands_has_the_command_with_its_name() -> None:
    folder = Path(nitro_simulator.commands.__file__).parent
    assert sorted(COMMANDS) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    context = click.Context(command)
    for name in COMMANDS:
        loaded = command.get_command(context, name)
        assert loaded is not None
        assert (loaded.name, loaded.callback.__module__) == (name, f"nitro_simulator.commands.{name}")


def test_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(command, ["downn"])
    assert result.exit_code == 2
    assert "No such command 'downn'" in result.output


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "x"])
def test_lifetime_that_is_not_a_number_of_seconds_is_refused(seconds: str) -> None:
    result = CliRunner().invoke(command, ["up", "--credentials-lifetime", seconds])
    assert isinstance(result.exception, InputError | SystemExit)
    assert result.exit_code != 0


@pytest.mark.parametrize("arguments", [("--help",), ("demo", "--help"), ("run", "--help"), ("up", "--help")])
def test_help_loads_no_library_but_click(arguments: tuple[str, ...]) -> None:
    program = (
        f"import sys; sys.argv[1:] = {arguments!r}\nimport atexit; from nitro_simulator.cli import main\n"
        f"atexit.register(lambda: print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr))\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == "[]\n"

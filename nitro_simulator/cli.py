"""kmstool-sim: what a person without Nitro hardware needs to run and try everything."""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from vsock_wire.cli.program import run_program
from vsock_wire.version import version_text

PROGRAM = "kmstool-sim"
COMMANDS = ("demo", "run", "up")
"""Each is a function of that name in the module of that name."""


class _Commands(click.Group):
    """Loads a command when it is asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        loaded: click.Command = getattr(importlib.import_module(f"nitro_simulator.commands.{name}"), name)
        return loaded


@click.group(PROGRAM, cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(version_text(), prog_name=PROGRAM)
def command() -> None:
    """Stand-ins for what only AWS has, to run kmstool without Nitro hardware.

    A Nitro Security Module that signs real attestation documents, a KMS that
    verifies them and enforces key policies, and IMDSv2. All keys are made at
    the start and thrown away at the end; no real secret belongs in here.

    \b
    Examples:
      kmstool-sim demo
      kmstool-sim run sh
    """  # noqa: D301 - \b is click's mark for text not to rewrap


def main() -> NoReturn:
    """Run kmstool-sim."""
    run_program(PROGRAM, command, click.ClickException)

"""kmstool-sim: runs everything on a machine without Nitro hardware."""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from vsock_wire.cli.logs import LOG_FORMATS, set_up_logging
from vsock_wire.cli.program import run_program
from vsock_wire.cli.shared_options import LOG_FORMAT
from vsock_wire.version import version_text

PROGRAM = "kmstool-sim"
COMMANDS = ("demo", "run", "up")
"""Each is a function with that name in the module with that name."""


class _Commands(click.Group):
    """Loads a command when it is needed."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        loaded: click.Command = getattr(importlib.import_module(f"nitro_simulator.commands.{name}"), name)
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)


@click.group(PROGRAM, cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(version_text(), prog_name=PROGRAM)
@LOG_FORMAT.declare(click.option, type=click.Choice(LOG_FORMATS))
def command(log_format: str) -> None:
    """Run kmstool without Nitro hardware and without an AWS account.

    Simulates a Nitro Security Module that signs real attestation documents,
    a KMS that verifies them and enforces key policies, and IMDSv2. All keys
    are created at startup and discarded at the end: do not use real secrets.

    \b
    Examples:
      kmstool-sim demo
      kmstool-sim run sh
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    set_up_logging("nitro_simulator", verbosity=1, log_format=log_format)


def main() -> NoReturn:
    """Run kmstool-sim."""
    run_program(PROGRAM, command, click.ClickException)

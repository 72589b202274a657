"""kmstool-eif: the command line tool for enclave image files."""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from instance_tool.console.command_group import SuggestingGroup
from vsock_wire.cli.logs import LOG_FORMATS, set_up_logging
from vsock_wire.cli.program import run_program
from vsock_wire.cli.shared_options import LOG_FORMAT
from vsock_wire.version import version_text

PROGRAM = "kmstool-eif"
COMMANDS = ("build", "describe", "diff", "extract", "measure", "policy")
"""Each command is a function in the module of the same name in ``instance_tool.eif``, loaded when the command runs."""


class _Commands(SuggestingGroup):
    """The commands, loaded on demand."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"instance_tool.eif.{name}"), name)
        return command


@click.group(
    PROGRAM,
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(version_text(), prog_name=PROGRAM)
@LOG_FORMAT.declare(click.option, type=click.Choice(LOG_FORMATS))
def command(log_format: str) -> None:
    """Build, measure and compare enclave image files (EIF) on any machine.

    Needs neither an enclave nor AWS nor Docker. The measurements of an image
    are the ones that nitro-cli would print for it.

    \b
    Examples:
      kmstool-eif build image.tar --out app.eif > measurements.json
      kmstool-eif describe app.eif
      kmstool-eif policy app.eif --role ARN --admin ARN > policy.json
      kmstool-eif diff theirs.eif mine.eif

    Exit codes: 0 success, 1 failure or a difference, 2 usage error.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    set_up_logging("instance_tool", verbosity=1, log_format=log_format)


def main() -> NoReturn:
    """Run kmstool-eif."""
    run_program(PROGRAM, command, click.ClickException)

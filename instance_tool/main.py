"""kmstool-instance: the command line tool of the parent instance, which asks the enclave."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from instance_tool.configuration.config_file import read_config
from instance_tool.console.command_group import CommandGroup
from instance_tool.console.options import DECRYPT_OPTIONS, ENCLAVE_OPTIONS, LOG_OPTIONS, PROGRAM
from instance_tool.console.output import OutputFormat, error_fields
from vsock_wire.cli.program import HELP, CExitCodes, run_program
from vsock_wire.cli.reports import report_errors_as_json
from vsock_wire.cli.shared_options import with_options
from vsock_wire.version import version_text

COMMANDS = (
    "attest",
    "decrypt",
    "derive",
    "describe",
    "doctor",
    "encrypt",
    "genkey",
    "genkeypair",
    "genrandom",
    "policy",
    "serve",
    "verify",
)
"""Each command is a function in the module of the same name in ``instance_tool.commands``. A module is loaded only when
its command runs, so that a decrypt does not wait for the libraries of another command."""


DEFAULT_COMMAND = "decrypt"
MAX_NAME_CHARS = 16
"""Length of the longest word that can be a mistyped command. The shortest ciphertext of KMS has over 100 characters."""


class _Commands(CommandGroup):
    """The commands, loaded on demand. As in kmstool, a word that does not name a command is a ciphertext to decrypt."""

    default_command = DEFAULT_COMMAND

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"instance_tool.commands.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] == HELP:  # after options; run_program replaces a first word
            names = [word for word in args if word in COMMANDS]
            if not names:
                click.echo(ctx.get_help())
                ctx.exit()
            args = [names[0], "--help"]
        if args and args[0] not in COMMANDS:
            _refuse_mistyped_command(ctx, args[0])
            args = [DEFAULT_COMMAND, *args]
        name, found, rest = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing and (config := read_config(os.environ)) is not None:
            from instance_tool.configuration.option_defaults import option_defaults  # noqa: PLC0415 - often no file

            ctx.default_map = {args[0]: option_defaults(config, self, ctx, args[0])}
        return name, found, rest

    def collect_usage_pieces(self, _ctx: click.Context) -> list[str]:
        return ["[OPTIONS] CIPHERTEXT | COMMAND [ARGS]..."]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            # Other commands may have this option, so the text names the command that does not.
            name = error.ctx.command_path.removeprefix(f"{ctx.command_path} ") if error.ctx else ctx.info_name
            message = f"{name}: no such option '{error.option_name}'"
            raise click.NoSuchOption(error.option_name, message, error.possibilities, error.ctx) from None


def _refuse_mistyped_command(ctx: click.Context, word: str) -> None:
    """Raise NoSuchCommand if a word that should be a ciphertext is nearly the name of a command."""
    if len(word) <= MAX_NAME_CHARS and word.isalpha():
        error = click.NoSuchCommand(word.lower(), f"No such command '{word}'", possibilities=[*COMMANDS, HELP], ctx=ctx)
        if error.possibilities:
            raise error


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line has ``--output json``, even if it is wrong otherwise."""
    forms = [
        following if word == "--output" else word.removeprefix("--output=")
        for word, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="")
        if word == "--output" or word.startswith("--output=")
    ]
    return forms[-1:] == [OutputFormat.JSON]


@click.group(
    PROGRAM,
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(version_text(), prog_name=PROGRAM)
@with_options(ENCLAVE_OPTIONS, DECRYPT_OPTIONS, LOG_OPTIONS)
def command(**_options: object) -> None:
    """Decrypt CIPHERTEXT with AWS KMS, through an enclave, and print the result.

    CIPHERTEXT is base64 text, file://PATH, or - for standard input. Without it,
    kmstool-instance reads a pipe. A file or pipe can also contain raw bytes, or
    the JSON that aws kms encrypt prints. AWS credentials come from the
    environment, from this instance's role (IMDSv2), or from boto3's credential
    chain (profiles, SSO, containers), in that order.

    \b
    Examples:
      kmstool-instance --cid 16 --region us-east-1 CIPHERTEXT
      aws kms encrypt ... | kmstool-instance --cid 16
      kmstool-instance --cid 16 --batch < ciphertexts > plaintexts

    \b
    Exit codes: 0 success, 1 failure, 2 usage error, 3 enclave, proxy or KMS
    unreachable, 4 no credentials, 5 denied by KMS, 130 interrupted, 141 closed
    pipe.
    """  # noqa: D301 - \b is click's mark for text not to rewrap


def main() -> NoReturn:
    """Run kmstool-instance."""
    report_errors_as_json(error_fields if _asks_for_json(sys.argv[1:]) else None)
    run_program(PROGRAM, command, click.ClickException, leaves_at_once=True, c_exit_codes=CExitCodes())

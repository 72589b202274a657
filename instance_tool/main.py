"""kmstool-instance: asks the enclave, from the parent instance."""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

import click

from instance_tool.console.options import DECRYPT_OPTIONS, PROGRAM, SHARED_OPTIONS
from vsock_wire.cli.program import run_program
from vsock_wire.cli.shared_options import with_options
from vsock_wire.version import version_text

DEFAULT_COMMAND = "decrypt"
_COMMANDS = {
    "attest": "instance_tool.commands.attest",
    "decrypt": "instance_tool.commands.operations",
    "derive": "instance_tool.commands.operations",
    "describe": "instance_tool.commands.describe",
    "doctor": "instance_tool.commands.doctor",
    "encrypt": "instance_tool.commands.operations",
    "genkey": "instance_tool.commands.operations",
    "genkeypair": "instance_tool.commands.operations",
    "genrandom": "instance_tool.commands.operations",
    "policy": "instance_tool.commands.policy",
    "serve": "instance_tool.commands.serve",
    "verify": "instance_tool.commands.verify",
}
"""Each command's name, which is its function's name too, and the module that is loaded when it is asked for: a decrypt
must not wait for the libraries of another command."""


class _Commands(click.Group):
    """The commands, loaded when asked for; as in kmstool, what is no command's name is a ciphertext to decrypt."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        return _load(name) if name in _COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            args = [DEFAULT_COMMAND, *args]
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, _ctx: click.Context) -> list[str]:
        return ["[OPTIONS] CIPHERTEXT | COMMAND [ARGS]..."]


@click.group(
    PROGRAM,
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(version_text(), prog_name=PROGRAM)
@with_options(SHARED_OPTIONS, DECRYPT_OPTIONS)
@click.pass_context
def command(ctx: click.Context, /, **_options: Any) -> None:
    """Have an enclave decrypt CIPHERTEXT with AWS KMS, and print the plaintext.

    CIPHERTEXT is base64 text; - reads it from standard input. Credentials come
    from the environment, from this instance's role (IMDSv2), or from boto3's
    chain, in this order.

    \b
    Examples:
      kmstool-instance --cid 16 --region us-east-1 CIPHERTEXT
      aws kms encrypt ... --query CiphertextBlob --output text |
          kmstool-instance --cid 16 -
      kmstool-instance --cid 16 --batch < ciphertexts > plaintexts

    \b
    Exit codes: 0 done, 1 failed, 2 usage, 3 not reached, 4 no credentials,
    5 refused by KMS, 130 interrupted.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if ctx.invoked_subcommand is None:
        ctx.invoke(_load(DEFAULT_COMMAND))


def _load(name: str) -> click.Command:
    loaded: click.Command = getattr(importlib.import_module(_COMMANDS[name]), name)
    return loaded


def main() -> NoReturn:
    """Run kmstool-instance."""
    run_program(PROGRAM, command, click.ClickException, leaves_at_once=True)

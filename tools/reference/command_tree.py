"""The commands of every program, and the parts of their help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping

import click

import enclave_tool.commands.kmstool_enclave
import enclave_tool.commands.kmstool_enclave_cli
import instance_tool.eif.main
import instance_tool.main
import nitro_simulator.cli
import vsock_proxy.check
import vsock_proxy.cli
from vsock_wire.errors import ExitCode

TOOLS: Mapping[str, click.Command] = {
    "kmstool-eif": instance_tool.eif.main.command,
    "kmstool-enclave": enclave_tool.commands.kmstool_enclave.command,
    "kmstool-enclave-cli": enclave_tool.commands.kmstool_enclave_cli.command,
    "kmstool-instance": instance_tool.main.command,
    "kmstool-sim": nitro_simulator.cli.command,
    "vsock-proxy": vsock_proxy.cli.command,
}
EXIT_STATUS: Mapping[ExitCode, str] = {
    ExitCode.DONE: "success",
    ExitCode.FAILED: "failure with no code of its own",
    ExitCode.USAGE: "wrong usage: the command line or an input is not valid",
    ExitCode.UNREACHABLE: "the enclave, the proxy or KMS could not be reached",
    ExitCode.NO_CREDENTIALS: "no AWS credentials",
    ExitCode.REFUSED: "refused by KMS, or by the proxy's allowlist",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.CLOSED_PIPE: "the program that reads the output has ended",
}
LITERAL = "\b"
"""Click's mark, on its own line, for a paragraph that is not wrapped."""


def contexts(name: str, command: click.Command) -> Iterator[click.Context]:
    """Yield a context for ``command`` and each of its subcommands, in the order of ``--help``."""
    yield from _contexts(click.Context(command, info_name=name, **command.context_settings))
    if command is vsock_proxy.cli.command:  # not a click group, because AWS's program takes its arguments here
        check = vsock_proxy.check.command
        yield click.Context(check, info_name=f"{name} check", **check.context_settings)


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None:
                yield from _contexts(click.Context(command, info_name=name, parent=context, **command.context_settings))


def summary_and_description(context: click.Context) -> tuple[str, list[str]]:
    """Return the first paragraph of a command's help, on one line, and the blocks after it with those of the epilog."""
    first, *others = _blocks(context.command.help or "")
    return " ".join(first.split()), [block for block in [*others, *_blocks(context.command.epilog or "")] if block]


def usage(context: click.Context) -> str:
    """Return the arguments that a command takes, without its name."""
    return " ".join(context.command.collect_usage_pieces(context))


def option_records(context: click.Context) -> list[tuple[str, str]]:
    """Return the names and the help of each option, as ``--help`` shows them."""
    records = (parameter.get_help_record(context) for parameter in context.command.get_params(context))
    return [(names, " ".join(text.split())) for names, text in filter(None, records) if names.startswith("-")]


def _blocks(text: str) -> list[str]:
    return [block for block in re.split(r"\n[ \t]*\n", inspect.cleandoc(text)) if block.strip()] or [""]

"""Commands that do as kmstool in C does when they run under its names, where the two conventions differ."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import click

from vsock_wire.cli.program import runs_under_c_name
from vsock_wire.cli.reports import report_warning

_SUBCOMMAND_OPTIONS = (
    ("-c", "--ciphertext"),
    ("-K", "--key-id"),
    ("-p", "--key-spec"),
    ("-a", "--encryption-algorithm"),
    ("-l", "--length"),
)
"""Options that only some commands of kmstool_enclave_cli use, and that all accept. Source: its behavior at commit
e86d2cf."""


class CCompatibleCommand(click.Command):
    """A command that under a C name reads no environment variable that its program in C does not read.

    Attributes:
        variables_of_c: the variables that the program in C reads.
    """

    variables_of_c: frozenset[str] = frozenset({"REGION", "ENDPOINT"})

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's parameters, as its name demands."""
        parameters = super().get_params(ctx)
        return [self._as_c(parameter) for parameter in parameters] if runs_under_c_name() else parameters

    def _as_c(self, parameter: click.Parameter) -> click.Parameter:
        if parameter.envvar is None or parameter.envvar in self.variables_of_c:
            return parameter
        changed = copy.copy(parameter)
        changed.envvar = None
        return changed


class OneShotCommand(CCompatibleCommand):
    """A command of kmstool_enclave_cli: under that name, it ignores options of the other commands with a warning."""

    variables_of_c = frozenset()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's parameters, as its name demands."""
        parameters = super().get_params(ctx)
        return [*parameters, *_ignored_options(parameters)] if runs_under_c_name() else parameters


def _ignored_options(parameters: Sequence[click.Parameter]) -> list[click.Parameter]:
    """Return hidden options for those of other commands that are not among ``parameters``."""
    own = {flag for parameter in parameters for flag in parameter.opts}
    return [
        click.Option(flags, expose_value=False, hidden=True, callback=_warn_of_ignored_option)
        for flags in _SUBCOMMAND_OPTIONS
        if own.isdisjoint(flags)
    ]


def _warn_of_ignored_option(ctx: click.Context, option: click.Parameter, value: object) -> None:
    if value is not None:
        report_warning(
            ctx.find_root().info_name or "", f"{option.opts[-1]}: ignored, because {ctx.info_name} has no use for it"
        )

"""The options that commands share, and the decorator that adds them to a command.

``instance_tool.console.settings`` has the classes that hold their values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from instance_tool.client.client import TIMEOUT_S
from instance_tool.configuration.enclave_choice import CID_VARIABLE, ENCLAVE_VARIABLE
from instance_tool.console.output import OutputFormat, ReportFormat
from instance_tool.console.settings import ConnectionSettings, CredentialSettings
from vsock_wire.cli.logs import LOG_FORMATS, set_up_logging
from vsock_wire.cli.memory import keep_memory_private
from vsock_wire.cli.settings import Option, with_settings
from vsock_wire.cli.shared_options import (
    DRY_RUN,
    ENCRYPTION_ALGORITHM,
    ENCRYPTION_CONTEXT,
    GRANT_TOKEN,
    KEY_ID,
    LOG_FORMAT,
    QUIET,
    VERBOSE,
)
from vsock_wire.cli.values import parse_text, parse_timeout
from vsock_wire.errors import InputError
from vsock_wire.protocol.vocabulary import SERVICE_PORT

PROGRAM = "kmstool-instance"
MAX_UID = 0xFFFF_FFFE
"""The largest user id of Linux; one more means "no user". Source: chown(2), credentials(7)."""
_Settings = TypeVar("_Settings", bound=ConnectionSettings)


def _parse_region(text: str) -> str | None:
    return parse_text(text) or None


ENCLAVE_OPTIONS = (
    click.option(
        "-c", "--cid", type=int, metavar="CID",
        help="vsock CID of the enclave; by default, that of the only enclave that nitro-cli shows."
        f"  [env var: {CID_VARIABLE}]",
    ),
    click.option(
        "-p", "--port", type=int, metavar="PORT", default=SERVICE_PORT, show_default=True,
        help="vsock port of kmstool-enclave.",
    ),
    click.option(
        "--enclave", metavar="ADDRESS",
        help="Address, such as vsock://16:3000 or unix:PATH, instead of --cid and --port."
        f"  [env var: {ENCLAVE_VARIABLE}]",
    ),
    click.option("--enclave-name", metavar="NAME", help="Name or ID of the enclave, as nitro-cli shows it."),
    click.option(
        "--trust-uid", "trusted_uids", type=click.IntRange(0, MAX_UID), multiple=True, metavar="UID",
        help="Also trust this user to listen on the unix socket and see credentials and ciphertexts; repeatable.",
    ),
    click.option(
        "--timeout", "timeout_s", type=parse_timeout, metavar="SECONDS", default=TIMEOUT_S, show_default=True,
        help="How long to wait for the enclave.",
    ),
)  # fmt: skip
LOG_OPTIONS = (
    VERBOSE.declare(click.option),
    QUIET.declare(click.option),
    LOG_FORMAT.declare(click.option, type=click.Choice(LOG_FORMATS)),
)
"""Together with ENCLAVE_OPTIONS, the options of every command that asks an enclave. Values: ConnectionSettings."""
CREDENTIAL_OPTIONS = (
    click.option(
        "-r",
        "--region",
        type=_parse_region,
        metavar="REGION",
        help="AWS region of KMS, if the enclave sets none.  [env var: AWS_REGION]",
    ),
    click.option("--profile", metavar="NAME", help="Take credentials from this AWS profile."),
)
"""Values: CredentialSettings."""


def output_option(default: OutputFormat) -> Option:
    """Return the decorator for ``--output`` of a command whose result is usually wanted in the format ``default``."""
    return click.option(
        "--output", type=click.Choice([str(form) for form in OutputFormat]), default=str(default),
        show_default=True, help="Output format.",
    )  # fmt: skip


OUT_OPTION = click.option("--out", metavar="FILE", help="Write the result to this file, which only its owner can read.")
CIPHERTEXT_OUT_OPTION = click.option(
    "--ciphertext-out", metavar="FILE", help="Write the encrypted key to this file, as bytes."
)
RESULT_OPTIONS = (*CREDENTIAL_OPTIONS, output_option(OutputFormat.RAW), OUT_OPTION)
"""Values: ResultSettings."""
TEXT_RESULT_OPTIONS = (*CREDENTIAL_OPTIONS, output_option(OutputFormat.BASE64), OUT_OPTION)
"""The same for results that have several parts or are ciphertexts. Values: ResultSettings."""
REPORT_OUTPUT_OPTION = click.option(
    "--output", type=click.Choice([str(form) for form in ReportFormat]), default=str(ReportFormat.TEXT),
    show_default=True, help="Output format.",
)  # fmt: skip
EXPLAIN_OPTION = click.option(
    "--explain", is_flag=True, help="Print a step-by-step trace of the call to standard error."
)
KEY_OPTION = KEY_ID.declare(click.option)
CONTEXT_OPTION = ENCRYPTION_CONTEXT.declare(click.option, "-e")
KEY_OPTIONS = (CONTEXT_OPTION, KEY_OPTION)
"""Values: KeySettings."""
GRANT_TOKEN_OPTION = GRANT_TOKEN.declare(click.option)
GRANT_OPTIONS = (GRANT_TOKEN_OPTION, DRY_RUN.declare(click.option))
"""Values: GrantSettings."""
ALGORITHM_OPTION = ENCRYPTION_ALGORITHM.declare(click.option)
NO_NEWLINE_OPTION = click.option("-n", "--no-newline", is_flag=True, help="Do not print a newline after the result.")
DECRYPT_OPTIONS = (
    *RESULT_OPTIONS,
    EXPLAIN_OPTION,
    *KEY_OPTIONS,
    ALGORITHM_OPTION,
    *GRANT_OPTIONS,
    click.option("--batch", is_flag=True, help="Decrypt standard input, one ciphertext per line."),
    NO_NEWLINE_OPTION,
)
"""The options of the default command, which the program's own help shows as well."""


def option_once(*names: str, **attributes: Any) -> Option:
    """Return a decorator for an option that decides what is trusted or compared: a second value is an error.

    Options that only say where to go, such as --cid, stay with click's behavior. There the last value counts, so that
    users can override what a shell alias contains.

    Args:
        names: as for ``click.option``.
        attributes: as for ``click.option``.
    """
    default = attributes.pop("default", None)
    listed = None if default is None else [default]
    return click.option(*names, **attributes, multiple=True, default=listed, callback=_only_value)


def _only_value(_ctx: click.Context, parameter: click.Parameter, values: tuple[object, ...]) -> object:
    if len(values) > 1:
        raise InputError(f"{parameter.opts[0]} can be given only once")
    return values[0] if values else None


def with_connection(
    settings: type[_Settings], *options: Option
) -> Callable[[Callable[[_Settings], None]], Callable[..., None]]:
    """Return a decorator for a command that asks an enclave; see ``with_settings``.

    It adds ENCLAVE_OPTIONS and LOG_OPTIONS. Before the command starts, logging is set up, and options that do not give
    the enclave's address are an InputError.
    """

    def decorate(function: Callable[[_Settings], None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(values: _Settings) -> None:
            verbosity = 0 if values.quiet else 1 + values.verbose
            if issubclass(settings, CredentialSettings):
                keep_memory_private()
            set_up_logging("instance_tool", verbosity=verbosity, log_format=values.log_format)
            values.enclave_address()
            function(values)

        return with_settings(settings, *ENCLAVE_OPTIONS, *options, *LOG_OPTIONS)(command)

    return decorate

"""kmstool-instance: asks the enclave, from the parent instance."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, TypeVar

import click
from click.core import ParameterSource

from instance_tool.batch import decrypt_lines
from instance_tool.ciphertext import parse_ciphertext, read_ciphertext, read_lines
from instance_tool.client import TIMEOUT_S, EnclaveClient
from instance_tool.credentials import find_credentials
from instance_tool.output import OutputFormat, encode_result
from vsock_wire import __version__
from vsock_wire.address import Address, parse_address, vsock_address
from vsock_wire.errors import ExitCode, InputError, ToolError, quoted
from vsock_wire.messages import Decrypt
from vsock_wire.program import parse_timeout, report_error, run_program, set_up_logging

PROGRAM = "kmstool-instance"
SERVICE_PORT = 3_000
"""kmstool's own."""
DEFAULT_COMMAND = "decrypt"

_logger = logging.getLogger(__name__)
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@dataclass(frozen=True)
class Settings:
    """The options that all commands share."""

    enclave: Address
    region: str | None
    profile: str | None
    timeout_s: float
    output_format: OutputFormat

    def open_client(self) -> EnclaveClient:
        """Return a client of the enclave that has no credentials yet."""
        return EnclaveClient(self.enclave, timeout_s=self.timeout_s)

    def open_client_with_credentials(self) -> EnclaveClient:
        """Return a client of the enclave that calls KMS with the credentials found here.

        Raises:
            CredentialsError: none were found.
        """
        found = find_credentials(os.environ, profile=self.profile)
        _logger.info("credentials: from %s", found.source)
        client = self.open_client()
        client.set_client(found.credentials, self.region)
        return client


class _ContextEntry(click.ParamType[tuple[str, str]]):
    """One NAME=VALUE of an encryption context; kmstool drops what has no ``=``, and KMS then refuses to decrypt."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, separator, content = str(value).partition("=")
        if not name or not separator:
            self.fail(f"expected NAME=VALUE, got {quoted(str(value))}", param, ctx)
        return name, content


_SHARED_OPTIONS = (
    click.option("--cid", type=int, metavar="CID", help="vsock CID of the enclave."),
    click.option(
        "--port", type=int, metavar="PORT", default=SERVICE_PORT, show_default=True,
        help="vsock port of kmstool-enclave.",
    ),
    click.option("--enclave", metavar="ADDRESS", help="Ask this address instead of vsock --cid and --port."),
    click.option("--region", metavar="REGION", help="AWS region of KMS; only if the enclave sets none."),
    click.option("--profile", metavar="NAME", help="Take credentials from this AWS profile."),
    click.option(
        "--timeout", type=parse_timeout, metavar="SECONDS", default=TIMEOUT_S, show_default=True,
        help="Wait so long for the enclave.",
    ),
    click.option(
        "--output", type=click.Choice([str(form) for form in OutputFormat]), default=str(OutputFormat.RAW),
        show_default=True, help="How to write the result.",
    ),
    click.option("-v", "--verbose", count=True, help="Say what happens, on standard error; twice for more."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
)  # fmt: skip

_DECRYPT_OPTIONS = (
    click.option(
        "--encryption-context", type=_ContextEntry(), multiple=True, metavar="NAME=VALUE",
        help="The context used to encrypt; repeatable.",
    ),
    click.option("--key-id", metavar="KEY", help="Decrypt with this KMS key only: id, ARN or alias."),
    click.option("--encryption-algorithm", metavar="NAME", help="For a ciphertext of an asymmetric key."),
    click.option("--batch", is_flag=True, help="Decrypt standard input, one ciphertext a line."),
    click.option("-n", "--no-newline", is_flag=True, help="Write no newline behind the plaintext."),
)  # fmt: skip


_ADDED_UP = ("encryption_context", "verbose")
"""Options that count wherever they are given."""


def _with_options(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[_Decorated], _Decorated]:
    def decorate(function: _Decorated) -> _Decorated:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


class _DefaultCommandGroup(click.Group):
    """A group that takes what is no command's name for the ciphertext of ``decrypt``, as kmstool does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = [DEFAULT_COMMAND, *args]
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, _ctx: click.Context) -> list[str]:
        return ["[OPTIONS] CIPHERTEXT | COMMAND [ARGS]..."]


@click.group(
    PROGRAM,
    cls=_DefaultCommandGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name=PROGRAM)
@_with_options(_SHARED_OPTIONS, _DECRYPT_OPTIONS)
@click.pass_context
def command(ctx: click.Context, /, **_options: Any) -> None:
    """Have an enclave decrypt CIPHERTEXT with AWS KMS, and print the plaintext.

    CIPHERTEXT is base64 text; - reads it from standard input. Credentials come
    from the environment, from this instance's role (IMDSv2), or from boto3's
    chain, in this order.

    \b
    kmstool-instance --cid 16 --region us-east-1 CIPHERTEXT
    aws kms encrypt ... --query CiphertextBlob --output text |
        kmstool-instance --cid 16 -
    kmstool-instance --cid 16 --batch < ciphertexts > plaintexts

    \b
    Exit codes: 0 done, 1 failed, 2 usage, 3 not reached, 4 no credentials,
    5 refused by KMS, 130 interrupted.
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    if ctx.invoked_subcommand is None:
        ctx.invoke(decrypt)


@command.command()
@click.argument("ciphertext", required=False)
@_with_options(_SHARED_OPTIONS, _DECRYPT_OPTIONS)
@click.pass_context
def decrypt(ctx: click.Context, /, ciphertext: str | None = None, **_options: Any) -> None:
    """Decrypt one CIPHERTEXT, or many with --batch. The default command."""
    options = _merged_options(ctx)
    settings = _settings(options)
    template = Decrypt(
        b"",
        encryption_context=_encryption_context(options["encryption_context"]),
        key_id=options["key_id"],
        encryption_algorithm=options["encryption_algorithm"],
    )
    if options["batch"]:
        if ciphertext not in (None, "-"):
            raise InputError("--batch reads its ciphertexts from standard input: leave CIPHERTEXT off")
        if options["no_newline"]:
            raise InputError("--batch writes one result per line: leave --no-newline off")
        _decrypt_batch(settings, template)
    elif ciphertext is None:
        raise InputError(
            "CIPHERTEXT: expected base64 text, or - for standard input, got nothing",
            hint=f"{PROGRAM} --help shows examples",
        )
    else:
        _decrypt_one(settings, template, ciphertext, newline=b"" if options["no_newline"] else b"\n")


@command.command()
@_with_options(_SHARED_OPTIONS)
@click.pass_context
def describe(ctx: click.Context, /, **_options: Any) -> None:
    """Print what the enclave says of itself, as JSON. Nothing in it is proven."""
    settings = _settings(_merged_options(ctx))
    with settings.open_client() as client:
        click.echo(json.dumps(client.describe(), indent=2))


def main() -> NoReturn:
    """Run kmstool-instance."""
    run_program(PROGRAM, command, click.ClickException)


def _decrypt_one(settings: Settings, template: Decrypt, text: str, *, newline: bytes) -> None:
    output = _standard_output()
    ciphertext = read_ciphertext(_standard_input()) if text == "-" else parse_ciphertext(os.fsencode(text))
    request = Decrypt(ciphertext, template.encryption_context, template.key_id, template.encryption_algorithm)
    with settings.open_client_with_credentials() as client:
        result = client.decrypt(request)
    output.write(encode_result(result, settings.output_format) + newline)
    output.flush()


def _decrypt_batch(settings: Settings, template: Decrypt) -> None:
    def report(line_number: int, error: ToolError) -> None:
        report_error(PROGRAM, error, subject=f"line {line_number}")

    with settings.open_client_with_credentials() as client:
        failed = decrypt_lines(
            client,
            read_lines(_standard_input()),
            template,
            output_format=settings.output_format,
            write_to=_standard_output(),
            report=report,
        )
    if failed:
        sys.exit(ExitCode.FAILED)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:  # started with it closed, as by <&-
        raise InputError("standard input: expected it to be open, got it closed")
    return sys.stdin.buffer


def _standard_output() -> BinaryIO:
    if sys.stdout is None:  # started with it closed, as by >&-; nothing may be decrypted only to be lost
        raise InputError("standard output: expected it to be open, got it closed")
    return sys.stdout.buffer


def _merged_options(ctx: click.Context) -> dict[str, Any]:
    """Return the options given before the command's name and behind it; behind it counts, where both are given."""
    merged: dict[str, Any] = {}
    for level in filter(None, (ctx.parent, ctx)):
        for name, value in level.params.items():
            is_given = level.get_parameter_source(name) not in (None, ParameterSource.DEFAULT)
            if is_given and name in _ADDED_UP:
                merged[name] = merged.get(name, type(value)()) + value
            elif is_given or name not in merged:
                merged[name] = value
    return merged


def _settings(options: dict[str, Any]) -> Settings:
    set_up_logging("instance_tool", verbosity=0 if options["quiet"] else 1 + options["verbose"])
    if options["enclave"] is None and options["cid"] is None:
        raise InputError(
            "--cid: expected the vsock CID of the enclave, got none",
            hint="nitro-cli describe-enclaves shows EnclaveCID",
        )
    if options["enclave"] is not None and options["cid"] is not None:
        raise InputError("--enclave and --cid exclude each other")
    return Settings(
        enclave=(
            parse_address(options["enclave"])
            if options["enclave"] is not None
            else vsock_address(options["cid"], options["port"])
        ),
        region=options["region"] or None,
        profile=options["profile"],
        timeout_s=options["timeout"],
        output_format=OutputFormat(options["output"]),
    )


def _encryption_context(entries: tuple[tuple[str, str], ...]) -> dict[str, str]:
    context = dict(entries)
    if len(context) != len(entries):
        raise InputError("--encryption-context: expected each name once, got one twice")
    return context

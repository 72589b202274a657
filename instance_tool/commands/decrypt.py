"""The command that decrypts one ciphertext, or many, through the enclave."""

from __future__ import annotations

import contextlib
import sys

import click

from instance_tool.console.kms_requests import ciphertext_argument, hint_at_context, kms_request, with_ciphertext
from instance_tool.console.options import DECRYPT_OPTIONS, PROGRAM, with_connection
from instance_tool.console.perform import perform
from instance_tool.console.settings import GrantSettings, KeySettings, ResultSettings
from vsock_wire.cli.reports import report_error
from vsock_wire.cli.result_file import open_output
from vsock_wire.cli.streams import STANDARD_INPUT, standard_input
from vsock_wire.errors import ExitCode, InputError, ToolError
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.vocabulary import Operation


class DecryptSettings(ResultSettings, KeySettings, GrantSettings):
    """The options of ``decrypt``."""

    ciphertext: str | None
    encryption_algorithm: str | None
    explain: bool
    batch: bool
    no_newline: bool


@click.command()
@with_connection(DecryptSettings, click.argument("ciphertext", required=False), *DECRYPT_OPTIONS)
def decrypt(settings: DecryptSettings) -> None:
    """Decrypt one CIPHERTEXT, or many with --batch. The default command.

    Run kmstool-instance --help for the forms that CIPHERTEXT can take.

    \b
    Examples:
      kmstool-instance decrypt --cid 16 --key-id alias/app - < secret.b64
      kmstool-instance decrypt --cid 16 --batch < ciphertexts > plaintexts
    """  # noqa: D301 - \b is click's mark for text not to rewrap
    template = kms_request(
        Operation.DECRYPT,
        key_id=settings.key_id,
        encryption_context=settings.encryption_context,
        encryption_algorithm=settings.encryption_algorithm,
        grants=settings,
    )
    if settings.batch:
        _decrypt_batch(settings, template)
        return
    request = with_ciphertext(template, ciphertext_argument(settings.ciphertext))
    perform(settings, request, explain=settings.explain, newline=not settings.no_newline)


def _decrypt_batch(settings: DecryptSettings, template: KmsRequest) -> None:
    from instance_tool.console.batch import decrypt_lines  # noqa: PLC0415 - a single decrypt does not need them
    from instance_tool.console.lines import LineReader  # noqa: PLC0415
    from instance_tool.console.progress import Progress  # noqa: PLC0415

    if settings.ciphertext not in (None, STANDARD_INPUT):
        raise InputError("--batch reads ciphertexts from standard input: omit CIPHERTEXT")
    if settings.explain:
        raise InputError("--explain cannot be used with --batch: it explains a single call")
    if settings.dry_run:
        raise InputError("--dry-run cannot be used with --batch: it asks about a single call")
    if settings.no_newline:
        raise InputError("--no-newline cannot be used with --batch, which writes one result per line")
    progress = Progress(is_quiet=settings.quiet)

    def report(line_number: int, error: ToolError) -> None:
        progress.clear()
        hint_at_context(error, template)
        report_error(PROGRAM, error, line_number=line_number)

    lines = LineReader(standard_input())
    with (
        contextlib.closing(progress),
        open_output(settings.out, "--out") as output,
        settings.new_client_with_credentials() as client,
    ):
        failed = decrypt_lines(
            client,
            lines,
            template,
            output_format=settings.output_format,
            write_to=output,
            report=report,
            show_progress=progress.show,
            is_ready=lines.is_ready,
        )
        output.commit()
    if failed:
        sys.exit(ExitCode.FAILED)

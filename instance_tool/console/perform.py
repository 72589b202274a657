"""Performs a command's request: asks the enclave, writes the result, and prints the trace for ``--explain``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click

from instance_tool.client.client import EnclaveClient
from instance_tool.console.kms_requests import hint_at_context
from instance_tool.console.options import PROGRAM
from instance_tool.console.output import OutputFormat, bytes_of_field, encode_result
from instance_tool.console.settings import ResultSettings
from instance_tool.errors import EnclaveError
from vsock_wire.cli.kms_requests import dry_run_ignored, report_dry_run
from vsock_wire.cli.result_file import open_output
from vsock_wire.protocol.kms_operations import KmsRequest, KmsResult
from vsock_wire.protocol.recording import is_recording, record, recording
from vsock_wire.protocol.vocabulary import Operation


class ResultPart(NamedTuple):
    """A part of a result with an option that names a file for its bytes.

    Attributes:
        option: the option.
        path: its value, or None.
        field: the field of the result.
    """

    option: str
    path: str | None
    field: str


def perform(
    settings: ResultSettings,
    request: KmsRequest,
    *,
    explain: bool = False,
    newline: bool = True,
    parts: Sequence[ResultPart] = (),
) -> None:
    """Ask the enclave, and write the result to standard output or to ``--out``.

    Args:
        settings: the enclave, the credentials, the output format and the file.
        request: the request to KMS.
        explain: whether to print a trace of the call to standard error.
        newline: whether to write a newline after the result; raw bytes of other operations than Decrypt never have one.
        parts: further files for parts of the result.

    Raises:
        ToolError: the request failed; nothing was written.
    """
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(open_output(settings.out, "--out"))
        files = {part: stack.enter_context(open_output(part.path, part.option)) for part in parts if part.path}
        stack.enter_context(explaining(request.operation, is_wanted=explain))
        with settings.new_client_with_credentials() as client:
            result = _ask(client, request)
        if result is None:
            if not settings.quiet:
                report_dry_run(PROGRAM, request.operation)
            return
        _warn_of_lost_parts(settings, parts)
        for part, file in files.items():
            file.write(bytes_of_field(result, part.field))
            file.commit()
        encoded = encode_result(request.operation, result, settings.output_format)
        if newline and not (settings.output_format is OutputFormat.RAW and request.operation is not Operation.DECRYPT):
            encoded += b"\n"
        output.write(encoded)
        output.commit()
        if is_recording():
            from vsock_wire.protocol.trace import Printed  # noqa: PLC0415 - only while recording

            record(Printed(len(encoded)))


def _warn_of_lost_parts(settings: ResultSettings, parts: Sequence[ResultPart]) -> None:
    lost = " and ".join(part.option for part in parts if part.path is None)
    if lost and settings.output_format is OutputFormat.RAW and not settings.quiet:
        from instance_tool.console.reports import report_warning  # noqa: PLC0415 - a decrypt does not need it

        report_warning(f"--output raw writes only the secret part of the result: to keep the rest, pass {lost}")


def _ask(client: EnclaveClient, request: KmsRequest) -> KmsResult | None:
    """Return the result, or None if the request asked for a dry run and KMS would perform it."""
    is_dry_run = bool(request.parameters.get("DryRun"))
    try:
        result = client.ask_enclave(request)
    except EnclaveError as error:
        if is_dry_run and error.says_dry_run_passed:
            return None
        hint_at_context(error, request)
        raise
    if is_dry_run:
        raise dry_run_ignored(request.operation)
    return result


@contextlib.contextmanager
def explaining(operation: Operation, *, is_wanted: bool) -> Iterator[None]:
    """Print a trace of the block to standard error when it ends, even if it failed.

    Args:
        operation: the operation that the block performs.
        is_wanted: whether --explain was given; without it, nothing is recorded or printed.
    """
    if not is_wanted:
        yield
        return
    from datetime import UTC, datetime  # noqa: PLC0415 - only to print a trace

    from instance_tool.trace_text import trace_text  # noqa: PLC0415

    with recording() as steps:
        try:
            yield
        finally:
            click.echo(trace_text(operation, steps, at=datetime.now(UTC)) + "\n", err=True)

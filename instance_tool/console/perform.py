"""Performs a command's request: asks the enclave, writes the result, and prints the trace for ``--explain``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from instance_tool.client.client import EnclaveClient
from instance_tool.console.options import PROGRAM
from instance_tool.console.output import encode_result
from instance_tool.console.settings import ResultSettings
from instance_tool.errors import EnclaveError
from vsock_wire.cli.kms_requests import dry_run_ignored, report_dry_run
from vsock_wire.cli.streams import standard_output
from vsock_wire.protocol.kms_operations import KmsRequest, KmsResult
from vsock_wire.protocol.recording import is_recording, record, recording
from vsock_wire.protocol.vocabulary import Operation


def perform(settings: ResultSettings, request: KmsRequest, *, explain: bool = False, newline: bool = True) -> None:
    """Ask the enclave, and write the result to standard output.

    Args:
        settings: the enclave, the credentials, and the output format.
        request: the request to KMS.
        explain: whether to print a trace of the call to standard error.
        newline: whether to write a newline after the result.

    Raises:
        ToolError: the request failed; nothing was written.
    """
    output = standard_output()
    with explaining(request.operation, is_wanted=explain):
        with settings.new_client_with_credentials() as client:
            result = _ask(client, request)
        if result is None:
            if not settings.quiet:
                report_dry_run(PROGRAM, request.operation)
            return
        encoded = encode_result(request.operation, result, settings.output_format) + (b"\n" if newline else b"")
        output.write(encoded)
        output.flush()
        if is_recording():
            from vsock_wire.protocol.trace import Printed  # noqa: PLC0415 - only while recording

            record(Printed(len(encoded)))


def _ask(client: EnclaveClient, request: KmsRequest) -> KmsResult | None:
    """Return the result, or None if the request asked for a dry run and KMS would perform it."""
    is_dry_run = bool(request.parameters.get("DryRun"))
    try:
        result = client.ask_enclave(request)
    except EnclaveError as error:
        if is_dry_run and error.says_dry_run_passed:
            return None
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

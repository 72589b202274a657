"""How a command performs its request: it has the enclave ask KMS, writes the result, and explains how it came about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from instance_tool.console.output import encode_result
from instance_tool.console.settings import ResultSettings
from vsock_wire.cli.streams import standard_output
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.recording import is_recording, record, recording
from vsock_wire.protocol.vocabulary import Operation


def perform(settings: ResultSettings, request: KmsRequest, *, explain: bool = False, newline: bool = True) -> None:
    """Have the enclave ask KMS, and write the result to standard output.

    Args:
        settings: which enclave, with which credentials, and how to write the result.
        request: to KMS.
        explain: whether to explain on standard error how the result came about.
        newline: whether to write a newline after the result.

    Raises:
        ToolError: it failed; nothing was written.
    """
    output = standard_output()
    with explaining(request.operation, is_wanted=explain):
        with settings.new_client_with_credentials() as client:
            result = client.ask_enclave(request)
        encoded = encode_result(request.operation, result, settings.output_format) + (b"\n" if newline else b"")
        output.write(encoded)
        output.flush()
        if is_recording():
            from vsock_wire.protocol.trace import Printed  # noqa: PLC0415 - not for calls that nobody records

            record(Printed(len(encoded)))


@contextlib.contextmanager
def explaining(operation: Operation, *, is_wanted: bool) -> Iterator[None]:
    """Say on standard error, after the block, what happened in it, also if it failed.

    Args:
        operation: what the block has the enclave do.
        is_wanted: whether --explain was given; nothing is said without it.
    """
    if not is_wanted:
        yield
        return
    from datetime import UTC, datetime  # noqa: PLC0415 - loads what a decrypt does not need

    from instance_tool.trace_text import trace_text  # noqa: PLC0415

    with recording() as steps:
        try:
            yield
        finally:
            click.echo(trace_text(operation, steps, at=datetime.now(UTC)) + "\n", err=True)

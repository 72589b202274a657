"""Many ciphertexts on one connection: one per line in, one result per line out, in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import BinaryIO, TypeAlias

from instance_tool.client.client import EnclaveClient
from instance_tool.client.pipeline import Pipeline
from instance_tool.console.ciphertext import parse_ciphertext
from instance_tool.console.kms_requests import with_ciphertext
from instance_tool.console.output import OutputFormat, encode_result
from vsock_wire.errors import CONNECT, InputError, ToolError, TransportError
from vsock_wire.protocol.kms_operations import KmsRequest, KmsResult
from vsock_wire.protocol.vocabulary import MAX_IN_FLIGHT

_Numbered: TypeAlias = tuple[int, KmsResult | ToolError]
"""A line's number, from 1, and what became of it."""


def decrypt_lines(
    client: EnclaveClient,
    lines: Iterable[bytes | InputError],
    template: KmsRequest,
    *,
    output_format: OutputFormat,
    write_to: BinaryIO,
    report: Callable[[int, ToolError], None],
    is_ready: Callable[[], bool] = lambda: False,
    show_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Decrypt line by line, and write each result as soon as those of all lines before it are written.

    Up to MAX_IN_FLIGHT lines are under way at a time, but none is waited for while another's result could be written. A
    line that fails is reported and leaves no line in the output. When the connection breaks, another one is opened.

    Args:
        client: of the enclave, with credentials set.
        lines: base64 ciphertexts, or what was wrong with a line already when it was read.
        template: a Decrypt with every other parameter.
        output_format: of the results.
        write_to: where they go, each with a newline behind it.
        report: called with the line's number, from 1, and the error, in the order of the lines.
        is_ready: whether the next of ``lines`` can be had without waiting; by default never, so that one line is under
            way at a time.
        show_progress: called with the number of each line that is done.

    Returns:
        The number of lines that failed.

    Raises:
        EnclaveError: the enclave refused the credentials or the region; no line was tried.
        TransportError: no connection could be opened for a line; of it and all behind it there is no result. Its text
            names the line.
    """
    client.send_credentials()  # refused credentials or a refused region are no line's fault
    failed = 0
    for number, outcome in _in_order(_decrypt_all(Pipeline(client), iter(lines), template, is_ready)):
        try:
            if isinstance(outcome, ToolError):
                raise outcome
            result = encode_result(template.operation, outcome, output_format, line_number=number)
        except ToolError as error:
            if isinstance(error, TransportError) and error.operation == CONNECT:
                raise _stopped_at(number, error) from error
            report(number, error)
            failed += 1
        else:
            write_to.write(result + b"\n")
            write_to.flush()
        show_progress(number)
    return failed


def _decrypt_all(
    pipeline: Pipeline,
    lines: Iterator[bytes | InputError],
    template: KmsRequest,
    is_ready: Callable[[], bool],
) -> Generator[_Numbered, int, None]:
    """Yield outcomes as they come; each is answered with how many from the first on are written."""
    number = written = 0
    has_ended = False
    while not (has_ended and pipeline.is_empty):
        if not has_ended and (pipeline.is_empty or (number - written < MAX_IN_FLIGHT and is_ready())):
            line = next(lines, None)
            if line is None:
                has_ended = True
                continue
            number += 1
            try:
                pipeline.send(number, with_ciphertext(template, _ciphertext(line)))
            except InputError as error:
                written = yield number, error
        else:
            written = yield pipeline.receive()


def _in_order(outcomes: Generator[_Numbered, int, None]) -> Iterator[_Numbered]:
    """Yield outcomes by their number, from 1; at most MAX_IN_FLIGHT wait for an earlier one."""
    waiting: dict[int, KmsResult | ToolError] = {}
    written = 0
    with contextlib.suppress(StopIteration):
        number, outcome = next(outcomes)
        while True:
            waiting[number] = outcome
            while written + 1 in waiting:
                written += 1
                yield written, waiting.pop(written)
            number, outcome = outcomes.send(written)


def _ciphertext(line: bytes | InputError) -> bytes:
    if isinstance(line, InputError):
        raise line
    return parse_ciphertext(line)


def _stopped_at(number: int, error: TransportError) -> TransportError:
    return TransportError(
        f"line {number} and all later lines have no result: {error.operation}",
        error.address,
        error.reason,
        hint=error.hint,
    )

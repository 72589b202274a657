"""Decrypting many ciphertexts on one connection: one ciphertext per input line, one result per output line, in order.

Line N of the output always belongs to line N of the input: a failed line has its line in the output, too.

``_decrypt_all`` sends lines ahead through a Pipeline and yields outcomes as they arrive, ``_in_order`` sorts them by
line number, and ``decrypt_lines`` writes them. ``_in_order`` sends back how many lines have been written, so that
``_decrypt_all`` never has more than MAX_IN_FLIGHT lines between the first unwritten one and the last one sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeAlias, cast

from instance_tool.client.client import EnclaveClient
from instance_tool.client.pipeline import Pipeline
from instance_tool.console.ciphertext import parse_ciphertext
from instance_tool.console.kms_requests import with_ciphertext
from instance_tool.console.lines import WrappedLines
from instance_tool.console.output import OutputFormat, encode_failed_line, encode_result
from vsock_wire.cli.result_file import Sink
from vsock_wire.errors import CONNECT, InputError, ToolError, TransportError
from vsock_wire.protocol.kms_operations import KmsRequest, KmsResult
from vsock_wire.protocol.vocabulary import MAX_IN_FLIGHT

_Numbered: TypeAlias = tuple[int, KmsResult | ToolError]
"""The number of a line, from 1, and its outcome."""


def decrypt_lines(
    client: EnclaveClient,
    lines: Iterable[bytes | InputError],
    template: KmsRequest,
    *,
    output_format: OutputFormat,
    write_to: Sink,
    report: Callable[[int, ToolError], None],
    is_ready: Callable[[], bool] = lambda: False,
    show_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Decrypt line by line, and write each result as soon as all earlier ones are written.

    Up to MAX_IN_FLIGHT lines are pending at a time, but reading the next line never delays a result that could be
    written. A failed line is reported, and its line in the output is empty, or has the error in JSON; the others go on.
    When the connection breaks, another one is opened.

    Args:
        client: client of the enclave, with credentials set.
        lines: base64 ciphertexts, or the errors of lines that could not be read.
        template: a Decrypt with every parameter except the ciphertext.
        output_format: format of the results.
        write_to: where to write the results, each with a newline after it.
        report: called with the number of a failed line, from 1, and its error, in the order of the lines.
        is_ready: whether the next of ``lines`` is available without waiting; by default never, so that one line is
            pending at a time.
        show_progress: called with the number of each line that is done.

    Returns:
        The number of lines that failed.

    Raises:
        EnclaveError: the enclave rejected the credentials or the region; no line was decrypted.
        TransportError: no connection could be opened for a line. It and all later lines have no result; the text names
            the line.
    """
    client.send_credentials()  # a problem with credentials or region is not an error of a line
    failed, wrapped = 0, WrappedLines()
    for number, outcome in _in_order(_decrypt_all(Pipeline(client), _noted(lines, wrapped), template, is_ready)):
        failure = wrapped.explain(number, outcome if isinstance(outcome, ToolError) else None)
        try:
            if failure is not None:
                raise failure
            result = encode_result(template.operation, cast("KmsResult", outcome), output_format, line_number=number)
        except ToolError as error:
            if isinstance(error, TransportError) and error.operation == CONNECT:
                raise _stopped_at(number, error) from error
            report(number, error)
            failed += 1
            result = encode_failed_line(error, output_format, line_number=number)
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
    """Yield outcomes as they arrive; the caller sends back how many lines have been written."""
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
    """Yield outcomes in the order of their numbers; at most MAX_IN_FLIGHT wait for an earlier one."""
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


def _noted(lines: Iterable[bytes | InputError], wrapped: WrappedLines) -> Iterator[bytes | InputError]:
    for number, line in enumerate(lines, start=1):
        if isinstance(line, bytes):
            wrapped.note(number, line)
        yield line


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

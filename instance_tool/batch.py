"""Many ciphertexts on one connection: one per line in, one result per line out, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO

from instance_tool.ciphertext import parse_ciphertext
from instance_tool.client import EnclaveClient
from instance_tool.output import OutputFormat, encode_result
from vsock_wire.errors import InputError, ToolError, TransportError
from vsock_wire.operations import KmsRequest


def with_ciphertext(template: KmsRequest, ciphertext: bytes) -> KmsRequest:
    """Return the Decrypt request for one ciphertext."""
    return KmsRequest(template.operation, {**template.parameters, "CiphertextBlob": ciphertext})


def decrypt_lines(
    client: EnclaveClient,
    lines: Iterable[bytes | InputError],
    template: KmsRequest,
    *,
    output_format: OutputFormat,
    write_to: BinaryIO,
    report: Callable[[int, ToolError], None],
) -> int:
    """Decrypt line by line, and write each result as it comes.

    A line that fails is reported and leaves no line in the output. When the connection breaks, the next line opens
    another one.

    Args:
        client: of the enclave, with credentials set.
        lines: base64 ciphertexts, or what was wrong with a line already when it was read.
        template: a Decrypt with every other parameter.
        output_format: of the results.
        write_to: where they go, each with a newline behind it.
        report: called with the line's number, from 1, and the error.

    Returns:
        The number of lines that failed.

    Raises:
        EnclaveError: the enclave refused the credentials or the region; no line was tried.
        TransportError: no connection could be opened for a line; it and all behind it were not tried. Its text names
            the line.
    """
    client.open()  # refused credentials or a refused region are no line's fault
    failed = 0
    for number, line in enumerate(lines, start=1):
        try:
            request = with_ciphertext(template, _ciphertext(line))
            result = encode_result(request.operation, client.call(request), output_format, line_number=number)
        except TransportError as error:
            if error.operation == "connect to":
                raise _stopped_at(number, error) from error
            report(number, error)
            failed += 1
        except ToolError as error:
            report(number, error)
            failed += 1
        else:
            write_to.write(result + b"\n")
            write_to.flush()
    return failed


def _ciphertext(line: bytes | InputError) -> bytes:
    if isinstance(line, InputError):
        raise line
    return parse_ciphertext(line)


def _stopped_at(number: int, error: TransportError) -> TransportError:
    return TransportError(
        f"line {number}: not tried, nor any line behind it: {error.operation}",
        error.address,
        str(error).partition(f"{error.address}: ")[2],
        hint=error.hint,
    )

"""One HTTP/1.1 exchange with the instance metadata service, with one deadline for all of it.

``http.client`` limits the time of each read but not of a response, so a peer that sends a byte now and then holds it
forever; and loading it takes longer than a decrypt. This is the part of HTTP that one link-local peer needs. What it
does not need is refused: redirects, folded headers, compression, trailers, responses to earlier requests.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from instance_tool.credentials.dial import dial, seconds_until
from vsock_wire.errors import WireError

MAX_HEAD_BYTES = 8_192
"""Maximum size of the status line and headers. The metadata service sends about 300 bytes."""
MAX_BODY_BYTES = 65_536
"""Maximum size of a body. Role credentials are about 1,500 bytes; a session token has no published limit."""
_RECEIVE_BYTES = 16_384
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?: [\t -~\x80-\xff]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
Headers = tuple[tuple[str, str], ...]


class HttpResponse(NamedTuple):
    """The status and body of a response."""

    status: int
    body: bytes


class HttpError(WireError):
    """The peer's bytes are not a response that this module accepts."""


def exchange_http(host: str, port: int, method: str, target: str, headers: Headers, *, deadline: float) -> HttpResponse:
    """Send one request without a body, on a connection of its own, and return the response.

    Args:
        host: a name or a literal address; an IPv6 address has no brackets.
        port: TCP port.
        method: such as GET.
        target: path, already encoded.
        headers: names and values, which must be printable ASCII.
        deadline: when to give up, in the seconds of ``time.monotonic``.

    Raises:
        NotConnectedError, TimeoutError: the deadline passed before a connection was made, or before the response ended.
        HttpError: the response is malformed, larger than the limits, or ends early.
        OSError: the connection failed.
    """
    named = f"[{host}]" if ":" in host else host
    lines = (f"{method} {target} HTTP/1.1", f"Host: {named}:{port}", "Connection: close", "Accept-Encoding: identity")
    fields = tuple(f"{name}: {value}" for name, value in headers)
    request = "\r\n".join((*lines, *fields, "", "")).encode("ascii")
    with dial(host, port, deadline=deadline) as sock:
        sock.settimeout(seconds_until(deadline))
        sock.sendall(request)
        received = bytearray()
        while True:
            sock.settimeout(seconds_until(deadline))
            data = sock.recv(_RECEIVE_BYTES)
            received += data
            response = parse_http_response(bytes(received), is_ended=not data)
            if response is not None:
                return response


def parse_http_response(data: bytes, *, is_ended: bool) -> HttpResponse | None:
    """Return the response that ``data`` starts with, or None if more bytes have to arrive.

    Raises:
        HttpError: the response is malformed or larger than the limits, or the peer ended the connection before its end.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if len(head) > MAX_HEAD_BYTES:
        raise HttpError(f"its head is larger than {MAX_HEAD_BYTES} bytes")
    response = _parse_body(*_parse_head(head), rest, is_ended=is_ended) if end else None
    if response is None and is_ended:
        raise HttpError("it ends early" if data else "it is empty")
    return response


def _parse_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Return the status, and the headers by their names in lower case."""
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    matches = [_HEADER.fullmatch(line) for line in lines]
    if status is None or None in matches:
        raise HttpError("it is not HTTP")
    pairs = [(match[1].lower(), match[2]) for match in matches if match]
    headers = dict(pairs)
    framing = [name for name, _ in pairs if name in (b"content-length", b"transfer-encoding")]
    if len(framing) > 1:
        raise HttpError("it states its length twice")
    return int(status[1]), headers


def _parse_body(status: int, headers: dict[bytes, bytes], rest: bytes, *, is_ended: bool) -> HttpResponse | None:
    """Return the response, or None if more bytes have to arrive."""
    length, encoding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    has_body = status not in (204, 304)
    if encoding is not None and (encoding.lower() != b"chunked" or not has_body):
        raise HttpError("its Transfer-Encoding is not supported")
    if not has_body:
        return HttpResponse(status, b"")
    if encoding is not None:
        body = _parse_chunks(rest)
    elif length is None:
        _check_size(len(rest))
        body = rest if is_ended else None
    else:
        if re.fullmatch(rb"[0-9]{1,10}", length) is None:
            raise HttpError("its Content-Length is not a number")
        _check_size(int(length))
        body = rest[: int(length)] if len(rest) >= int(length) else None
    return None if body is None else HttpResponse(status, body)


def _parse_chunks(data: bytes) -> bytes | None:
    """Return the body in a chunked encoding, or None if more bytes have to arrive. Refuse extensions and trailers."""
    body = bytearray()
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            if len(line) > len("ffffffff\r"):
                raise HttpError("a chunk has no size")
            return None
        if _CHUNK_SIZE.fullmatch(line) is None:
            raise HttpError("a chunk has no size")
        size = int(line, 16)
        _check_size(len(body) + size)
        if len(data) < size + 2 and b"\r\n".startswith(data[size:]):
            return None
        if data[size : size + 2] != b"\r\n":
            raise HttpError("a chunk does not end where its size says, or trailers follow the last one")
        if size == 0:
            return bytes(body)
        body += data[:size]
        data = data[size + 2 :]


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise HttpError(f"it is larger than {MAX_BODY_BYTES} bytes")

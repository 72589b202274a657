"""Reads the head of an HTTP CONNECT request (pure).

The caller collects bytes until ``find_head_end`` sees the blank line, then calls ``parse_connect_head``. Bytes after
the head belong to the tunnel.

The grammar is that of RFC 9112 (sections 2.2, 3, 3.2.3 and 5) without the leniency it allows: lines end in CRLF, a
field has no space before its colon and does not continue on the next line, and the target is HOST:PORT without user
information. A request that another program could read differently is refused. Only the target decides where the tunnel
leads; no header is used, and none is kept, because Proxy-Authorization may hold a secret.
"""

from __future__ import annotations

import re

from vsock_proxy.config.destination import Destination, parse_destination
from vsock_proxy.errors import ConfigError, HeadError
from vsock_wire.errors import quoted

MAX_HEAD_BYTES = 8_192
"""Far more than a request needs: a host name has at most 253 bytes. Servers commonly limit heads to this size."""
HEAD_END = b"\r\n\r\n"

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""RFC 9110, section 5.6.2."""
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|([A-Za-z0-9._-]+)):([1-9][0-9]{0,4})", re.ASCII)
_HOST_FIELD = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")


def find_head_end(received: bytes | bytearray, *, searched: int = 0) -> int | None:
    """Return how many bytes the head has, with its blank line, or None if more bytes are needed.

    Args:
        received: what has been received so far.
        searched: how many of these bytes an earlier call has searched already.

    Raises:
        HeadError: the head is larger than MAX_HEAD_BYTES (status 431).
    """
    end = received.find(HEAD_END, max(0, searched - len(HEAD_END) + 1), MAX_HEAD_BYTES)
    if end >= 0:
        return end + len(HEAD_END)
    if len(received) >= MAX_HEAD_BYTES:
        raise HeadError(431, f"the head of the request is larger than {MAX_HEAD_BYTES} bytes")
    return None


def parse_connect_head(head: bytes) -> Destination:
    """Return the destination that a CONNECT request asks for; a name in lower case, without a trailing dot.

    Args:
        head: request line, fields and blank line.

    Raises:
        HeadError: it is not a CONNECT request that every reader understands the same way; the error has the status.
    """
    request_line, *fields = head.removesuffix(HEAD_END).split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(request_line)
    if match is None:
        raise HeadError(400, "the request line is not METHOD, target and HTTP version, with one space between them")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise HeadError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    if method != b"CONNECT":
        raise HeadError(405, f"only the method CONNECT is supported, got {quoted(method.decode('ascii'))}")
    destination = _parse_target(target.decode("ascii"))
    _check_fields(fields, needs_host=minor != b"0")
    return destination


def _parse_target(target: str) -> Destination:
    if "@" in target:  # not quoted: the user information may hold a password
        raise HeadError(400, "target: expected HOST:PORT without user information")
    match = _AUTHORITY.fullmatch(target)
    if match is None:
        raise HeadError(400, f"target {quoted(target)}: not HOST:PORT or [IPV6]:PORT")
    literal, name, port = match.groups()
    try:
        return parse_destination(literal or name, int(port))
    except ConfigError as error:
        raise HeadError(400, f"target {quoted(target)}: not a valid host and port") from error


def _check_fields(lines: list[bytes], *, needs_host: bool) -> None:
    hosts = 0
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise HeadError(400, "a header line is not NAME: VALUE, or contains control characters")
        name, value = match[1].lower(), match[2].strip(b" \t")
        if name == b"host":
            hosts += 1
            if not _HOST_FIELD.fullmatch(value):
                raise HeadError(400, "the Host header is not a host")
        elif name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            raise HeadError(400, "a CONNECT request has no content")  # RFC 9110, section 9.3.6
    if hosts > 1 or (needs_host and hosts == 0):
        raise HeadError(400, f"expected one Host header, got {hosts}")  # RFC 9112, section 3.2

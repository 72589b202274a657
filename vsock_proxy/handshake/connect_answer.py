"""The answers to a CONNECT request (pure).

An answer that refuses has its reason and hint twice: in the status line, because most HTTP clients show nothing else of
a refused CONNECT, and in the body.
"""

from __future__ import annotations

import http

from vsock_proxy.errors import BusyError, HeadError, NotAllowedError, UpstreamError
from vsock_wire.errors import ToolError, printable

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""Has neither Content-Length nor Transfer-Encoding: RFC 9110, section 9.3.6."""
MAX_REASON_CHARS = 1_024
"""Enough for a host name, a reason and the path of a file; clients limit a status line to 65,536 bytes or less."""


def status_of(error: ToolError) -> http.HTTPStatus:
    """Return the status of the answer to a client whose connection failed with ``error``."""
    if isinstance(error, HeadError):
        return http.HTTPStatus(error.status)
    if isinstance(error, NotAllowedError):
        return http.HTTPStatus.FORBIDDEN
    if isinstance(error, BusyError):
        return http.HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, UpstreamError) and error.timed_out:
        return http.HTTPStatus.GATEWAY_TIMEOUT
    return http.HTTPStatus.BAD_GATEWAY


def encode_refusal(error: ToolError) -> bytes:
    """Return the answer that tells a client why there is no tunnel; the connection closes after it."""
    status = status_of(error)
    reason = _ascii(str(error))
    hint = _ascii(error.hint or "")
    lines = [f"vsock-proxy: error: {reason}", *([f"hint: {hint}"] if hint else ())]
    body = "".join(f"{line}\n" for line in lines).encode("ascii")
    allow = "Allow: CONNECT\r\n" if status == http.HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}: {'; '.join(filter(None, (reason, hint)))}\r\n"
        f"{allow}Content-Type: text/plain; charset=us-ascii\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _ascii(text: str) -> str:
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")[:MAX_REASON_CHARS]

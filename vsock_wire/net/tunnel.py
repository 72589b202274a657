"""Asks a proxy that speaks HTTP CONNECT for a connection to a host (RFC 9110, section 9.3.6).

One port of the proxy then leads to every host that its allowlist permits, such as KMS in several regions. The proxy is
not trusted: its answer is limited in size and time, its text is quoted in errors only, and whatever it connects to must
prove by TLS that it is the host.
"""

from __future__ import annotations

import re
import socket
import time

from vsock_wire.errors import TunnelError, printable
from vsock_wire.net.address import Address
from vsock_wire.net.sockets import MIN_TIMEOUT_S

MAX_ANSWER_BYTES = 8_192
"""Maximum size of the proxy's answer, with its text. vsock-proxy's answers are below 4,000 bytes."""
MAX_REASON_CHARS = 512
"""How much of the proxy's reason, and of its hint, is shown: a host name, a path and a sentence."""

_HEAD_END = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: ([\x20-\x7e\x80-\xff]*))?\r\n")
_ERROR = re.compile(rb"^vsock-proxy: error: ([^\r\n]*)", re.MULTILINE)
_HINT = re.compile(rb"^hint: ([^\r\n]*)", re.MULTILINE)
_FORBIDDEN = 403
_NOT_CONNECT_HINT = (
    "the proxy's port is not a CONNECT route: give that route connect: true in the proxy's config file, or leave out"
    " --proxy-connect"
)


def open_tunnel(sock: socket.socket, host: str, port: int, *, proxy: Address, deadline: float) -> None:
    """Have the proxy at the other end of ``sock`` connect it to a host.

    Args:
        sock: a connection to the proxy. The caller closes it, and sets its timeout again.
        host: a host name or a literal address.
        port: TCP port.
        proxy: the address of the proxy, for errors.
        deadline: a time of time.monotonic, by which the proxy must have answered.

    Raises:
        TunnelError: the proxy refused, or did not answer with HTTP in time.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    operation = f"connect to {target} through proxy"
    answer = b""
    try:
        _set_deadline(sock, deadline)
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        while _HEAD_END not in answer:
            answer += _receive(sock, deadline, MAX_ANSWER_BYTES - len(answer))
        status = _status(answer)
        if not 200 <= status < 300:
            answer += _rest(sock, deadline, MAX_ANSWER_BYTES - len(answer))
    except TimeoutError:
        raise TunnelError(operation, proxy, "no answer in time", hint=_hint(0, answer)) from None
    except (OSError, ValueError) as error:
        reason = str(error) if isinstance(error, ValueError) else (error.strerror or "the connection failed").lower()
        raise TunnelError(operation, proxy, reason, hint=_NOT_CONNECT_HINT) from error
    if not 200 <= status < 300:
        raise TunnelError(operation, proxy, _reason(status, answer), hint=_hint(status, answer))
    if not answer.endswith(_HEAD_END) or answer.count(_HEAD_END) != 1:
        raise TunnelError(operation, proxy, "it sent bytes before TLS had begun", hint=_NOT_CONNECT_HINT)


def _receive(sock: socket.socket, deadline: float, limit: int) -> bytes:
    if limit <= 0:
        raise ValueError(f"its answer is larger than {MAX_ANSWER_BYTES} bytes")
    _set_deadline(sock, deadline)
    data = sock.recv(limit)
    if not data:
        raise ValueError("it closed the connection without an answer to CONNECT")
    return data


def _rest(sock: socket.socket, deadline: float, limit: int) -> bytes:
    """Return the text of a refusal, as far as it comes: the proxy closes the connection after it."""
    text = b""
    while len(text) < limit:
        _set_deadline(sock, deadline)
        try:
            data = sock.recv(limit - len(text))
        except OSError:
            break
        if not data:
            break
        text += data
    return text


def _set_deadline(sock: socket.socket, deadline: float) -> None:
    sock.settimeout(max(MIN_TIMEOUT_S, deadline - time.monotonic()))


def _status(answer: bytes) -> int:
    match = _STATUS_LINE.match(answer)
    if match is None:
        raise ValueError("its answer to CONNECT is not HTTP")
    return int(match[1])


def _reason(status: int, answer: bytes) -> str:
    """Return the reason that vsock-proxy gives in the body, or that of the status line."""
    match = _ERROR.search(answer) or re.match(rb"HTTP/1\.[01] [0-9]{3} ([^\r\n]*)", answer)
    return f"{status}: {_shown(match[1])}" if match else str(status)


def _hint(status: int, answer: bytes) -> str:
    match = _HINT.search(answer)
    if match is not None:
        return f"on the parent instance: {_shown(match[1])}"
    if status == _FORBIDDEN:
        return "add the host to the allowlist of vsock-proxy on the parent instance"
    return "the proxy answers but does not reach the host: check its log for DNS and network errors"


def _shown(text: bytes) -> str:
    return printable(text.decode("latin-1"))[:MAX_REASON_CHARS]

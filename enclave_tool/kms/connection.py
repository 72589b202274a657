"""One connection to KMS through the proxy, over TLS that ends here.

urllib3 opens a connection by calling ``_new_conn`` for a socket and then starting TLS on it. A call is ``request``,
then ``getresponse``. This class changes five things:

- The socket connects to the proxy, whatever the host, and may ask it for the host by HTTP CONNECT
  (``vsock_wire.net.tunnel``). The host name is used for SNI and checked in the certificate.
- No wait lasts beyond the deadline that ``finishing_by`` sets for the thread: urllib3 reads ``timeout`` before each.
- Headers and body are sent in one TLS record. urllib3 sends them separately, also through the proxy, at twice the cost.
- The size of a body is limited, with or without a Content-Length.
- It records its steps if the call is being traced (``--explain``).
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, cast

from botocore.awsrequest import AWSHTTPSConnection
from botocore.exceptions import EndpointConnectionError
from urllib3.exceptions import NewConnectionError

from vsock_wire.errors import TransportError
from vsock_wire.net.address import Address
from vsock_wire.net.sockets import MIN_TIMEOUT_S, closed_on_error, connect_socket
from vsock_wire.net.tunnel import open_tunnel
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.protocol.trace import KmsAnswered, TlsConnected, cut_text
from vsock_wire.stopwatch import milliseconds_since

MAX_KMS_ANSWER_BYTES = 131_072
"""Maximum size of a response's body. KMS's largest response, to GenerateDataKeyPair for RSA_4096, is below 20,000 bytes
(KMS API reference: CiphertextForRecipient and PrivateKeyCiphertextBlob <= 6,144 bytes, PublicKey <= 8,192, in base64).
"""
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_LENGTH = re.compile(r"[0-9]{1,9}", re.ASCII)


@contextlib.contextmanager
def finishing_by(deadline: float | None) -> Iterator[None]:
    """Limit every wait of a ProxySession in this thread to ``deadline``, a time of time.monotonic."""
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def _within_deadline(timeout_s: float) -> float:
    deadline = _deadline.get()
    return timeout_s if deadline is None else min(timeout_s, max(MIN_TIMEOUT_S, deadline - time.monotonic()))


class _ProxyConnectionError(EndpointConnectionError):
    """The proxy could not be reached. As an EndpointConnectionError, it is caught and retried in the same places."""

    fmt = 'Could not connect to the endpoint URL: "{endpoint_url}", through the proxy {proxy}: {reason}'


def proxy_connection_error(url: str, error: object) -> EndpointConnectionError:
    """Return a botocore error that says which proxy could not be reached, and why.

    Args:
        url: the URL of the KMS endpoint.
        error: urllib3's error, as raised by ``ProxyConnection``.
    """
    cause = error.__cause__ if isinstance(error, NewConnectionError) else None
    if not isinstance(cause, TransportError):
        return EndpointConnectionError(endpoint_url=url, error=error)
    return _ProxyConnectionError(endpoint_url=url, proxy=cause.address, reason=cause.reason, error=error)


class ProxyConnection(AWSHTTPSConnection):
    """A connection to a host through the proxy. A subclass sets the attributes.

    Attributes:
        proxy_address: the address of the proxy.
        connect_timeout_s: seconds to connect to the proxy.
        asks_for_host: whether the proxy is asked for the host by HTTP CONNECT; otherwise it leads to one host only.
    """

    proxy_address: Address
    connect_timeout_s: float
    asks_for_host: bool = False
    _connect_ms: float | None = None
    _asked_at = 0.0
    _sent_bytes = 0
    _held: list[Any] | None = None
    _timeout_s: Any = None

    @property
    def timeout(self) -> Any:
        """The timeout in seconds, which urllib3 reads before each wait."""
        return _within_deadline(self._timeout_s) if isinstance(self._timeout_s, (int, float)) else self._timeout_s

    @timeout.setter
    def timeout(self, timeout_s: Any) -> None:
        self._timeout_s = timeout_s

    def _new_conn(self) -> socket.socket:
        timeout_s = _within_deadline(self.connect_timeout_s)
        deadline = time.monotonic() + timeout_s
        try:
            sock = connect_socket(self.proxy_address, timeout_s=timeout_s)
            if self.asks_for_host:
                with closed_on_error(sock):
                    open_tunnel(sock, self.host, self.port, proxy=self.proxy_address, deadline=deadline)
                sock.settimeout(timeout_s)
            return sock
        except TransportError as error:
            # botocore would turn a bare OSError into an HTTPClientError that does not explain the failure.
            raise NewConnectionError(self, str(error)) from error

    def connect(self) -> None:
        """Connect to the proxy, and start TLS with the host behind the proxy."""
        started = time.perf_counter()
        super().connect()
        self._connect_ms = milliseconds_since(started)

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request, with headers and body together."""
        if is_recording():
            record(self._describe_tls())
        self._connect_ms = None
        self._sent_bytes, self._asked_at = 0, time.perf_counter()
        # urllib3 sends headers and body separately, each in its own TLS record; one record for both costs half as much.
        self._held = []
        try:
            super().request(*args, **kwargs)
        finally:
            held, self._held = self._held, None
        self.send(b"".join(held))

    def send(self, data: Any) -> None:
        """Send bytes, or hold them back while ``request`` collects its parts."""
        if self._held is not None:
            self._held.append(data)
            return
        self._sent_bytes += len(data)
        super().send(data)

    def getresponse(self) -> Any:
        """Return the response, with its body limited to MAX_KMS_ANSWER_BYTES."""
        response: Any = super().getresponse()
        if is_recording():
            record(self._describe_answer(response))
        self._bound(response)
        return response

    def _bound(self, response: Any) -> None:
        """Refuse a body over MAX_KMS_ANSWER_BYTES, at once by its Content-Length or else when it exceeds the limit."""
        if response.length_remaining is not None and response.length_remaining > MAX_KMS_ANSWER_BYTES:
            raise self._too_large()
        whole_stream = response.stream

        def stream(*args: Any, **kwargs: Any) -> Iterator[bytes]:
            received_bytes = 0
            for data in whole_stream(*args, **kwargs):
                received_bytes += len(data)
                if received_bytes > MAX_KMS_ANSWER_BYTES:
                    self.close()
                    raise self._too_large()
                yield data

        response.stream = stream  # what botocore reads a body by

    def _too_large(self) -> TransportError:
        return TransportError("read response from", self.host, f"larger than {MAX_KMS_ANSWER_BYTES} bytes")

    def _describe_tls(self) -> TlsConnected:
        tls = cast("ssl.SSLSocket", self.sock)
        certificate: Any = tls.getpeercert()
        names = [name for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"]
        issuer = [f"{key}={value}" for part in certificate.get("issuer", ()) for key, value in part]
        return TlsConnected(
            proxy=str(self.proxy_address),
            host=cut_text(self.host),
            version=cut_text(tls.version()),
            cipher=cut_text((tls.cipher() or ("",))[0]),
            certificate_names=cut_text(", ".join(names)),
            certificate_issuer=cut_text(", ".join(issuer)),
            is_kept=self._connect_ms is None,
            elapsed_ms=self._connect_ms or 0.0,
        )

    def _describe_answer(self, response: Any) -> KmsAnswered:
        length = response.headers.get("Content-Length", "")
        return KmsAnswered(
            sent_bytes=self._sent_bytes,
            received_bytes=int(length) if _LENGTH.fullmatch(length) else 0,
            http_status=response.status,
            request_id=cut_text(response.headers.get("x-amzn-RequestId", "")),
            elapsed_ms=milliseconds_since(self._asked_at),
        )

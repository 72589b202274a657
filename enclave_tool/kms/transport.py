"""An HTTP session for botocore that dials the proxy on the parent, with TLS ending here.

The parent sees TLS records, and in the clear only the server name. This file reaches into private parts of botocore
(``URLLib3Session._manager``, ``_get_ssl_context``, ``_setup_ssl_cert``); pyproject.toml bounds its version for that.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, cast

import urllib3.exceptions
from botocore.awsrequest import AWSHTTPSConnection, AWSHTTPSConnectionPool
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import URLLib3Session, get_cert_path
from urllib3 import HTTPConnectionPool, PoolManager, Retry
from urllib3.exceptions import NewConnectionError

from vsock_wire.errors import InputError, TransportError
from vsock_wire.net.address import Address
from vsock_wire.net.sockets import MIN_TIMEOUT_S, connect_socket
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.protocol.trace import KmsAnswered, TlsConnected, cut_text
from vsock_wire.stopwatch import milliseconds_since

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_NO_RETRIES = Retry(False)
_LENGTH = re.compile(r"[0-9]{1,9}", re.ASCII)


@contextlib.contextmanager
def finishing_by(deadline: float | None) -> Iterator[None]:
    """Let no wait of a ProxySession in this thread last beyond ``deadline``, which is by time.monotonic."""
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def _within_deadline(timeout_s: float) -> float:
    deadline = _deadline.get()
    return timeout_s if deadline is None else min(timeout_s, max(MIN_TIMEOUT_S, deadline - time.monotonic()))


MAX_KMS_ANSWER_BYTES = 131_072
"""Most bytes of an answer's body. KMS's largest, that to GenerateDataKeyPair for RSA_4096, has below 20,000 (KMS API
reference: CiphertextForRecipient and PrivateKeyCiphertextBlob <= 6,144 bytes, PublicKey <= 8,192, in base64)."""


class ProxySession(URLLib3Session):
    """A botocore HTTP session whose HTTPS connections all go through one address, whatever host they are for.

    The host name serves for SNI and is checked against the certificate. Proxies of the environment, plain HTTP and
    redirects to other hosts have no effect: there is no other way out. Connections are kept and reused.

    Args:
        proxy: what to dial: the vsock-proxy on the parent.
        tls: the context for every connection, from ``tls_context``.
        connect_timeout_s: seconds for reaching the proxy.
        read_timeout_s: seconds for each wait on the host behind it.
        max_connections: how many connections are kept.
    """

    def __init__(
        self,
        proxy: Address,
        *,
        tls: ssl.SSLContext,
        connect_timeout_s: float,
        read_timeout_s: float,
        max_connections: int,
    ) -> None:
        self._tls = tls
        super().__init__(
            timeout=(connect_timeout_s, read_timeout_s),  # type: ignore[arg-type] # botocore-stubs know only int
            max_pool_connections=max_connections,
        )
        self._manager: PoolManager
        self._manager.pool_classes_by_scheme = {"https": _pool_class(proxy, connect_timeout_s)}

    def pool(self, url: str) -> ProxyPool:
        """Return the connections to the host of an https:// URL; for as long as this session is open."""
        pool = self._manager.connection_from_url(url)
        self._setup_ssl_cert(pool, url, True)
        return ProxyPool(url, pool)

    def _get_ssl_context(self) -> ssl.SSLContext:
        return self._tls

    def _setup_ssl_cert(self, conn: Any, url: str, verify: object) -> None:  # noqa: ARG002 - botocore's signature
        # botocore would have the whole CA bundle parsed again for every connection; the context has it already.
        conn.cert_reqs = "CERT_REQUIRED"


class HttpAnswer(NamedTuple):
    """What botocore's parser and retry rules look at of an answer."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def __repr__(self) -> str:
        return f"HttpAnswer(status_code={self.status_code}, {len(self.content)} bytes)"


class ProxyPool:
    """The connections of a ProxySession to one host, without what botocore's session does beside for other services.

    Args:
        url: of the host.
        pool: urllib3's.
    """

    def __init__(self, url: str, pool: HTTPConnectionPool) -> None:
        self._url = url
        self._pool = pool

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Send a request and return the answer to it, whatever its status.

        Raises:
            HTTPClientError, ConnectionError: botocore's; there was none.
        """
        try:
            response = self._pool.urlopen(
                "POST", path, body=body, headers=headers, retries=_NO_RETRIES, redirect=False, assert_same_host=False,
                preload_content=False, decode_content=False, enforce_content_length=False,
            )  # fmt: skip
            return HttpAnswer(response.status, response.headers, b"".join(response.stream()))
        except Exception as error:
            raise self._botocore_error(error) from error

    def _botocore_error(self, error: Exception) -> BotoCoreError:
        """Return what a botocore session raises for an error of urllib3's."""
        match error:
            case urllib3.exceptions.SSLError():
                return SSLError(endpoint_url=self._url, error=error)
            case NewConnectionError():
                return EndpointConnectionError(endpoint_url=self._url, error=error)
            case urllib3.exceptions.ConnectTimeoutError():
                return ConnectTimeoutError(endpoint_url=self._url, error=error)
            case urllib3.exceptions.ReadTimeoutError():
                return ReadTimeoutError(endpoint_url=self._url, error=error)
            case urllib3.exceptions.ProtocolError():
                return ConnectionClosedError(endpoint_url=self._url, error=error)
        return HTTPClientError(error=error)


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return a client context: TLS 1.2 or later, certificate and host name checked.

    Building one parses the whole bundle (about 20 ms), so build one per process.

    Args:
        ca_file: PEM bundle of the trusted authorities; None means the bundle that botocore trusts.

    Raises:
        InputError: the bundle cannot be read.
    """
    bundle = ca_file or get_cert_path(True)
    # Not ssl.create_default_context: that one obeys SSLKEYLOGFILE, by which an environment variable would have the
    # session keys written to a file. This one checks certificate and host name as well, and reads no environment.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=bundle)
    except OSError as error:
        reason = (error.strerror or "no certificate in it").lower()
        raise InputError(f"CA bundle {bundle}: expected PEM certificates: {reason}") from error
    return context


class _ProxyConnection(AWSHTTPSConnection):
    """A connection through the proxy, which records what it does for a call that is to be explained."""

    proxy_address: Address
    connect_timeout_s: float
    _connect_ms: float | None = None
    _asked_at = 0.0
    _sent_bytes = 0
    _held: list[Any] | None = None
    _timeout_s: Any = None

    @property
    def timeout(self) -> Any:
        """urllib3 reads it before each wait; seconds."""
        return _within_deadline(self._timeout_s) if isinstance(self._timeout_s, (int, float)) else self._timeout_s

    @timeout.setter
    def timeout(self, timeout_s: Any) -> None:
        self._timeout_s = timeout_s

    def _new_conn(self) -> socket.socket:
        try:
            return connect_socket(self.proxy_address, timeout_s=_within_deadline(self.connect_timeout_s))
        except TransportError as error:
            # A bare OSError would come out of botocore as an unexplained HTTPClientError.
            raise NewConnectionError(self, str(error)) from error

    def connect(self) -> None:
        started = time.perf_counter()
        super().connect()
        self._connect_ms = milliseconds_since(started)

    def request(self, *args: Any, **kwargs: Any) -> Any:
        if is_recording():
            record(self._describe_tls())
        self._connect_ms = None
        self._sent_bytes, self._asked_at = 0, time.perf_counter()
        # urllib3 sends headers and body each by itself, in a TLS record and through the proxy; together they cost half.
        self._held = []
        try:
            super().request(*args, **kwargs)
        finally:
            held, self._held = self._held, None
        self.send(b"".join(held))

    def send(self, data: Any) -> None:
        if self._held is not None:
            self._held.append(data)
            return
        self._sent_bytes += len(data)
        super().send(data)

    def getresponse(self) -> Any:
        response: Any = super().getresponse()
        if is_recording():
            record(self._describe_answer(response))
        self._bound(response)
        return response

    def _bound(self, response: Any) -> None:
        """Refuse a body over MAX_KMS_ANSWER_BYTES: at once where its length is told, else when so many have come."""
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
        return TransportError("read answer from", self.host, f"expected at most {MAX_KMS_ANSWER_BYTES} bytes, got more")

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


def _pool_class(proxy: Address, connect_timeout_s: float) -> type[AWSHTTPSConnectionPool]:
    attributes = {"proxy_address": proxy, "connect_timeout_s": connect_timeout_s}
    connection_class = type("_ProxyConnectionOfPool", (_ProxyConnection,), attributes)
    return type("_ProxyConnectionPool", (AWSHTTPSConnectionPool,), {"ConnectionCls": connection_class})

"""An HTTP session for botocore that dials the proxy on the parent, with TLS ending here.

The parent sees TLS records, and in the clear only the server name. This file reaches into private parts of botocore
(``URLLib3Session._manager``, ``_get_ssl_context``, ``_setup_ssl_cert``); pyproject.toml bounds its version for that.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from botocore.awsrequest import AWSHTTPSConnection, AWSHTTPSConnectionPool
from botocore.httpsession import URLLib3Session, get_cert_path
from urllib3 import PoolManager
from urllib3.exceptions import NewConnectionError

from vsock_wire.address import Address
from vsock_wire.errors import InputError, TransportError
from vsock_wire.sockets import connect_socket


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

    def _get_ssl_context(self) -> ssl.SSLContext:
        return self._tls

    def _setup_ssl_cert(self, conn: Any, url: str, verify: object) -> None:  # noqa: ARG002 - botocore's signature
        # botocore would have the whole CA bundle parsed again for every connection; the context has it already.
        conn.cert_reqs = "CERT_REQUIRED"


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


def _pool_class(proxy: Address, connect_timeout_s: float) -> type[AWSHTTPSConnectionPool]:
    class ProxyConnection(AWSHTTPSConnection):
        def _new_conn(self) -> socket.socket:
            try:
                return connect_socket(proxy, timeout_s=connect_timeout_s)
            except TransportError as error:
                # A bare OSError would come out of botocore as an unexplained HTTPClientError.
                raise NewConnectionError(self, str(error)) from error

    class ProxyConnectionPool(AWSHTTPSConnectionPool):
        ConnectionCls = ProxyConnection

    return ProxyConnectionPool

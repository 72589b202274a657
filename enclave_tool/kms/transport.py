"""An HTTP session for botocore that reaches KMS through the proxy on the parent, over TLS that ends here.

A boto3 client sends with ``client._endpoint.http_session``, a URLLib3Session. It has a urllib3 pool manager, which
keeps a pool of connections for each host. This session gives the manager its own pool class, so that its connections
(``enclave_tool.kms.connection``) connect to the proxy. boto3's retries, parsers and keep-alive stay unchanged, and
traffic cannot leave in any other way: proxies set in the environment, plain HTTP and redirects to other hosts have no
effect. The parent sees TLS records and, unencrypted, only the server name. The server's own calls use the same pools
without the rest of botocore's session (``pool``).

This file uses private parts of botocore (``URLLib3Session._manager``, ``_get_ssl_context``, ``_setup_ssl_cert``).
Therefore pyproject.toml limits botocore's version, and tests/unit/enclave_tool/kms/test_transport.py runs with each new
version.
"""

from __future__ import annotations

import ssl
from typing import Any

from botocore.awsrequest import AWSHTTPSConnectionPool
from botocore.exceptions import EndpointConnectionError
from botocore.httpsession import URLLib3Session
from urllib3 import PoolManager

from enclave_tool.kms.connection import ProxyConnection, proxy_connection_error
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.pool import ProxyPool
from enclave_tool.kms.tls import tls_context


class ProxySession(URLLib3Session):
    """A botocore HTTP session that opens all HTTPS connections through one proxy, whatever their host.

    Connections are kept and reused.

    Args:
        options: the proxy, the trusted authorities, the timeouts and the number of kept connections.

    Raises:
        InputError: the CA bundle cannot be read.
    """

    def __init__(self, options: KmsOptions) -> None:
        self._tls = options.tls or tls_context(options.ca_file)
        super().__init__(
            timeout=(options.connect_timeout_s, options.read_timeout_s),  # type: ignore[arg-type] # stubs know only int
            max_pool_connections=options.max_connections,
        )
        self._manager: PoolManager
        pool_class = _pool_class(options)
        self._manager.pool_classes_by_scheme = {"https": pool_class}

    def pool(self, url: str) -> ProxyPool:
        """Return the connections to the host of an https:// URL; they last until this session is closed."""
        pool = self._manager.connection_from_url(url)
        self._setup_ssl_cert(pool, url, True)
        return ProxyPool(url, pool)

    def send(self, request: Any) -> Any:
        """Send a request and return the response; an error says which proxy could not be reached."""
        try:
            return super().send(request)
        except EndpointConnectionError as error:
            raise proxy_connection_error(request.url, error.kwargs.get("error")) from error

    def _get_ssl_context(self) -> ssl.SSLContext:
        return self._tls

    def _setup_ssl_cert(self, conn: Any, url: str, verify: object) -> None:  # noqa: ARG002 - botocore's signature
        # botocore would parse the whole CA bundle again for every connection; the context already has it.
        conn.cert_reqs = "CERT_REQUIRED"


def _pool_class(options: KmsOptions) -> type[AWSHTTPSConnectionPool]:
    attributes = {
        "proxy_address": options.proxy_address,
        "connect_timeout_s": options.connect_timeout_s,
        "asks_for_host": options.proxy_connect,
    }
    connection_class = type("_ProxyConnectionOfPool", (ProxyConnection,), attributes)
    return type("_ProxyConnectionPool", (AWSHTTPSConnectionPool,), {"ConnectionCls": connection_class})

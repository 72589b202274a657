"""The connections to one host, for the server's calls: urllib3's pool without botocore's session around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import urllib3.exceptions
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from urllib3 import HTTPConnectionPool, Retry
from urllib3.exceptions import NewConnectionError

from enclave_tool.kms.connection import proxy_connection_error

_NO_RETRIES = Retry(False)


class HttpAnswer(NamedTuple):
    """The parts of a response that botocore's parser and retry rules use."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def __repr__(self) -> str:
        return f"HttpAnswer(status_code={self.status_code}, {len(self.content)} bytes)"


class ProxyPool:
    """The connections of a ProxySession to one host, without what botocore's session adds for other services.

    Args:
        url: the URL of the host.
        pool: urllib3's pool.
    """

    def __init__(self, url: str, pool: HTTPConnectionPool) -> None:
        self._url = url
        self._pool = pool

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Send a request and return the response, whatever its status.

        Raises:
            HTTPClientError, ConnectionError: botocore's exceptions; there was no response.
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
        """Return what a botocore session raises for an error from urllib3."""
        match error:
            case urllib3.exceptions.SSLError():
                return SSLError(endpoint_url=self._url, error=error)
            case NewConnectionError():
                return proxy_connection_error(self._url, error)
            case urllib3.exceptions.ConnectTimeoutError():
                return ConnectTimeoutError(endpoint_url=self._url, error=error)
            case urllib3.exceptions.ReadTimeoutError():
                return ReadTimeoutError(endpoint_url=self._url, error=error)
            case urllib3.exceptions.ProtocolError():
                return ConnectionClosedError(endpoint_url=self._url, error=error)
        return HTTPClientError(error=error)

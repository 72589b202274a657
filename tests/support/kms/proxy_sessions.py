"""Both ways to call KMS through the proxy: as boto3 clients do, and as the server does."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from botocore.awsrequest import AWSRequest

from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.pool import ProxyPool
from enclave_tool.kms.transport import ProxySession
from vsock_wire.net.address import UnixAddress

HOST = "kms.us-east-1.amazonaws.com"
TIMEOUT_S = 10.0
"""Passing tests never wait this long."""


class BySession:
    """A ProxySession, as boto3 clients use it."""

    def __init__(self, options: KmsOptions) -> None:
        self._session = ProxySession(options)

    def fetch(self, url: str) -> tuple[int, bytes]:
        request = AWSRequest(method="POST", url=url, data=b"{}", headers={"X-Amz-Target": "TrentService.Decrypt"})
        response = self._session.send(request.prepare())
        return response.status_code, response.content

    def close(self) -> None:
        self._session.close()


class ByPool:
    """A session's connections to each host, as the server uses them."""

    def __init__(self, options: KmsOptions) -> None:
        self._session = ProxySession(options)
        self._pools: dict[str, ProxyPool] = {}

    def fetch(self, url: str) -> tuple[int, bytes]:
        if url not in self._pools:
            self._pools[url] = self._session.pool(url)
        answer = self._pools[url].post("/", {"X-Amz-Target": "TrentService.Decrypt"}, b"{}")
        return answer.status_code, answer.content

    def close(self) -> None:
        self._session.close()


Session: TypeAlias = BySession | ByPool


way: type[Session] = BySession
"""The class that new_session creates an instance of."""


@contextmanager
def new_session(proxy: UnixAddress, tls: ssl.SSLContext, *, read_timeout_s: float = TIMEOUT_S) -> Iterator[Session]:
    options = KmsOptions(
        proxy=proxy, tls=tls, connect_timeout_s=TIMEOUT_S, read_timeout_s=read_timeout_s, max_connections=4
    )
    session = way(options)
    yield session
    session.close()


def fetch(session: Session, url: str = f"https://{HOST}/") -> tuple[int, bytes]:
    return session.fetch(url)

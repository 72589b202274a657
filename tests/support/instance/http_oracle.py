"""http.client as the oracle of our own HTTP exchange: what it makes of a peer's bytes."""

from __future__ import annotations

import http.client
import io
import socket
from typing import cast

from instance_tool.credentials.http_exchange import HttpResponse

MAX_ORACLE_HEADERS = 100
"""http.client refuses responses with more."""


class _Bytes:
    """What HTTPResponse needs of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def response_by_http_client(data: bytes) -> HttpResponse | None:
    """Return the response that ``data`` starts with if the connection ends after it, or None if it is not one."""
    response = http.client.HTTPResponse(cast("socket.socket", _Bytes(data)))
    try:
        response.begin()
        return HttpResponse(response.status, response.read())
    except (http.client.HTTPException, ValueError, AttributeError):
        return None

"""Answers to CONNECT: the status of each failure, and a reason that any HTTP client can show."""

from __future__ import annotations

import http.client
import io

import pytest

from vsock_proxy.errors import (
    BusyError,
    DialError,
    HeadError,
    NotAllowedError,
    ResolveError,
)
from vsock_proxy.handshake.connect_answer import ESTABLISHED, MAX_REASON_CHARS, encode_refusal
from vsock_wire.errors import ToolError


class _Received:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def read(answer: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    response = http.client.HTTPResponse(_Received(answer), method="GET")  # type: ignore[arg-type] # of a socket it uses only this
    response.begin()
    return response, response.read()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotAllowedError("x"), 403),
        (DialError("x"), 502),
        (ResolveError("x"), 502),
        (DialError("x", timed_out=True), 504),
        (ResolveError("x", timed_out=True), 504),
        (BusyError("x"), 503),
        (HeadError(400, "x"), 400),
        (HeadError(405, "x"), 405),
        (HeadError(408, "x"), 408),
        (HeadError(431, "x"), 431),
        (HeadError(505, "x"), 505),
    ],
)
def test_each_failure_has_its_status(error: ToolError, status: int) -> None:
    assert read(encode_refusal(error))[0].status == status


def test_reason_is_in_the_status_line_and_with_the_hint_in_the_body() -> None:
    response, body = read(encode_refusal(NotAllowedError("not allowed: a.com:443", hint="edit /etc/f.yaml")))
    assert response.reason == "Forbidden: not allowed: a.com:443; edit /etc/f.yaml"
    assert body == b"vsock-proxy: error: not allowed: a.com:443\nhint: edit /etc/f.yaml\n"
    assert response.getheader("Connection") == "close"


def test_answer_to_another_method_names_the_one_that_works() -> None:
    assert read(encode_refusal(HeadError(405, "x")))[0].getheader("Allow") == "CONNECT"


def test_text_cannot_add_lines_to_the_answer() -> None:
    response, body = read(
        encode_refusal(NotAllowedError("a\r\nSet-Cookie: é" + "x" * 2_000, hint="b\r\n\r\nc" + "y" * 2_000))
    )
    assert response.getheader("Set-Cookie") is None
    reason = ("a\\r\\nSet-Cookie: \\xe9" + "x" * 2_000)[:MAX_REASON_CHARS]
    hint = ("b\\r\\n\\r\\nc" + "y" * 2_000)[:MAX_REASON_CHARS]
    assert response.reason == f"Forbidden: {reason}; {hint}"
    assert body.decode() == f"vsock-proxy: error: {reason}\nhint: {hint}\n"


def test_success_has_no_content() -> None:
    assert ESTABLISHED.startswith(b"HTTP/1.1 200 ")
    assert ESTABLISHED.endswith(b"\r\n\r\n")
    assert b":" not in ESTABLISHED

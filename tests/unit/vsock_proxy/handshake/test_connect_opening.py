"""What a client of a CONNECT route says first, in whatever pieces it arrives."""

from __future__ import annotations

import pytest

from vsock_proxy.config.destination import Destination
from vsock_proxy.errors import HeadError, NotAllowedError
from vsock_proxy.handshake.connect_head import MAX_HEAD_BYTES
from vsock_proxy.handshake.connect_opening import ConnectOpening

HEAD = b"CONNECT A.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_request_is_returned_once_it_is_complete_and_the_rest_is_kept(size: int) -> None:
    opening = ConnectOpening()
    data = HEAD + b"\x16\x03\x01"
    results = [opening.feed(data[start : start + size]) for start in range(0, len(HEAD), size)]
    assert results[:-1] == [None] * (len(results) - 1)
    assert results[-1] == Destination("a.com", 443)
    assert (b"\x16\x03\x01").startswith(opening.rest)
    assert len(opening.rest) == min(len(data), len(results) * size) - len(HEAD)


def test_endless_head_is_refused_at_the_limit() -> None:
    opening = ConnectOpening()
    line = b"a: b\r\n"
    opening.feed(HEAD[:-2])
    for _ in range((MAX_HEAD_BYTES - len(HEAD)) // len(line)):
        assert opening.feed(line) is None
    line *= 2
    with pytest.raises(HeadError) as caught:
        opening.feed(line)
    assert caught.value.status == 431


def test_refusal_is_an_answer_in_http() -> None:
    assert ConnectOpening().refusal(NotAllowedError("x")).startswith(b"HTTP/1.1 403 Forbidden: x\r\n")

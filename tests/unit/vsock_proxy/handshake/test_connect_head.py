"""Heads of CONNECT requests: what they ask for, and what is refused with which status."""

from __future__ import annotations

import http.server
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vsock_proxy.config.destination import Destination
from vsock_proxy.errors import HeadError
from vsock_proxy.handshake.connect_head import HEAD_END, MAX_HEAD_BYTES, find_head_end, parse_connect_head

HOST = b"Host: x\r\n"


def head(target: bytes, *, method: bytes = b"CONNECT", version: bytes = b"1.1", fields: bytes = HOST) -> bytes:
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + fields + b"\r\n"


def parse(data: bytes) -> Destination:
    end = find_head_end(data)
    assert end is not None
    return parse_connect_head(data[:end])


@pytest.mark.parametrize(
    ("target", "destination"),
    [
        (b"kms.us-east-1.amazonaws.com:443", "kms.us-east-1.amazonaws.com:443"),
        (b"KMS.US-east-1.Amazonaws.COM:443", "kms.us-east-1.amazonaws.com:443"),
        (b"kms.us-east-1.amazonaws.com.:443", "kms.us-east-1.amazonaws.com:443"),
        (b"10.0.0.1:1", "10.0.0.1:1"),
        (b"[2001:DB8:0::1]:65535", "[2001:db8::1]:65535"),
        (b"[::ffff:10.0.0.1]:443", "10.0.0.1:443"),
        (b"[::ffff:a00:1]:443", "10.0.0.1:443"),
    ],
)
def test_target_is_a_host_and_a_port(target: bytes, destination: str) -> None:
    assert str(parse(head(target))) == destination


@pytest.mark.parametrize(
    "fields",
    [
        HOST + b"Proxy-Authorization: Basic c2VjcmV0\r\nUser-Agent:\r\n",
        b"hOST:\t kms.example:443 \t\r\n",
        b"Host: [::1]:443\r\nContent-Length: 0\r\n",
        b"Host:\r\nX: \xe9\xff\r\n",
    ],
)
def test_other_fields_make_no_difference(fields: bytes) -> None:
    assert parse(head(b"a.com:443", fields=fields)) == Destination("a.com", 443)


def test_http_1_0_needs_no_host() -> None:
    assert parse(head(b"a.com:443", version=b"1.0", fields=b"")) == Destination("a.com", 443)


@pytest.mark.parametrize(
    "target",
    [
        b"a.com", b"a.com:", b":443", b"a.com:0", b"a.com:65536", b"a.com:0443", b"a.com:+443", b"a.com:443/",
        b"user@a.com:443", b"user:secret@a.com:443", b"a.com@b.com:443", b"https://a.com:443", b"/", b"*",
        b"::1:443", b"[::1]", b"[::1:443", b"[10.0.0.1]:443", b"[a.com]:443", b"[fe80::1%25eth0]:443", b"[v1.a]:443",
        b"a%2ecom:443", b"a..com:443", b"a.com..:443", b"-a.com:443", b"127.1:443", b"0x7f.1:443", b"2130706433:443",
        b"a.com:443:443", b"a.com:443,b.com:443", b"a" * 254 + b":443", b"a.com#:443", b"a.com\\:443",
    ],
)  # fmt: skip
def test_target_that_is_not_a_host_and_a_port_is_refused(target: bytes) -> None:
    with pytest.raises(HeadError) as caught:
        parse(head(target))
    assert caught.value.status == 400


def test_error_about_user_information_does_not_show_it() -> None:
    with pytest.raises(HeadError, match="without user information") as caught:
        parse(head(b"user:secret@a.com:443"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(b"a.com:443", method=b"GET"), 405),
        (head(b"a.com:443", method=b"connect"), 405),
        (head(b"a.com:443", version=b"2.0"), 505),
        (head(b"a.com:443", version=b"0.9"), 505),
        (head(b"a.com:443", version=b"1.1.1"), 400),
        (head(b"a.com:443", version=b"1.1 "), 400),
        (b"CONNECT  a.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT\ta.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b" CONNECT a.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"\r\nCONNECT a.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT a.com:443\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT a.com:443 http/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT a\xe9.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT a.com:443 HTTP/1.1\n" + HOST + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_request_line_of_another_form_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(HeadError) as caught:
        parse(data)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        HOST + HOST,
        HOST + b"host: y\r\n",
        b"Host: a b\r\n",
        b"Host: a@b\r\n",
        HOST + b"Name : value\r\n",
        HOST + b": value\r\n",
        HOST + b"name\r\n",
        HOST + b"a: b\r\n c\r\n",
        HOST + b"a: b\nc: d\r\n",
        HOST + b"a: b\rc: d\r\n",
        HOST + b"a: \x00\r\n",
        HOST + b"a: \x7f\r\n",
        HOST + b"Content-Length: 1\r\n",
        HOST + b"Content-Length: 0, 0\r\n",
        HOST + b"Transfer-Encoding: chunked\r\n",
        HOST + b"transfer-encoding: identity\r\n",
    ],
)
def test_header_that_could_be_read_in_two_ways_is_refused(fields: bytes) -> None:
    with pytest.raises(HeadError) as caught:
        parse(head(b"a.com:443", fields=fields))
    assert caught.value.status == 400


def test_error_never_shows_a_header() -> None:
    with pytest.raises(HeadError) as caught:
        parse(head(b"a.com:443", fields=HOST + b"Proxy-Authorization : Basic c2VjcmV0\r\n"))
    assert "c2VjcmV0" not in str(caught.value)


@given(st.binary(max_size=40), st.integers(1, 9))
def test_end_is_found_whatever_the_pieces_in_which_the_head_arrives(rest: bytes, size: int) -> None:
    data = head(b"a.com:443") + rest
    received = bytearray()
    searched, end = 0, None
    while end is None:
        received += data[len(received) : len(received) + size]
        end = find_head_end(received, searched=searched)
        searched = len(received)
    assert data[:end] == head(b"a.com:443")


def test_head_that_does_not_end_within_the_limit_is_refused() -> None:
    full = head(b"a.com:443", fields=HOST + b"a: " + b"x" * MAX_HEAD_BYTES)
    start = full[: MAX_HEAD_BYTES - len(HEAD_END)]
    assert find_head_end(start + HEAD_END) == MAX_HEAD_BYTES
    assert find_head_end(full[: MAX_HEAD_BYTES - 1]) is None
    for data in (full, full[:MAX_HEAD_BYTES], full[: MAX_HEAD_BYTES - 3] + HEAD_END):
        with pytest.raises(HeadError) as caught:
            find_head_end(data)
        assert caught.value.status == 431


class _StandardParser(http.server.BaseHTTPRequestHandler):
    """The standard library's idea of a request."""

    def __init__(self, data: bytes) -> None:
        self.rfile, self.wfile = io.BytesIO(data), io.BytesIO()
        self.raw_requestline = self.rfile.readline(65_537)
        self.request_version = self.command = ""
        self.understood = self.parse_request()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""


_lines = st.sampled_from(
    [
        b"CONNECT a.com:443 HTTP/1.1",
        b"CONNECT a.com:443 HTTP/1.0",
        b"Host: a",
        b"host:b",
        b"X: y",
        b" z",
        b"q",
        b"",
        b"\t",
    ]
)


@given(st.lists(st.tuples(_lines, st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0\r\n"])), max_size=6))
@example([(b"CONNECT a.com:443 HTTP/1.1", b"\r\n"), (b"Host: a", b"\r\n")])
def test_what_is_accepted_means_the_same_to_another_parser(lines: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(line + end for line, end in lines) + b"\r\n"
    try:
        end = find_head_end(data)
        if end is None:
            return
        destination = parse_connect_head(data[:end])
    except HeadError:
        return
    other = _StandardParser(data)
    assert other.understood
    assert (other.command, other.path) == ("CONNECT", str(destination))
    assert data[len(data) - len(other.rfile.read()) :] == data[end:]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_destination_or_an_error_with_a_status(data: bytes) -> None:
    statuses = set()
    try:
        parse_connect_head(data + HEAD_END)
    except HeadError as error:
        statuses.add(error.status)
    assert statuses <= {400, 405, 505}

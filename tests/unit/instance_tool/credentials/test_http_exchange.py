from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instance_tool.credentials.http_exchange import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    HttpError,
    HttpResponse,
    exchange_http,
    parse_http_response,
)
from tests.support.instance.http_oracle import MAX_ORACLE_HEADERS, response_by_http_client

HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
UNTIL_END = b"HTTP/1.0 200 OK\r\n\r\nhello"

bodies = st.binary(max_size=200)
names = st.sampled_from(["X", "Content-Type", "Date", "content-length", "Transfer-Encoding", "Server", ""])
values = st.sampled_from(["", " x", "5", " 0", "chunked", "gzip", "a b", "\u00e9", "-1", "5, 5", "\t5\t"])


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Draw responses in every framing, and things that are nearly responses."""
    status = draw(
        st.sampled_from(["200 OK", "404 Not Found", "403", "204 No Content", "304 x", "100 C", "999 x", "20 x"])
    )
    body = draw(bodies)
    lines = [f"{name}:{value}" for name, value in draw(st.lists(st.tuples(names, values), max_size=3))]
    framing = draw(st.sampled_from(["length", "chunked", "end", "none"]))
    if framing == "length":
        lines.append(f"Content-Length: {len(body) + draw(st.integers(-2, 2))}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        body = chunked(body, draw(st.integers(1, 50)))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2", "ICY"]))
    newline = draw(st.sampled_from(["\r\n"] * 4 + ["\n"]))
    return newline.join([f"{version} {status}", *lines, "", ""]).encode("latin-1") + body


def outcome(data: bytes, *, is_ended: bool) -> HttpResponse | str | None:
    try:
        return parse_http_response(data, is_ended=is_ended)
    except HttpError as error:
        return str(error)


class TestParsing:
    @pytest.mark.parametrize("data", [HEALTHY, CHUNKED, UNTIL_END])
    def test_each_framing_gives_the_body(self, data: bytes) -> None:
        assert parse_http_response(data, is_ended=True) == HttpResponse(200, b"hello")

    @pytest.mark.parametrize("data", [HEALTHY, CHUNKED])
    def test_response_that_states_its_length_needs_no_end_of_the_connection(self, data: bytes) -> None:
        for size in range(len(data)):
            assert parse_http_response(data[:size], is_ended=False) is None
        assert parse_http_response(data, is_ended=False) == HttpResponse(200, b"hello")

    @pytest.mark.parametrize("data", [HEALTHY, CHUNKED])
    def test_response_that_ends_early_is_refused(self, data: bytes) -> None:
        for size in range(1, len(data)):
            assert outcome(data[:size], is_ended=True) == "it ends early"
        assert outcome(b"", is_ended=True) == "it is empty"

    @pytest.mark.parametrize(
        ("head", "problem"),
        [
            (b"SSH-2.0-OpenSSH", "it is not HTTP"),
            (b"HTTP/1.1 abc", "it is not HTTP"),
            (b"HTTP/1.1 100 Continue", "it is not HTTP"),
            (b"HTTP/1.1 200 OK\r\n folded", "it is not HTTP"),
            (b"HTTP/1.1 200 OK\r\nX: y\r\n folded", "it is not HTTP"),
            (b"HTTP/1.1 200 OK\r\nX : y", "it is not HTTP"),
            (b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 5", "it is not HTTP"),
            (b"HTTP/1.1 200 OK\r\nX: \x00", "it is not HTTP"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", "it states its length twice"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "it states its length twice"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip", "its Transfer-Encoding is not supported"),
            (b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked", "its Transfer-Encoding is not supported"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -5", "its Content-Length is not a number"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 65537", f"it is larger than {MAX_BODY_BYTES} bytes"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_HEAD_BYTES, f"its head is larger than {MAX_HEAD_BYTES} bytes"),
        ],
        ids=lambda value: value[:60].decode("latin-1") if isinstance(value, bytes) else "",
    )
    def test_head_that_is_not_strict_http_is_refused(self, head: bytes, problem: str) -> None:
        assert outcome(head + b"\r\n\r\nhello", is_ended=False) == problem

    @pytest.mark.parametrize(
        "body",
        [b"zz\r\n", b"5;ext=1\r\nhello\r\n0\r\n\r\n", b"\r\n", b"2\r\nhello\r\n", b"0\r\nX: y\r\n\r\n", b"1" * 12],
    )
    def test_chunks_that_are_not_strict_are_refused(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert str(outcome(head + body, is_ended=False)).startswith("a chunk ")

    def test_chunks_larger_than_the_limit_are_refused_before_they_arrive(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert outcome(head + b"10001\r\n", is_ended=False) == f"it is larger than {MAX_BODY_BYTES} bytes"

    def test_body_without_a_length_is_refused_over_the_limit_while_it_arrives(self) -> None:
        endless = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_BODY_BYTES + 1)
        assert outcome(endless, is_ended=False) == f"it is larger than {MAX_BODY_BYTES} bytes"

    @given(responses())
    @example(HEALTHY)
    @example(CHUNKED)
    def test_what_is_accepted_means_the_same_to_http_client(self, data: bytes) -> None:
        ours = outcome(data, is_ended=True)
        if isinstance(ours, HttpResponse):
            assert ours == response_by_http_client(data)

    @given(responses(), st.integers(0, 400))
    def test_bytes_that_arrive_later_never_change_the_outcome(self, data: bytes, size: int) -> None:
        early = outcome(data[:size], is_ended=False)
        if early is not None:
            assert early == outcome(data, is_ended=False)

    @given(st.integers(200, 599).filter(lambda status: status not in (204, 304)), bodies, st.integers(1, 80))
    def test_every_valid_framing_is_accepted(self, status: int, body: bytes, size: int) -> None:
        head = b"HTTP/1.1 %d x\r\n" % status
        for rest in (
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
            b"transfer-encoding:chunked\r\n\r\n" + chunked(body, size),
            b"\r\n" + body,
        ):
            assert (
                outcome(head + rest, is_ended=True)
                == HttpResponse(status, body)
                == response_by_http_client(head + rest)
            )


def test_oracle_refuses_more_headers_than_its_limit() -> None:
    assert response_by_http_client(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_ORACLE_HEADERS + 1) + b"\r\n") is None


Serve = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that has one connection served, and returns the port."""
    with contextlib.ExitStack() as stack:

        def start(conversation: Callable[[socket.socket], None]) -> int:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def run() -> None:
                sock, _ = listener.accept()
                with sock:
                    conversation(sock)

            thread = threading.Thread(target=run)
            thread.start()
            stack.callback(thread.join)
            return int(listener.getsockname()[1])

        yield start


def ask(port: int, *, timeout_s: float = 30.0, host: str = "127.0.0.1") -> HttpResponse:
    return exchange_http(host, port, "GET", "/path", (("X-Token", "t"),), deadline=time.monotonic() + timeout_s)


class TestExchange:
    def test_request_names_the_host_and_closes_the_connection(self, serve: Serve) -> None:
        received: list[bytes] = []

        def answer(sock: socket.socket) -> None:
            received.append(sock.recv(65_536))
            sock.sendall(HEALTHY)

        port = serve(answer)
        assert ask(port) == HttpResponse(200, b"hello")
        assert received == [
            b"GET /path HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\nAccept-Encoding: identity\r\n"
            b"X-Token: t\r\n\r\n" % port
        ]

    def test_name_is_resolved(self, serve: Serve) -> None:
        def answer(sock: socket.socket) -> None:
            sock.recv(65_536)
            sock.sendall(HEALTHY)

        assert ask(serve(answer), host="localhost") == HttpResponse(200, b"hello")

    @pytest.mark.parametrize("start", [b"", HEALTHY[:10], HEALTHY[:-5], CHUNKED[:-10]])
    def test_peer_that_drips_bytes_costs_one_deadline(self, serve: Serve, start: bytes) -> None:
        """The peer goes on until the client leaves, so this test ends only if the client does."""

        def drip(sock: socket.socket) -> None:
            sock.recv(65_536)
            filler = b"X: y\r\n" * 1_000_000 if b"\r\n\r\n" not in start else b""
            with contextlib.suppress(OSError):
                sock.sendall(start)
                for byte in filler:
                    sock.sendall(bytes([byte]))
                    time.sleep(0.01)
                sock.recv(1)

        with pytest.raises(TimeoutError):
            ask(serve(drip), timeout_s=0.3)

    def test_peer_that_resets_is_an_os_error(self, serve: Serve) -> None:
        def reset(sock: socket.socket) -> None:
            sock.recv(65_536)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

        with pytest.raises(ConnectionResetError):
            ask(serve(reset))

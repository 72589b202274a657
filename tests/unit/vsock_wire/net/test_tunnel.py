"""What the enclave asks a proxy that speaks HTTP CONNECT, and what it makes of every answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from vsock_wire.errors import TunnelError
from vsock_wire.net.address import VsockAddress
from vsock_wire.net.tunnel import MAX_ANSWER_BYTES, MAX_REASON_CHARS, open_tunnel

PROXY = VsockAddress(3, 8_000)
HOST = "kms.eu-west-1.amazonaws.com"
PATIENCE_S = 10.0


@contextmanager
def proxy(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Yield the enclave's end of a connection to a proxy that behaves as ``serve`` does."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs:
            serve(theirs)

    thread = threading.Thread(target=run)
    thread.start()
    with ours:
        yield ours
    thread.join()


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    def serve(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(answer)

    return serve


def tunnel(sock: socket.socket, host: str = HOST, *, within_s: float = PATIENCE_S) -> None:
    open_tunnel(sock, host, 443, proxy=PROXY, deadline=time.monotonic() + within_s)


def refusal(answer: bytes) -> TunnelError:
    with proxy(answering(answer)) as sock, pytest.raises(TunnelError) as caught:
        tunnel(sock)
    return caught.value


@pytest.mark.parametrize(("host", "target"), [(HOST, f"{HOST}:443"), ("::1", "[::1]:443")])
def test_proxy_is_asked_for_the_host_and_the_bytes_after_its_answer_are_the_tunnels(host: str, target: str) -> None:
    requests = []

    def serve(sock: socket.socket) -> None:
        requests.append(sock.recv(65_536))
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        sock.sendall(sock.recv(5))

    with proxy(serve) as sock:
        tunnel(sock, host)
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
    assert requests == [f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()]


@pytest.mark.parametrize("answer", [b"HTTP/1.0 200\r\n\r\n", b"HTTP/1.1 204 x\r\nA: b\r\n\r\n"])
def test_every_success_is_accepted_in_any_pieces(answer: bytes) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(65_536)
        for byte in answer:
            sock.sendall(bytes([byte]))

    with proxy(serve) as sock:
        tunnel(sock)


def test_refusal_of_vsock_proxy_is_shown_with_its_reason_and_hint() -> None:
    body = b"vsock-proxy: error: not allowed\nhint: edit /etc/f.yaml\n"
    error = refusal(b"HTTP/1.1 403 Forbidden: x; y\r\nContent-Length: 9\r\n\r\n" + body)
    assert str(error) == f"connect to {HOST}:443 through proxy vsock://3:8000: 403: not allowed"
    assert error.hint == "on the parent instance: edit /etc/f.yaml"


@pytest.mark.parametrize(
    ("answer", "reason", "hint"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", "403: No", "add the host to the allowlist"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "502: Bad Gateway", "check its log"),
        (b"HTTP/1.1 504\r\n\r\n", "504", "check its log"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "100: Continue", "check its log"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x15\x03\x01", "it sent bytes before TLS had begun", "not a CONNECT route"),
        (b"HTTP/1.1 200 OK\r\n\r\n\r\n\r\n", "it sent bytes before TLS had begun", "not a CONNECT route"),
        (b"\x15\x03\x01\x00\x02\x02\x32\r\n\r\n", "its answer to CONNECT is not HTTP", "not a CONNECT route"),
        (b"HTTP/2 200 OK\r\n\r\n", "its answer to CONNECT is not HTTP", "not a CONNECT route"),
        (b"", "it closed the connection without an answer to CONNECT", "not a CONNECT route"),
        (b"HTTP/1.1 200 OK\r\n", "it closed the connection without an answer to CONNECT", "not a CONNECT route"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 2_000, "its answer is larger than 8192 bytes", "not a CONNECT route"),
    ],
)
def test_every_other_answer_is_an_error_that_says_what_to_do(answer: bytes, reason: str, hint: str) -> None:
    error = refusal(answer)
    assert error.reason == reason
    assert hint in str(error.hint)


def test_proxys_text_is_cut_and_cannot_control_a_terminal() -> None:
    error = refusal(b"HTTP/1.1 403 \xff" + b"x" * 2_000 + b"\r\n\r\nhint: \x1b[2J" + b"y" * (MAX_ANSWER_BYTES - 3_000))
    assert error.reason == "403: " + ("\xff" + "x" * 2_000)[:MAX_REASON_CHARS]
    assert str(error.hint).startswith("on the parent instance: \\x1b[2J")
    assert len(str(error.hint)) < MAX_REASON_CHARS + 50


def test_silent_proxy_ends_at_the_deadline() -> None:
    done = threading.Event()

    def serve(_: socket.socket) -> None:
        done.wait(PATIENCE_S)

    with proxy(serve) as sock:
        with pytest.raises(TunnelError, match="no answer in time"):
            tunnel(sock, within_s=0.05)
        done.set()


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\na: ", b"HTTP/1.1 403 No\r\n\r\n"])
def test_proxy_that_drips_its_answer_ends_at_the_deadline(start: bytes) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(start)
        try:
            for _ in range(1_000):  # 10 s, far from the limit in bytes
                sock.sendall(b"x")
                time.sleep(0.01)
        except OSError:
            return

    with proxy(serve) as sock:
        with pytest.raises(TunnelError):
            tunnel(sock, within_s=0.1)
        sock.shutdown(socket.SHUT_RDWR)

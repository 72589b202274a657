from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from nitro_simulator.http_server import HttpRequest, HttpResponse, HttpServer

LIMIT = 1000


class Application:
    """Answers as the target says, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []

    def __call__(self, request: HttpRequest) -> HttpResponse | None:
        self.requests.append(request)
        if request.target == "/silent":
            return None
        if request.target == "/bug":
            raise RuntimeError("a secret")
        return HttpResponse(200, request.body or b"hello", (("X-Extra", "1"),))


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def service(application: Application) -> Iterator[HttpServer]:
    with HttpServer(application, server_name="test", max_body_bytes=LIMIT, idle_timeout_s=5) as service:
        yield service


@pytest.fixture
def connection(service: HttpServer) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", service.port, timeout=10)
    yield connection
    connection.close()


def _exchange(service: HttpServer, sent: bytes) -> bytes:
    """Send raw bytes, and return everything until the server closes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while data := sock.recv(65_536):
            received += data
        return received


def test_request_reaches_the_application_whole(application: Application, connection: HTTPConnection) -> None:
    connection.request("PUT", "/a?b=c", b"body", {"X-One": "1"})
    response = connection.getresponse()

    assert (response.status, response.read(), response.getheader("X-Extra")) == (200, b"body", "1")
    assert (response.getheader("Server"), response.getheader("Content-Length")) == ("test", "4")
    (request,) = application.requests
    assert (request.method, request.target, request.body) == ("PUT", "/a?b=c", b"body")
    assert (request.header("x-one"), request.header("X-Two")) == ("1", None)


def test_connection_is_kept_for_more_requests(connection: HTTPConnection) -> None:
    for _ in range(3):
        connection.request("GET", "/")
        first = connection.sock
        assert connection.getresponse().read() == b"hello"
        assert connection.sock is first


def test_head_gets_the_length_without_the_body(service: HttpServer) -> None:
    received = _exchange(service, b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert b"Content-Length: 5\r\n" in received
    assert received.endswith(b"\r\n\r\n")


def test_client_that_expects_100_continue_gets_it(service: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"body")
        assert sock.recv(65_536).endswith(b"body")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 1001", b"413"),
        (b"Content-Length: 99999999999999999999", b"413"),
        (b"Content-Length: -1", b"400"),
        (b"Content-Length: x", b"400"),
        (b"Transfer-Encoding: chunked", b"411"),
    ],
)
def test_body_of_bad_length_is_refused_and_the_connection_closed(
    service: HttpServer, application: Application, head: bytes, status: bytes
) -> None:
    received = _exchange(service, b"POST / HTTP/1.1\r\n" + head + b"\r\n\r\n")

    assert received.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in received
    assert application.requests == []


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf",
    ],
)
def test_nonsense_ends_only_its_own_connection(
    service: HttpServer, application: Application, connection: HTTPConnection, sent: bytes
) -> None:
    _exchange(service, sent)

    assert application.requests == []
    connection.request("GET", "/")
    assert connection.getresponse().status == 200


def test_bug_in_the_application_is_answered_without_its_text(
    connection: HTTPConnection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.request("GET", "/bug")
    response = connection.getresponse()

    assert (response.status, response.read()) == (500, b"")
    assert "RuntimeError" in caplog.text
    assert "a secret" not in caplog.text


def test_idle_connection_is_closed_in_time(application: Application) -> None:
    with (
        HttpServer(application, server_name="test", max_body_bytes=LIMIT, idle_timeout_s=0.1) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock,
    ):
        assert sock.recv(1) == b""


def _rest(sock: socket.socket) -> bytes:
    """Return everything until the end of the connection; a reset also counts as the end."""
    try:
        return sock.recv(65_536)
    except ConnectionResetError:
        return b""


def test_close_ends_silent_and_idle_connections_and_every_thread(application: Application) -> None:
    before = set(threading.enumerate())
    service = HttpServer(application, server_name="test", max_body_bytes=LIMIT)
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as idle,
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as silent,
    ):
        silent.sendall(b"GET /silent HTTP/1.1\r\n\r\n")
        idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert idle.recv(65_536)
        port = service.port
        service.close()
        service.close()

        assert (_rest(silent), _rest(idle)) == (b"", b"")
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_repr_of_requests_and_answers_shows_no_headers_and_no_bodies() -> None:
    request = HttpRequest("GET", "/", (("Authorization", "secret"),), b"secret")

    assert "secret" not in repr(request)
    assert "secret" not in repr(HttpResponse(200, b"secret", (("X", "secret"),)))

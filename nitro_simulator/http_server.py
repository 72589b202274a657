"""Serves HTTP/1.1, with or without TLS, from a function that maps a request to a response.

One thread accepts connections, and each connection has its own thread. A bad client loses only its own connection:

- The accepting thread only wraps the socket. The TLS handshake runs in the connection's thread, so that a client that
  stops in the middle of it delays nobody else.
- Every wait has a timeout. The server checks the length of a body before reading it, and refuses chunked bodies.
- If the application raises, the response is 500. The text of the exception, which may contain a secret, is neither sent
  nor logged.
- Head and body are sent in one write: with two, Nagle's algorithm waits for the client's delayed acknowledgment.
- ``close`` shuts down the sockets instead of closing them. The read in each connection's thread then returns, and that
  thread closes its socket. A connection that the application never answers (None) also waits for ``close``.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self, TypeAlias

from nitro_simulator.clock import Clock, utc_now

logger = logging.getLogger(__name__)

IDLE_TIMEOUT_S = 60.0
"""Seconds that a connection may stay silent: in the TLS handshake, within a request, or between two requests."""
CLOSE_TIMEOUT_S = 5.0
LISTEN_BACKLOG = 128


@dataclass(frozen=True)
class HttpRequest:
    """A request as received; ``repr`` shows neither headers nor body, which may contain credentials.

    Attributes:
        method: in upper case.
        target: path and query.
        headers: in order and with duplicates, names as the client wrote them.
        body: the whole body.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        """Return the first header with that name, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True)
class HttpResponse:
    """A response; the server adds Content-Length, Date and Server."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


Application: TypeAlias = Callable[[HttpRequest], HttpResponse | None]
"""Answers a request; None means no response, ever. Called by many threads at once."""


def log_bug(error: Exception) -> None:
    """Log the type and place of an unexpected exception, but not its text, which may contain secrets."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("internal error: %s at %s:%s", type(error).__name__, place.filename, place.lineno)


class HttpServer:
    """An HTTP server that runs from construction to ``close``.

    Args:
        application: returns the response to a request.
        server_name: the Server header.
        max_body_bytes: a longer request body is refused with 413, without reading it.
        host: address to listen on.
        port: 0 lets the kernel choose.
        tls: for HTTPS; None for HTTP.
        idle_timeout_s: see IDLE_TIMEOUT_S.
        clock: gives the Date of each response.
    """

    def __init__(
        self,
        application: Application,
        *,
        server_name: str,
        max_body_bytes: int,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        clock: Clock = utc_now,
    ) -> None:
        self._server = _ThreadingServer((host, port), _Handler)
        self._server.application = application
        self._server.server_label = server_name
        self._server.max_body_bytes = max_body_bytes
        self._server.tls = tls
        self._server.idle_timeout_s = idle_timeout_s
        self._server.clock = clock
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name=server_name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on."""
        host, port = self._server.socket.getsockname()[:2]
        return str(host), int(port)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.address[1]

    def close(self) -> None:
        """Stop listening and end every connection; a second call does nothing."""
        if self._server.is_closing.is_set():
            return
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()
        self._thread.join(CLOSE_TIMEOUT_S)


class _ThreadingServer(ThreadingHTTPServer):
    daemon_threads = True  # so that a forgotten close does not keep the process alive
    request_queue_size = LISTEN_BACKLOG
    application: Application
    server_label: str
    max_body_bytes: int
    tls: ssl.SSLContext | None
    idle_timeout_s: float
    clock: Clock

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.is_closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's lookup of its own host name, which can take seconds."""
        TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, Any]:
        sock, address = super().get_request()
        sock.settimeout(self.idle_timeout_s)
        if self.tls is None:
            return sock, address
        try:
            return self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address
        except OSError:  # the client has already gone
            sock.close()
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        logger.debug("a connection failed: %s", type(sys.exception()).__name__)

    def end_connections(self) -> None:
        self.is_closing.set()
        with self._changed:
            for sock in self._connections:
                with contextlib.suppress(OSError):
                    # not SSLSocket.shutdown, which removes the TLS state that the reading thread uses
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, CLOSE_TIMEOUT_S)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write: two would meet Nagle's algorithm and delayed acknowledgments
    disable_nagle_algorithm = True
    server: _ThreadingServer

    def _serve(self) -> None:
        body = self._read_body()
        if body is None:
            return
        request = HttpRequest(self.command, self.path, tuple(self.headers.items()), body)
        answer = self._answer(request)
        if answer is None:
            self.close_connection = True
            self.server.is_closing.wait()
            return
        self._send(answer)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_OPTIONS = do_PATCH = _serve  # noqa: N815 - the base class looks for these

    def _read_body(self) -> bytes | None:
        """Return the body, or None if the request was refused, after which the connection closes."""
        if self.headers.get("Transfer-Encoding") is not None:
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
            return None
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return None
        if len(length) > 12 or int(length) > self.server.max_body_bytes:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return body

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._send(HttpResponse(status, status.phrase.encode(), (("Connection", "close"),)))

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        try:
            return self.server.application(request)
        except Exception as error:  # noqa: BLE001 - a bug ends one request, not the service
            log_bug(error)
            return HttpResponse(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _send(self, answer: HttpResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    def handle_expect_100(self) -> bool:
        may_go_on = super().handle_expect_100()
        self.wfile.flush()
        return may_go_on

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.server.clock().timestamp() if timestamp is None else timestamp)

    def version_string(self) -> str:
        return self.server.server_label

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        logger.debug(format, *args)

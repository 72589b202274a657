"""An instance metadata service with scripted responses."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOKEN_PATH = "/latest/api/token"
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
TOKEN = "AQAEAExampleToken=="

CREDENTIALS: dict[str, Any] = {
    "Code": "Success",
    "LastUpdated": "2031-01-01T00:00:00Z",
    "Type": "AWS-HMAC",
    "AccessKeyId": "ASIAROLEEXAMPLE",
    "SecretAccessKey": "theRoleSecret",
    "Token": "theRoleToken",
    "Expiration": "2999-01-01T00:00:00Z",
}


@dataclass
class Answer:
    """One response.

    Attributes:
        body: with None, the server never responds to the request.
        status: of the response.
        drips: whether the body is sent byte by byte until the client disconnects.
    """

    body: bytes | None
    status: int = 200
    drips: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """A request that the service received."""

    method: str
    path: str
    headers: dict[str, str]


class ScriptedImds:
    """IMDSv2 on its own port, which works correctly until the test changes ``answers``.

    Attributes:
        is_dripping: set when a response has begun to drip.
        is_left: set when a client has disconnected from a dripping response.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers = {
            ("PUT", TOKEN_PATH): Answer(TOKEN.encode()),
            ("GET", ROLES_PATH): Answer(b"the-role"),
            ("GET", ROLES_PATH + "the-role"): Answer(json.dumps(CREDENTIALS).encode()),
        }
        self.is_dripping = threading.Event()
        self.is_left = threading.Event()
        self._is_over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environ(self) -> dict[str, str]:
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint}

    def set_credentials(self, **changes: object) -> None:
        self.answers["GET", ROLES_PATH + "the-role"] = Answer(json.dumps({**CREDENTIALS, **changes}).encode())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        imds = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                imds.requests.append(Request(self.command, self.path, headers))
                answer = imds.answers.get((self.command, self.path), Answer(b"", 404))
                if answer.body is None:
                    imds._is_over.wait()
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if answer.drips:
                    imds._drip(self, answer.body)
                else:
                    self.wfile.write(answer.body)

        return Handler

    def _drip(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        try:
            for byte in body:
                handler.wfile.write(bytes([byte]))
                self.is_dripping.set()
                if self._is_over.wait(0.01):
                    return
        except OSError:
            self.is_left.set()

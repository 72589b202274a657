"""A throwaway certificate authority, and a KMS with canned responses over real TLS on a unix socket."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import ssl
import tempfile
import threading
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import close_quietly, listen_socket


class ThrowawayAuthority:
    """A certificate authority for one test run.

    Args:
        name: its name.
    """

    def __init__(self, name: x509.Name | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = name or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throwaway authority")])
        self._certificate = self._issue(self._name, self._key.public_key(), is_authority=True)

    def write_bundle(self, path: Path) -> Path:
        path.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        return path

    def server_context(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._issue(name, key.public_key(), host=host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.write(certificate.public_bytes(Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _issue(
        self,
        name: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        *,
        host: str | None = None,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@dataclass
class Call:
    """One request as KMS received it."""

    operation: str
    fields: dict[str, Any]
    headers: dict[str, str]
    raw: bytes = field(repr=False)
    connection: int

    @property
    def document(self) -> bytes | None:
        recipient = self.fields.get("Recipient")
        return b64decode(recipient["AttestationDocument"]) if recipient else None


@dataclass
class Answer:
    """One response: JSON fields or raw bytes, and a status. A Connection header ends the connection."""

    body: dict[str, Any] | bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def to_http(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "x-amzn-RequestId": "11111111-2222-3333-4444-555555555555",
            "Content-Length": str(len(body)),
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Canned\r\n{head}\r\n".encode() + body


class CannedKms:
    """Serves HTTP/1.1 over TLS; ``answer`` returns the response, or None to close the connection.

    Args:
        address: the address to listen on.
        tls: a server context, or None to serve without TLS.
    """

    def __init__(self, address: UnixAddress, tls: ssl.SSLContext | None) -> None:
        self.address = address
        self.calls: list[Call] = []
        self.handshake_errors: list[Exception] = []
        self.server_names: list[str | None] = []
        self.connections = 0
        self.answer: Callable[[Call], Answer | None] = lambda _call: Answer({})
        self._tls = tls
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        if tls is not None:
            tls.sni_callback = lambda _sock, name, _context: self.server_names.append(name)

    def __enter__(self) -> Self:
        self._listener = listen_socket(self.address)
        self._acceptor = threading.Thread(target=self._accept_all)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        close_quietly(self._listener)
        self._acceptor.join()
        self.drop_connections()
        for thread in self._threads:
            thread.join()

    def forget(self) -> None:
        """Reset the counters and the response; open connections stay open."""
        with self._lock:
            self.calls.clear()
            self.handshake_errors.clear()
            self.server_names.clear()
            self.connections = 0
        self.answer = lambda _call: Answer({})

    def drop_connections(self) -> None:
        """Close every open connection, as KMS does with idle ones."""
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept_all(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock, len(self._threads)))
                self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        stream: socket.socket = sock
        try:
            if self._tls is not None:
                stream = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._open[self._open.index(sock)] = stream
            with stream.makefile("rb") as reader:
                while (call := _read_call(reader, number)) is not None:
                    with self._lock:
                        self.calls.append(call)
                    answer = self.answer(call)
                    if answer is None:
                        return
                    stream.sendall(answer.to_http())
                    if "Connection" in answer.headers:
                        return
        except (OSError, ValueError) as error:
            self.handshake_errors.append(error)
        finally:
            with self._lock:
                self._open.remove(stream if stream in self._open else sock)
            close_quietly(stream)


def _read_call(reader: Any, connection: int) -> Call | None:
    request_line = reader.readline()
    if not request_line:
        return None
    raw, headers = request_line, {}
    while (line := reader.readline()) not in (b"\r\n", b""):
        raw += line
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    operation = headers.get("x-amz-target", "").removeprefix("TrentService.")
    return Call(operation, json.loads(body) if body else {}, headers, raw + b"\r\n" + body, connection)

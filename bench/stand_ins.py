"""Stand-ins for KMS and the NSM that cost next to nothing, so that the bench does not measure them.

The first response of each kind is real: a document that the simulated NSM signed, and a CiphertextForRecipient for the
public key in it. Each is stored, and returned to anyone who sends the same bytes. Nothing is checked: no signature, no
policy, no document. For benches only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import selectors
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from nitro_simulator.clock import utc_now
from nitro_simulator.kms.recipient_cms import seal_for_recipient
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.service import MAX_REQUEST_BYTES, SimulatedNsm
from nitro_simulator.pki.tls import TlsAuthority
from vsock_wire.net.address import UnixAddress
from vsock_wire.net.sockets import listen_socket

KMS_HOST = "kms.us-east-1.amazonaws.com"
KMS_PROCESSES = 2
KEY_ARN = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PLAINTEXT = b"one data key, 32 bytes of length"
_LENGTH = struct.Struct(">I")


@contextlib.contextmanager
def child(work: Callable[[], Any]) -> Iterator[int]:
    """Run ``work`` in its own process; yield the process id, and kill it at the end."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            work()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def kept_nsm(address: UnixAddress) -> Callable[[], None]:
    """Return a server that answers the same request with the same bytes."""
    nsm = SimulatedNsm(AttestationAuthority.create(at=utc_now()), module_id="i-0123456789abcdef0-enc0123456789abcdef")
    listener = listen_socket(address)
    answers: dict[bytes, bytes] = {}

    def accept(selector: selectors.BaseSelector) -> None:
        sock = listener.accept()[0]
        selector.register(sock, selectors.EVENT_READ, lambda: answer(selector, sock))

    def answer(selector: selectors.BaseSelector, sock: socket.socket) -> None:
        request = sock.recv(MAX_REQUEST_BYTES + _LENGTH.size)[_LENGTH.size :]  # which arrives in one piece
        if not request:
            selector.unregister(sock)
            sock.close()
            return
        kept = answers.get(request) or answers.setdefault(request, nsm.answer(request))
        sock.sendall(_LENGTH.pack(len(kept)) + kept)

    def serve() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ, lambda: accept(selector))
            while True:
                for key, _ in selector.select():
                    key.data()

    return serve


class KeptKms:
    """A TLS server that gives every Decrypt with the same document the same response.

    Args:
        authority: signs its certificate.
        delay_s: seconds that each response takes, to simulate the time to KMS and back.
    """

    def __init__(self, authority: TlsAuthority, *, delay_s: float = 0.0) -> None:
        self._tls = authority.server_certificate(KMS_HOST, "127.0.0.1").ssl_context()
        self._delay_s = delay_s
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._answers: dict[bytes, bytes] = {}
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve_connection, args=(sock,), daemon=True).start()

    def _serve_connection(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), self._tls.wrap_socket(sock, server_side=True) as tls:
            data = b""
            while chunk := tls.recv(65_536):
                data += chunk
                head, separator, body = data.partition(b"\r\n\r\n")
                if not separator or len(body) < _content_length(head):
                    continue
                if self._delay_s:
                    time.sleep(self._delay_s)
                tls.sendall(self._answer(body))
                data = b""

    def _answer(self, body: bytes) -> bytes:
        document_b64 = body.partition(b'"AttestationDocument":')[2].split(b'"', 2)[1]
        key = hashlib.sha256(document_b64).digest()
        return self._answers.get(key) or self._answers.setdefault(key, _first_answer(document_b64))


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def _first_answer(document_b64: bytes) -> bytes:
    payload: bytes = cbor2.loads(base64.b64decode(document_b64))[2]
    public_key = load_der_public_key(cbor2.loads(payload)["public_key"])
    assert isinstance(public_key, RSAPublicKey)
    ciphertext_b64 = base64.b64encode(seal_for_recipient(PLAINTEXT, public_key)).decode("ascii")
    body = (
        f'{{"CiphertextForRecipient":"{ciphertext_b64}","EncryptionAlgorithm":"SYMMETRIC_DEFAULT","KeyId":"{KEY_ARN}",'
        f'"Plaintext":null}}'
    ).encode()
    head = (
        "HTTP/1.1 200 OK\r\nx-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\n"
        f"Content-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextlib.contextmanager
def stand_ins(folder: Path, *, delay_s: float = 0.0) -> Iterator[tuple[int, list[int]]]:
    """Run both; yield KMS's port and the ids of all their processes.

    ``folder`` then holds ``nsm.sock`` and ``ca.pem``.
    """
    authority = TlsAuthority.create()
    folder.joinpath("ca.pem").write_bytes(authority.ca_pem)
    kms = KeptKms(authority, delay_s=delay_s)
    nsm = kept_nsm(UnixAddress(str(folder / "nsm.sock")))
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(child(nsm))]
        pids += [stack.enter_context(child(kms.serve)) for _ in range(KMS_PROCESSES)]
        yield kms.port, pids

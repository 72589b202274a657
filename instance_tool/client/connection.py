"""One connection to an enclave: sends requests, receives replies, and records both for the trace."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Collection, Iterator

from instance_tool.errors import EnclaveError
from vsock_wire.errors import CONNECT, TransportError, WireError
from vsock_wire.net.address import Address, UnixAddress
from vsock_wire.net.sockets import connect_socket, peer_uid
from vsock_wire.protocol.delivery import ACCEPTS, DELIVERY
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES
from vsock_wire.protocol.json_codec import JsonObject, decode_message
from vsock_wire.protocol.kms_operations import TIMEOUT_S_FIELD
from vsock_wire.protocol.messages import ErrorReply, parse_reply
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.protocol.vocabulary import EVIDENCE, EXPLAIN, ID, PROTOCOL, STATUS_OK, TRIES, EnclaveCode, Operation
from vsock_wire.rpc.connection import MessageConnection
from vsock_wire.stopwatch import milliseconds_since

_ROOT = 0
_logger = logging.getLogger(__name__)


class EnclaveConnection:
    """An open connection to an enclave. Not thread-safe.

    Every failure except an error reply closes it, because a later reply could belong to an earlier request.

    Args:
        connection: connected to the enclave; this object owns it from now on.
        address: address of the enclave, for errors and the trace.
        timeout_s: seconds for sending a message and for each reply.
    """

    def __init__(self, connection: MessageConnection, address: Address, *, timeout_s: float) -> None:
        self._connection = connection
        self._address = address
        self._timeout_s = timeout_s
        self._is_open = True
        self._is_legacy = False
        self._last_id = 0

    @property
    def is_open(self) -> bool:
        """Whether this end is open; the enclave may have closed its end."""
        return self._is_open

    @property
    def is_quiet(self) -> bool:
        """Whether the connection is open, and the enclave has neither closed it nor sent what nobody has read."""
        return self._is_open and self._connection.is_quiet()

    def close(self) -> None:
        """Close the connection."""
        self._is_open = False
        self._connection.close()

    def exchange(self, message: JsonObject) -> JsonObject:
        """Send one request and return the fields of its reply, which must have the Id of the request.

        Only kmstool in C, which announces no protocol, sends results without an Id. Errors may have none, because a
        server sends some before it has read a request.

        Raises:
            EnclaveError: the enclave replied with an error.
            TransportError: the enclave stopped answering.
            WireError: the peer does not speak the protocol, or sent a reply that belongs to another request.
        """
        if is_recording():
            message = {**message, EXPLAIN: True}
        with self._closing_on_failure():
            self._refuse_early_reply()
            started = time.perf_counter()
            message = {**message, ID: self._new_id()}
            self._send_unless_closed(message)
            reply, received_bytes = self._receive()
            if is_recording():
                _record_reply(message["Operation"], reply, received_bytes, milliseconds_since(started))
            reply_id, parsed = reply.pop(ID, None), parse_reply(reply)
            self._verify_id(message, reply_id, parsed)
        if isinstance(parsed, ErrorReply):
            # A busy enclave closes the connection; after an error without an Id, the reply may still come.
            if reply_id is None or parsed.code == EnclaveCode.BUSY:
                self.close()
            raise EnclaveError(parsed)
        return parsed

    def send(self, message: JsonObject) -> str:
        """Send one request, and return its Id. Several may be sent before their replies are received.

        Raises:
            TransportError: the enclave has closed the connection or does not read from it.
        """
        request_id = self._new_id()
        with self._closing_on_failure():
            self._send({**message, ID: request_id})
        return request_id

    def receive(self) -> JsonObject:
        """Return the next reply, Ok or Error, with its Id.

        Raises:
            TransportError: the enclave stopped answering.
            WireError: the peer does not speak the protocol.
        """
        with self._closing_on_failure():
            return self._receive()[0]

    def discard_reply(self, *, timeout_s: float) -> None:
        """Read a reply that no request waits for, and ignore it; return if none arrives in time or at all."""
        with contextlib.suppress(TransportError, WireError):
            self._connection.receive(idle_timeout_s=timeout_s, message_timeout_s=timeout_s)

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _new_id(self) -> str:
        """Return an Id that no other request on this connection has."""
        self._last_id += 1
        return str(self._last_id)

    def _refuse_early_reply(self) -> None:
        """Refuse what arrived before the request: a later reply could then be taken for the one to this request."""
        if self._connection.is_quiet():
            return
        parsed = parse_reply(self._receive()[0])
        if isinstance(parsed, ErrorReply):  # a server turns a client away before it reads
            raise EnclaveError(parsed)
        raise WireError("reply: arrived before the request")

    def _verify_id(self, message: JsonObject, reply_id: object, reply: JsonObject | ErrorReply) -> None:
        """Refuse a reply that belongs to another request: it could have the plaintext of another program."""
        if reply_id == message[ID]:
            return
        if reply_id is None:
            if isinstance(reply, ErrorReply):
                return
            if message["Operation"] == Operation.SET_CLIENT:
                self._is_legacy = PROTOCOL not in reply
            if self._is_legacy:
                return
        raise WireError("reply: its Id is not that of the request", hint="it belongs to another request: try again")

    def _send_unless_closed(self, message: JsonObject) -> None:
        """Send a request. If that fails, a reply may still follow: a busy server replies without reading."""
        try:
            self._send(message)
        except TransportError as error:
            if isinstance(error.__cause__, TimeoutError):
                raise
            _logger.debug("%s", error)

    def _send(self, message: JsonObject) -> None:
        sent_bytes = self._connection.send(message, timeout_s=self._timeout_s)
        if is_recording():
            _record_request(self._address, message, sent_bytes)

    def _receive(self) -> tuple[JsonObject, int]:
        """Return a reply and its size in bytes, including the NUL."""
        try:
            frame = self._connection.receive(idle_timeout_s=self._timeout_s, message_timeout_s=self._timeout_s)
            if frame is None:
                raise TransportError(
                    "read from",
                    self._address,
                    "the connection was closed before the reply",
                    hint="kmstool in C serves one client at a time: is another client connected?",
                )
            return decode_message(frame), len(frame) + 1
        except WireError:  # its text describes a bad request, and this is a reply
            raise WireError(
                f"reply: not a JSON object of at most {MAX_MESSAGE_BYTES} bytes",
                hint=f"the program that listens on {self._address} is not kmstool-enclave: check --cid and --port",
            ) from None


def connect_enclave(address: Address, *, timeout_s: float, trusted_uids: Collection[int] = ()) -> EnclaveConnection:
    """Connect to an enclave.

    Args:
        address: where the enclave listens.
        timeout_s: seconds for connecting, and then for sending each message and for each reply.
        trusted_uids: users, besides root and this one, whose program may listen on a unix socket.

    Raises:
        TransportError: nothing is listening there, it does not accept in time, or it is another user's program.
    """
    started = time.perf_counter()
    sock = connect_socket(address, timeout_s=timeout_s)
    if isinstance(address, UnixAddress):
        try:
            _verify_listener(sock, address, trusted_uids)
        except TransportError:
            sock.close()
            raise
    if is_recording():
        _record_connection(address, milliseconds_since(started))
    _logger.info("connected to %s", address)
    return EnclaveConnection(MessageConnection(sock, address), address, timeout_s=timeout_s)


def _verify_listener(sock: socket.socket, address: UnixAddress, trusted_uids: Collection[int]) -> None:
    """Refuse another user's program, to which credentials and ciphertexts would go. A vsock cannot be taken over."""
    uid = peer_uid(sock)
    if uid in (_ROOT, os.geteuid(), *trusted_uids):
        return
    raise TransportError(
        CONNECT,
        address,
        f"user {uid} listens there, not root and not this user ({os.geteuid()})",
        hint=f"if you trust that user with your credentials and ciphertexts, pass --trust-uid {uid}",
    )


def _record_connection(address: Address, elapsed_ms: float) -> None:
    from vsock_wire.protocol.trace import Connected  # noqa: PLC0415 - only while recording

    record(Connected(str(address), elapsed_ms))


def _record_request(address: Address, message: JsonObject, sent_bytes: int) -> None:
    from vsock_wire.protocol.trace import Sent  # noqa: PLC0415 - only while recording

    record(Sent(str(address), message["Operation"], _carried(message), sent_bytes))


def _record_reply(operation: str, reply: JsonObject, received_bytes: int, elapsed_ms: float) -> None:
    """Record the steps that the enclave reports, and its reply."""
    from vsock_wire.protocol.trace import Received, parse_evidence  # noqa: PLC0415 - only while recording

    for step in parse_evidence(reply):
        record(step)
    delivery = reply.get(DELIVERY)
    record(
        Received(
            operation,
            is_ok=reply.get("Status") == STATUS_OK,
            fields=_carried(reply),
            delivery=delivery if isinstance(delivery, str) else None,
            received_bytes=received_bytes,
            elapsed_ms=elapsed_ms,
        )
    )


_NOT_CARGO = ("Operation", "Status", ID, EXPLAIN, EVIDENCE, ACCEPTS, TIMEOUT_S_FIELD, TRIES)


def _carried(message: JsonObject) -> tuple[str, ...]:
    """Return the names of a message's payload fields."""
    return tuple(name for name in message if name not in _NOT_CARGO)

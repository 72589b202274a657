"""One connection to an enclave: sends requests, receives replies, and records both for the trace."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

from instance_tool.errors import EnclaveError
from vsock_wire.errors import TransportError, WireError
from vsock_wire.net.address import Address
from vsock_wire.net.sockets import connect_socket
from vsock_wire.protocol.delivery import ACCEPTS, DELIVERY
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES
from vsock_wire.protocol.json_codec import JsonObject, decode_message
from vsock_wire.protocol.kms_operations import TIMEOUT_S_FIELD
from vsock_wire.protocol.messages import ErrorReply, parse_reply
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.protocol.vocabulary import EVIDENCE, EXPLAIN, STATUS_OK, TRIES, EnclaveCode
from vsock_wire.rpc.connection import MessageConnection
from vsock_wire.stopwatch import milliseconds_since

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

    @property
    def is_open(self) -> bool:
        """Whether this end is open; the enclave may have closed its end."""
        return self._is_open

    def close(self) -> None:
        """Close the connection."""
        self._is_open = False
        self._connection.close()

    def exchange(self, message: JsonObject) -> JsonObject:
        """Send one request and return the fields of its reply.

        Raises:
            EnclaveError: the enclave replied with an error.
            TransportError: the enclave stopped answering.
            WireError: the peer does not speak the protocol.
        """
        if is_recording():
            message = {**message, EXPLAIN: True}
        with self._closing_on_failure():
            started = time.perf_counter()
            self._send_unless_closed(message)
            reply, received_bytes = self._receive()
            if is_recording():
                _record_reply(message["Operation"], reply, received_bytes, milliseconds_since(started))
            parsed = parse_reply(reply)
        if isinstance(parsed, ErrorReply):
            if parsed.code == EnclaveCode.BUSY:  # the enclave closes the connection after this reply
                self.close()
            raise EnclaveError(parsed)
        return parsed

    def send(self, message: JsonObject) -> None:
        """Send one request. Several may be sent before their replies are received.

        Raises:
            TransportError: the enclave has closed the connection or does not read from it.
        """
        with self._closing_on_failure():
            self._send(message)

    def receive(self) -> JsonObject:
        """Return the next reply, Ok or Error.

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


def connect_enclave(address: Address, *, timeout_s: float) -> EnclaveConnection:
    """Connect to an enclave.

    Args:
        address: where the enclave listens.
        timeout_s: seconds for connecting, and then for sending each message and for each reply.

    Raises:
        TransportError: nothing is listening there, or it does not accept in time.
    """
    started = time.perf_counter()
    sock = connect_socket(address, timeout_s=timeout_s)
    if is_recording():
        _record_connection(address, milliseconds_since(started))
    _logger.info("connected to %s", address)
    return EnclaveConnection(MessageConnection(sock, address), address, timeout_s=timeout_s)


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


_NOT_CARGO = ("Operation", "Status", EXPLAIN, EVIDENCE, ACCEPTS, TIMEOUT_S_FIELD, TRIES)


def _carried(message: JsonObject) -> tuple[str, ...]:
    """Return the names of a message's payload fields."""
    return tuple(name for name in message if name not in _NOT_CARGO)

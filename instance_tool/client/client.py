"""The client of an enclave: kmstool-enclave, or kmstool's C program of the same name."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Self

from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError
from vsock_wire.errors import TransportError, WireError
from vsock_wire.net.address import Address
from vsock_wire.net.sockets import connect_socket
from vsock_wire.protocol.frames import MAX_MESSAGE_BYTES
from vsock_wire.protocol.json_codec import JsonObject, decode_message
from vsock_wire.protocol.kms_operations import (
    ACCEPTS,
    DELIVERY,
    TIMEOUT_S_FIELD,
    KmsRequest,
    KmsResult,
    encode_kms_request,
    parse_kms_result,
)
from vsock_wire.protocol.messages import Credentials, ErrorReply, SetClient, parse_reply
from vsock_wire.protocol.recording import is_recording, record
from vsock_wire.protocol.vocabulary import EVIDENCE, EXPLAIN, STATUS_OK, TRIES, EnclaveCode, Operation
from vsock_wire.rpc.connection import MessageConnection
from vsock_wire.stopwatch import milliseconds_since

TIMEOUT_S = 30.0
"""For a connection, and for each reply; longer than the enclave itself waits for KMS, so that its own word arrives."""
KMS_SHARE = 0.9
"""Of that time, which the enclave may spend on KMS: the rest is for its word of what failed."""


_logger = logging.getLogger(__name__)


class EnclaveClient:
    """A conversation with one enclave; it connects when first needed. Not for use by several threads at once.

    kmstool in C announces no protocol in its reply to SetClient, and sends a stray second reply after each success.
    Towards such a peer every Decrypt has a connection of its own.

    Args:
        address: of the enclave.
        timeout_s: seconds for the connection and for each reply.
    """

    def __init__(self, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._connection: MessageConnection | None = None
        self._source: CredentialSource | None = None
        self._region: str | None = None
        self._peer_has_credentials = False
        self._sent: Credentials | None = None
        self._is_old_peer = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> Address:
        """Where the enclave is."""
        return self._address

    @property
    def is_old_peer(self) -> bool:
        """Whether what answered SetClient last is kmstool in C."""
        return self._is_old_peer

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._sent = None

    def set_client(self, credentials: Credentials, region: str | None) -> None:
        """Take the credentials and region for the calls that follow; they are sent before the next one."""
        self.set_credentials(CredentialSource.fixed(credentials), region)

    def set_credentials(self, source: CredentialSource, region: str | None) -> None:
        """Take the region, and where to ask for credentials before each call; new ones are sent when they change."""
        self._source, self._region = source, region
        self._sent = None

    def leave_credentials_to_peer(self) -> None:
        """Send no credentials: the peer is a ``kmstool-instance serve``, which has its own."""
        self._peer_has_credentials = True

    def call(self, request: KmsRequest) -> KmsResult:
        """Return what KMS gives the enclave for ``request``.

        Raises:
            CredentialsError: there are no credentials, or no longer.
            EnclaveError: the enclave refused, or KMS refused it.
            TransportError: the enclave cannot be reached or stopped answering; the next call connects anew.
            WireError: what answers does not speak the protocol.
        """
        return parse_kms_result(request.operation, self.exchange(encode_kms_request(request)))

    def exchange(self, message: JsonObject) -> JsonObject:
        """Return the fields of the reply to a request that needs credentials.

        When KMS says that they have ended, and there are new ones, it is asked once more with those. No other refusal
        is repeated.

        Raises:
            CredentialsError, EnclaveError, TransportError, WireError: as ``call``.
        """
        message = self._bounded(message)
        try:
            return self._exchange_on_any_connection(message)
        except EnclaveError as error:
            if not error.says_credentials_ended or not self._has_new_credentials():
                raise
            _logger.info("credentials: have expired: asking again with new ones")
        return self._exchange_on_any_connection(message)

    @property
    def can_send_ahead(self) -> bool:
        """Whether ``send_ahead`` may be used now: the peer knows Ids, and has the credentials that are to be used."""
        if self._connection is None or self._is_old_peer or is_recording():
            return False
        return self._peer_has_credentials or (self._source is not None and self._source.current() == self._sent)

    def send_ahead(self, request: KmsRequest, request_id: str) -> None:
        """Send a request whose reply ``receive_ahead`` will return; several may be under way, MAX_IN_FLIGHT at most.

        Raises:
            CredentialsError: there are no credentials any more.
            TransportError: the enclave has gone, or does not read; the connection is closed.
        """
        message = {**self._bounded(encode_kms_request(request)), "Id": request_id}
        with self._closing_on_failure():
            self._connect().send(message, timeout_s=self._timeout_s)

    def receive_ahead(self) -> JsonObject:
        """Return the next reply to a request that was sent ahead, Ok or Error, whichever comes first.

        Raises:
            TransportError: the enclave cannot be reached or stopped answering; the connection is closed.
            WireError: what answers does not speak the protocol; the connection is closed.
        """
        with self._closing_on_failure():
            return self._receive_reply(self._connect())[0]

    def describe(self) -> JsonObject:
        """Return what the enclave says of itself. Nothing in it is proven.

        Raises:
            EnclaveError: the enclave refused; kmstool in C does not know the operation.
            TransportError: the enclave cannot be reached or stopped answering.
            WireError: what answers does not speak the protocol.
        """
        reply = self.request({"Operation": Operation.DESCRIBE})
        return {name: value for name, value in reply.items() if name not in ("Status", EVIDENCE)}

    def request(self, message: JsonObject) -> JsonObject:
        """Return the fields of the reply to one request, which needs no credentials or follows those that were sent.

        Raises:
            EnclaveError: the enclave refused; kmstool in C knows only SetClient and Decrypt.
            TransportError: the enclave cannot be reached or stopped answering; the connection is dropped.
            WireError: what answers does not speak the protocol; the connection is dropped.
        """
        if is_recording():
            message = {**message, EXPLAIN: True}
        with self._closing_on_failure():
            reply = parse_reply(self._exchange_messages(message))
        if isinstance(reply, ErrorReply):
            if reply.code == EnclaveCode.BUSY:  # it closes behind this answer
                self.close()
            raise EnclaveError(reply)
        return reply

    def open(self) -> None:
        """Connect and send the credentials, where these have not been sent.

        Raises:
            CredentialsError: there are no credentials, or no longer.
            EnclaveError: the enclave refused them, or the region.
            TransportError: the enclave cannot be reached or stopped answering.
            WireError: what answers does not speak the protocol.
        """
        if self._peer_has_credentials:
            return
        if self._source is None:
            raise ValueError("call set_client first")
        credentials = self._source.current()
        if credentials == self._sent:
            return
        reply = self.request(SetClient(credentials, self._region).to_message())
        self._is_old_peer = "Protocol" not in reply
        _logger.info("enclave: speaks %s", "as kmstool in C" if self._is_old_peer else f"protocol {reply['Protocol']}")
        self._sent = credentials

    def _has_new_credentials(self) -> bool:
        if self._source is None or self._sent is None:
            return False
        return self._source.renewed(self._sent) is not None

    def _exchange_on_any_connection(self, message: JsonObject) -> JsonObject:
        is_kept = self._connection is not None and (self._sent is not None or self._peer_has_credentials)
        try:
            return self._exchange_once(message)
        except TransportError as error:
            # An enclave closes connections that were idle for long. Asking KMS once more changes nothing there.
            if not is_kept or isinstance(error.__cause__, TimeoutError):
                raise
            return self._exchange_once(message)

    def _exchange_once(self, message: JsonObject) -> JsonObject:
        try:
            self.open()
            return self.request(message)
        finally:
            if self._is_old_peer:
                self.close()

    def _bounded(self, message: JsonObject) -> JsonObject:
        """Give KMS less time than the reply has to come."""
        return {TIMEOUT_S_FIELD: round(KMS_SHARE * self._timeout_s, 3), **message}

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _exchange_messages(self, message: JsonObject) -> JsonObject:
        connection = self._connect()
        started = time.perf_counter()
        self._send(connection, message)
        reply, received_bytes = self._receive_reply(connection)
        if is_recording():
            _record_reply(message["Operation"], reply, received_bytes, milliseconds_since(started))
        return reply

    def _receive_reply(self, connection: MessageConnection) -> tuple[JsonObject, int]:
        """Return a reply and how many bytes it took, its NUL among them."""
        try:
            frame = self._receive(connection)
            return decode_message(frame), len(frame) + 1
        except WireError:  # whose text is about a request of ours
            raise WireError(
                f"reply: expected one strict JSON object of at most {MAX_MESSAGE_BYTES} bytes, got other bytes",
                hint=f"what listens on {self._address} is no kmstool-enclave",
            ) from None

    def _connect(self) -> MessageConnection:
        if self._connection is None:
            started = time.perf_counter()
            sock = connect_socket(self._address, timeout_s=self._timeout_s)
            self._connection = MessageConnection(sock, self._address)
            if is_recording():
                _record_connection(self._address, milliseconds_since(started))
            _logger.info("connected to %s", self._address)
        return self._connection

    def _send(self, connection: MessageConnection, message: JsonObject) -> None:
        try:
            sent_bytes = connection.send(message, timeout_s=self._timeout_s)
            if is_recording():
                _record_request(self._address, message, sent_bytes)
        except TransportError as error:
            if isinstance(error.__cause__, TimeoutError):
                raise
            # A server that has no room for us answers and closes, whether or not we have written: read on.
            _logger.debug("%s", error)

    def _receive(self, connection: MessageConnection) -> bytes:
        frame = connection.receive(idle_timeout_s=self._timeout_s, message_timeout_s=self._timeout_s)
        if frame is None:
            raise TransportError(
                "read from",
                self._address,
                "the connection was closed before the reply",
                hint="kmstool in C serves one client at a time: is another one connected?",
            )
        return frame


def _record_connection(address: Address, elapsed_ms: float) -> None:
    from vsock_wire.protocol.trace import Connected  # noqa: PLC0415 - only while recording

    record(Connected(str(address), elapsed_ms))


def _record_request(address: Address, message: JsonObject, sent_bytes: int) -> None:
    from vsock_wire.protocol.trace import Sent  # noqa: PLC0415 - only while recording

    record(Sent(str(address), message["Operation"], _carried(message), sent_bytes))


def _record_reply(operation: str, reply: JsonObject, received_bytes: int, elapsed_ms: float) -> None:
    """Record the enclave's own steps, and that its reply came."""
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
    """Return the names of what a message is there to carry."""
    return tuple(name for name in message if name not in _NOT_CARGO)

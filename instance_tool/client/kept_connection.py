"""The connection that a client keeps to its enclave, and what the client knows about the peer at its other end."""

from __future__ import annotations

import logging
from collections.abc import Collection

from instance_tool.client.connection import EnclaveConnection, connect_enclave
from instance_tool.client.legacy_peer import is_legacy_peer, refusal_by_legacy_peer
from instance_tool.client.region_agreement import RegionAgreement
from vsock_wire.net.address import Address
from vsock_wire.protocol.delivery import DELIVERY, Delivery
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.messages import Credentials, SetClient
from vsock_wire.protocol.vocabulary import PROTOCOL, Operation

_logger = logging.getLogger(__name__)


class KeptConnection:
    """A connection that is made when needed and kept until it fails or is closed. Not thread-safe.

    Args:
        address: where the enclave listens.
        timeout_s: seconds for connecting and for each reply.
        trusted_uids: users, besides root and this one, whose program may listen on a unix socket.
    """

    def __init__(self, address: Address, *, timeout_s: float, trusted_uids: Collection[int] = ()) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._trusted_uids = trusted_uids
        self._connection: EnclaveConnection | None = None
        self._sent: Credentials | None = None
        self._is_legacy_peer: bool | None = None
        self._delivery: object = None

    @property
    def is_open(self) -> bool:
        """Whether this end is open; the enclave may have closed its end."""
        return self._connection is not None and self._connection.is_open

    @property
    def credentials_sent(self) -> Credentials | None:
        """The credentials that the enclave received on this connection."""
        return self._sent if self.is_open else None

    @property
    def is_legacy_peer(self) -> bool:
        """Whether the peer that answered last is kmstool in C, which announces no protocol."""
        return self._is_legacy_peer is True

    @property
    def may_repeat(self) -> bool:
        """Whether a request can be sent again if it may have been performed: not if a program may have its result."""
        return self.is_legacy_peer or self._delivery in (Delivery.REPLY, Delivery.DIGEST)

    def get(self) -> EnclaveConnection:
        """Return the open connection, or a new one.

        Raises:
            TransportError: the enclave cannot be reached, or another user's program listens there.
        """
        if self._connection is None or not self._connection.is_open:
            self._sent = self._is_legacy_peer = None
            self._connection = connect_enclave(
                self._address, timeout_s=self._timeout_s, trusted_uids=self._trusted_uids
            )
        return self._connection

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def leave_if_stale(self) -> None:
        """Close the connection if the enclave closed it, or sent on it what no request waits for."""
        if self._connection is not None and not self._connection.is_quiet:
            self.close()

    def describe(self) -> JsonObject:
        """Have the enclave describe itself, and return its reply.

        Raises:
            EnclaveError, TransportError, WireError: as ``EnclaveConnection.exchange``.
        """
        reply = self.get().exchange({"Operation": Operation.DESCRIBE})
        self._delivery = reply.get(DELIVERY)
        return reply

    def send_credentials(self, credentials: Credentials, agreement: RegionAgreement) -> None:
        """Send the credentials, and a region if the enclave sets none, unless they are those last sent here.

        Raises:
            EnclaveError, TransportError, WireError: as ``EnclaveConnection.exchange``.
        """
        if credentials == self.credentials_sent:
            return
        reply = agreement.set_client(
            lambda region: self.get().exchange(SetClient(credentials, region).to_message()), self.close
        )
        self._is_legacy_peer = PROTOCOL not in reply
        _logger.info("enclave: speaks protocol %s", reply.get(PROTOCOL, "1, of kmstool in C"))
        self._sent, self._delivery = credentials, reply.get(DELIVERY)

    def forget_credentials(self) -> None:
        """Have the credentials sent again before the next request, even if they are the same."""
        self._sent = None

    def refuse_what_legacy_peer_ignores(self, message: JsonObject) -> None:
        """Ask what the peer is, if ``message`` needs more than kmstool in C can do.

        Raises:
            LegacyPeerError: the peer is kmstool in C.
            EnclaveError, TransportError, WireError: as ``EnclaveConnection.exchange``.
        """
        refusal = refusal_by_legacy_peer(message)
        if refusal is None:
            return
        connection = self.get()
        if self._is_legacy_peer is None:
            self._is_legacy_peer = is_legacy_peer(connection)
        if self._is_legacy_peer:
            raise refusal

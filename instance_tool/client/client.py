"""The client of an enclave: kmstool-enclave, or kmstool's C program of the same name.

An EnclaveClient keeps one connection and remembers which credentials it sent on it. For each request to KMS it

1. connects if there is no connection, or if the enclave closed it or sent what no request waits for;
2. sends the credentials if they differ from those sent last, and then the request;
3. repeats this once on a new connection if the enclave closes a kept connection at that moment;
4. repeats this once with new credentials if KMS reports these as expired and others can be found.

Asking KMS twice is harmless, because none of the operations used here changes anything; running a program twice may not
be. So step 3 needs an enclave that says that it delivers by reply or digest. No other failure is retried.

A legacy peer, kmstool in C, sends a second reply after each success. The client reads it, or SIGPIPE may kill such an
enclave, and then closes the connection. It sends what such a peer ignores only after the peer has answered Describe.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Self

from instance_tool.client.kept_connection import KeptConnection
from instance_tool.client.legacy_peer import SECOND_REPLY_TIMEOUT_S
from instance_tool.client.region_agreement import RegionAgreement
from instance_tool.credentials.region import RegionSource, region_source
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import EnclaveError
from vsock_wire.errors import TransportError
from vsock_wire.net.address import Address
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.kms_operations import (
    TIMEOUT_S_FIELD,
    KmsRequest,
    KmsResult,
    encode_kms_request,
    parse_kms_result,
)
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.recording import is_recording
from vsock_wire.protocol.vocabulary import EVIDENCE

TIMEOUT_S = 30.0
"""For connecting, and for each reply. Longer than the enclave waits for KMS, so that its error reply arrives."""
KMS_SHARE = 0.9
"""Share of the timeout that the enclave may spend on KMS; the rest is for its error reply."""

_logger = logging.getLogger(__name__)


class EnclaveClient:
    """A client of one enclave. It connects when first needed. Not thread-safe: see EnclavePool.

    Args:
        address: where the enclave listens.
        credentials: for KMS, or a source that replaces them before they expire; see also ``set_credentials``.
        region: AWS region of KMS, only if the enclave was started without one; or a source of regions.
        timeout_s: seconds for connecting and for each reply.
        trusted_uids: users, besides root and this one, whose program may listen on a unix socket.
    """

    def __init__(
        self,
        address: Address,
        *,
        credentials: Credentials | CredentialSource | None = None,
        region: str | RegionSource | None = None,
        timeout_s: float = TIMEOUT_S,
        trusted_uids: Collection[int] = (),
    ) -> None:
        if not isinstance(address, Address):
            raise TypeError(f"address: expected what parse_address returns, got {type(address).__name__}")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s: expected more than 0, got {timeout_s}")
        self._address = address
        self._timeout_s = timeout_s
        self._connection = KeptConnection(address, timeout_s=timeout_s, trusted_uids=trusted_uids)
        self._source: CredentialSource | None = None
        self._region = RegionAgreement(region_source(region))
        self._has_peer_credentials = False
        if credentials is not None:
            self.set_credentials(credentials, region)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> Address:
        """Where the enclave is."""
        return self._address

    @property
    def region(self) -> str | None:
        """The region that was sent with the credentials; None if none was."""
        return self._region.chosen.name if self._region.chosen else None

    @property
    def is_legacy_peer(self) -> bool:
        """Whether the peer that answered last is kmstool in C, which announces no protocol."""
        return self._connection.is_legacy_peer

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        self._connection.close()

    def set_credentials(self, credentials: Credentials | CredentialSource, region: str | RegionSource | None) -> None:
        """Use these credentials and this region from now on; they are sent before the next request to KMS.

        Args:
            credentials: fixed credentials, or a source, which is asked before each request.
            region: AWS region of KMS; None if the enclave has one. A source serves both: the enclave's own region wins.
        """
        if isinstance(credentials, Credentials):
            credentials = CredentialSource.fixed(credentials)
        if not isinstance(credentials, CredentialSource):
            raise TypeError(
                f"credentials: expected Credentials or a CredentialSource, got {type(credentials).__name__}"
            )
        self._source, self._region = credentials, RegionAgreement(region_source(region))
        self._connection.forget_credentials()

    def leave_credentials_to_peer(self) -> None:
        """Send no credentials, because the peer is ``kmstool-instance serve``, which has its own."""
        self._has_peer_credentials = True

    def ask_enclave(self, request: KmsRequest) -> KmsResult:
        """Return what KMS gives the enclave for ``request``.

        Raises:
            CredentialsError: no credentials were found, or they have expired.
            EnclaveError: the enclave or KMS denied the request.
            LegacyPeerError: the enclave runs kmstool in C, which would ignore a parameter or the whole request.
            TransportError: the enclave cannot be reached or stopped answering; the next request connects again.
            WireError: the peer does not speak the protocol.
        """
        return parse_kms_result(request.operation, self.exchange_with_credentials(encode_kms_request(request)))

    def exchange_with_credentials(self, message: JsonObject) -> JsonObject:
        """Send a request that needs credentials, and return the fields of its reply.

        Raises:
            CredentialsError, EnclaveError, LegacyPeerError, TransportError, WireError: as ``ask_enclave``.
        """
        message = self._bounded(message)
        try:
            return self._attempt_on_live_connection(message)
        except EnclaveError as error:
            if not error.says_credentials_ended or not self._has_new_credentials():
                raise
            _logger.info("credentials: expired; retrying with new ones")
        return self._attempt_on_live_connection(message)

    def exchange(self, message: JsonObject) -> JsonObject:
        """Send a request that needs no credentials, and return the fields of its reply.

        Raises:
            EnclaveError: the enclave denied the request; kmstool in C knows only SetClient and Decrypt.
            TransportError, WireError: as ``ask_enclave``; the connection is closed.
        """
        self._connection.leave_if_stale()
        return self._connection.get().exchange(message)

    def describe(self) -> JsonObject:
        """Return what the enclave reports about itself. Nothing proves it.

        Raises:
            EnclaveError, TransportError, WireError: as ``exchange``.
        """
        self._connection.leave_if_stale()
        reply = self._connection.describe()
        return {name: value for name, value in reply.items() if name not in ("Status", EVIDENCE)}

    def fetch_attestation_document(
        self,
        *,
        nonce: bytes | None = None,
        user_data: bytes | None = None,
        public_key: bytes | None = None,
        bare_user_data: bool = False,
    ) -> bytes:
        """Return a new attestation document of the enclave, unverified: ``nitro_attestation`` verifies it.

        Nonce, user data and public key have at most 1,024 bytes each. No bytes are a value; None leaves a field out.
        The document's user data begins with the enclave's own line, such as ``deliver=reply``, which counts.

        Args:
            nonce: bytes that the document contains as proof that it is fresh.
            user_data: further bytes that the document contains.
            public_key: a key that it contains instead of the enclave's own. Only an enclave with ``--deliver reply``
                accepts one; its line then says ``key=caller``.
            bare_user_data: whether to leave that line out, which only such an enclave accepts.

        Raises:
            EnclaveError, TransportError, WireError: as ``exchange``.
        """
        from vsock_wire.protocol import attestation  # noqa: PLC0415 - a decrypt must not wait for it

        request = attestation.AttestationRequest(nonce, user_data, public_key, bare_user_data)
        return attestation.parse_attestation_reply(self.exchange(attestation.encode_attestation_request(request)))

    def send_credentials(self) -> None:
        """Connect and send the credentials, unless they are those last sent on this connection.

        Raises:
            CredentialsError, EnclaveError, TransportError, WireError: as ``ask_enclave``.
        """
        if self._has_peer_credentials:
            return
        if self._source is None:
            raise ValueError("credentials: none given; call set_credentials first")
        self._connection.send_credentials(self._source.current(wait_s=self._timeout_s), self._region)

    @property
    def may_repeat(self) -> bool:
        """Whether a request can be sent again if it may have been performed: not if a program may have its result."""
        return self._connection.may_repeat

    @property
    def can_send_ahead(self) -> bool:
        """Whether ``send_ahead`` may be used now: the peer supports Ids and has the current credentials."""
        if not self._connection.is_open or self.is_legacy_peer or is_recording():
            return False
        return self._has_peer_credentials or (
            self._source is not None
            and self._source.current(wait_s=self._timeout_s) == self._connection.credentials_sent
        )

    def send_ahead(self, request: KmsRequest) -> str:
        """Send a request without waiting for earlier replies, and return its Id; at most MAX_IN_FLIGHT may be pending.

        Raises:
            CredentialsError: the credentials have expired.
            TransportError: the enclave has gone or does not read; the connection is closed.
        """
        return self._connection.get().send(self._bounded(encode_kms_request(request)))

    def receive_ahead(self) -> JsonObject:
        """Return the next reply, Ok or Error, to a request that was sent ahead.

        Raises:
            TransportError, WireError: as ``exchange``; the connection is closed.
        """
        return self._connection.get().receive()

    def _attempt_on_live_connection(self, message: JsonObject) -> JsonObject:
        is_kept = self._connection.credentials_sent is not None or (
            self._has_peer_credentials and self._connection.is_open
        )
        try:
            return self._attempt(message)
        except TransportError as error:
            # An enclave closes idle connections.
            if not is_kept or isinstance(error.__cause__, TimeoutError) or not self.may_repeat:
                raise
            return self._attempt(message)

    def _attempt(self, message: JsonObject) -> JsonObject:
        try:
            self._connection.leave_if_stale()
            if not self._has_peer_credentials:
                self._connection.refuse_what_legacy_peer_ignores(message)
            self.send_credentials()
            reply = self._connection.get().exchange(message)
            if self.is_legacy_peer:
                self._connection.get().discard_reply(timeout_s=SECOND_REPLY_TIMEOUT_S)
            return reply
        finally:
            if self.is_legacy_peer:
                self.close()

    def _has_new_credentials(self) -> bool:
        if self._source is None or self._connection.credentials_sent is None:
            return False
        return self._source.renewed(self._connection.credentials_sent, wait_s=self._timeout_s) is not None

    def _bounded(self, message: JsonObject) -> JsonObject:
        """Return the message with a time limit for KMS below the reply's timeout, unless it has one already."""
        return {TIMEOUT_S_FIELD: round(KMS_SHARE * self._timeout_s, 3), **message}

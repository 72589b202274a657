"""The session of ``kmstool-instance serve`` with one local program: it stands in for the enclave, with credentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from instance_tool.client.client import EnclaveClient
from instance_tool.client.pool import EnclavePool
from instance_tool.credentials.source import CredentialSource
from instance_tool.errors import INSTANCE_SERVICE, BusyError, EnclaveError, InstanceCode, LegacyPeerError
from vsock_wire.errors import CredentialsError, ToolError, TransportError
from vsock_wire.protocol.json_codec import JsonObject
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS, TIMEOUT_S_FIELD
from vsock_wire.protocol.messages import ErrorReply, parse_operation
from vsock_wire.protocol.vocabulary import (
    CREDENTIALS_HELD,
    OPERATIONS,
    PROTOCOL,
    PROTOCOL_VERSION,
    REGION,
    EnclaveCode,
    KmstoolText,
    Operation,
    RequestError,
    Service,
)
from vsock_wire.rpc.handler import Outcome, RequestHandler

CREDENTIALS_WAIT_S = 30.0
"""How long a request without a ``TimeoutS`` waits for credentials; as long as kmstool-instance waits for a reply."""
_CODES: dict[type[ToolError], InstanceCode | EnclaveCode] = {
    BusyError: EnclaveCode.BUSY,
    CredentialsError: InstanceCode.NO_CREDENTIALS,
    TransportError: InstanceCode.ENCLAVE_UNREACHABLE,
    LegacyPeerError: InstanceCode.UNSUPPORTED,
}


@dataclass(frozen=True)
class ServedEnclave:
    """The state that all local sessions share.

    Attributes:
        pool: the connections to the enclave.
        region: AWS region of KMS, set here or in the enclave; None if neither sets one.
        is_legacy_enclave: whether the enclave runs kmstool in C, which cannot describe itself.
        source: finds the credentials; None if they are fixed.
    """

    pool: EnclavePool
    region: str | None
    is_legacy_enclave: bool = False
    source: CredentialSource | None = None


class LocalSession(RequestHandler):
    """Answers the requests of one local program, in order.

    Requests go to the enclave unchanged except for the Id. SetClient succeeds whatever credentials it carries: every
    program that can connect may use the credentials held here, and a program that sends its own is served as well.
    """

    service = INSTANCE_SERVICE

    def __init__(self, served: ServedEnclave) -> None:
        self._served = served

    def prepare(self, message: JsonObject) -> Callable[[], Outcome]:
        """Return a function that performs the request."""
        return lambda: self._perform(message)

    def refuse(self, error: ToolError) -> ErrorReply:
        """Return the reply that reports ``error``."""
        return _refuse(error)

    def _perform(self, message: JsonObject) -> Outcome:
        operation = parse_operation(message)
        if operation is Operation.SET_CLIENT:
            return self._set_client(message)
        try:
            if (
                self._served.source and operation is not Operation.DESCRIBE
            ):  # found here, so that nobody waits for it with a lent client
                self._served.source.current(wait_s=_wait_s(message))
            with self._served.pool.lend() as client:
                if operation is Operation.DESCRIBE:
                    return self._describe(client)
                return client.exchange_with_credentials(message)
        except ToolError as error:
            return _refuse(error, KMS_OPERATIONS[operation].failure if operation in KMS_OPERATIONS else None)

    def _set_client(self, message: JsonObject) -> JsonObject:
        if message.get("AwsRegion") not in (None, "", self._served.region):
            raise RequestError(
                KmstoolText.REGION_CONFLICT,
                EnclaveCode.REGION_CONFLICT,
                hint="kmstool-instance serve sets the region for its clients: omit --region",
            )
        return {PROTOCOL: PROTOCOL_VERSION, OPERATIONS: list(Operation), CREDENTIALS_HELD: True}

    def _describe(self, client: EnclaveClient) -> JsonObject:
        description = {PROTOCOL: PROTOCOL_VERSION} if self._served.is_legacy_enclave else client.describe()
        return {**description, REGION: self._served.region, CREDENTIALS_HELD: True}


def _wait_s(message: JsonObject) -> float:
    """Return how long a client waits for credentials: as long as for KMS, if it says so."""
    timeout_s = message.get(TIMEOUT_S_FIELD)
    if isinstance(timeout_s, int | float) and 0 < timeout_s < CREDENTIALS_WAIT_S:
        return timeout_s
    return CREDENTIALS_WAIT_S


def _refuse(error: ToolError, failure: str | None = None) -> ErrorReply:
    """Return the reply for a failure: the enclave's own error reply if there is one, else one from this program."""
    if isinstance(error, EnclaveError):
        return error.reply
    if isinstance(error, RequestError):
        return ErrorReply(str(error), error.code, Service.ENCLAVE, hint=error.hint)
    message = f"{failure}: {error}" if failure else str(error)
    return ErrorReply(
        message, _CODES.get(type(error), InstanceCode.ENCLAVE_UNREADABLE), INSTANCE_SERVICE, hint=error.hint
    )

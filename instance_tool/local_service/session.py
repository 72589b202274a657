"""What ``kmstool-instance serve`` answers to a local program: as the enclave would, with credentials of its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from instance_tool.client.client import EnclaveClient
from instance_tool.client.pool import EnclavePool
from instance_tool.errors import INSTANCE_SERVICE, BusyError, EnclaveError, InstanceCode
from vsock_wire.errors import CredentialsError, ToolError, TransportError
from vsock_wire.protocol.json_codec import JsonObject, decode_message
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.messages import ErrorReply, parse_operation, parse_request_id
from vsock_wire.protocol.vocabulary import (
    CREDENTIALS_HELD,
    PROTOCOL_VERSION,
    STATUS_ERROR,
    STATUS_OK,
    EnclaveCode,
    KmstoolText,
    Operation,
    RequestError,
    Service,
)
from vsock_wire.rpc.handler import explained
from vsock_wire.rpc.server import Job

_CODES: dict[type[ToolError], InstanceCode | EnclaveCode] = {
    BusyError: EnclaveCode.BUSY,
    CredentialsError: InstanceCode.NO_CREDENTIALS,
    TransportError: InstanceCode.ENCLAVE_UNREACHABLE,
}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedEnclave:
    """What all local sessions share.

    Attributes:
        pool: the connections to the enclave.
        region: of KMS, as set here or in the enclave; None where neither sets one.
        is_legacy_enclave: whether it is kmstool in C, which has nothing to say of itself.
    """

    pool: EnclavePool
    region: str | None
    is_legacy_enclave: bool = False


class LocalSession:
    """One local program's conversation.

    Its requests go to the enclave as they are, but for the Id. SetClient is answered without looking at the credentials
    it brings: whoever may connect may use the ones held here, and a program that sends some regardless is served too.
    """

    def __init__(self, served: ServedEnclave) -> None:
        self._served = served

    def take(self, frame: bytes) -> Job:
        """Return what is to be done for one request; all of a connection are answered in order."""
        try:
            message = decode_message(frame)
            request_id = parse_request_id(message)
        except ToolError as error:
            refusal = _refusal(error)
            return Job(lambda: refusal)
        message.pop("Id", None)  # each connection to the enclave has one request at a time
        return Job(lambda: self._answer(message, request_id))

    def _answer(self, message: JsonObject, request_id: str | None) -> JsonObject:
        try:
            reply = explained(message, lambda: self._perform(message))
        except ToolError as error:
            reply = _refusal(error)
        except Exception as error:  # noqa: BLE001 - the client gets an answer, and the process keeps serving
            _logger.error("internal error: %s", type(error).__name__)  # noqa: TRY400 - its text may hold anything
            reply = _error(ErrorReply("Internal error", EnclaveCode.INTERNAL, INSTANCE_SERVICE))
        return reply if request_id is None else {**reply, "Id": request_id}

    def _perform(self, message: JsonObject) -> JsonObject:
        operation = parse_operation(message)
        if operation is Operation.SET_CLIENT:
            return self._set_client(message)
        try:
            with self._served.pool.lend() as client:
                if operation is Operation.DESCRIBE:
                    return self._describe(client)
                return client.exchange_with_credentials(message)
        except ToolError as error:
            return _refusal(error, KMS_OPERATIONS[operation].failure if operation in KMS_OPERATIONS else None)

    def _set_client(self, message: JsonObject) -> JsonObject:
        if message.get("AwsRegion") not in (None, "", self._served.region):
            raise RequestError(
                KmstoolText.REGION_CONFLICT,
                EnclaveCode.REGION_CONFLICT,
                hint="kmstool-instance serve chooses the region for its clients: leave --region off",
            )
        protocol = {"Protocol": PROTOCOL_VERSION, "Operations": list(Operation)}
        return {"Status": STATUS_OK, **protocol, CREDENTIALS_HELD: True}

    def _describe(self, client: EnclaveClient) -> JsonObject:
        description = {"Protocol": PROTOCOL_VERSION} if self._served.is_legacy_enclave else client.describe()
        return {"Status": STATUS_OK, **description, "Region": self._served.region, CREDENTIALS_HELD: True}


def _refusal(error: ToolError, failure: str | None = None) -> JsonObject:
    """Return the reply for a failure: the enclave's own word where it is one, else what happened here."""
    if isinstance(error, EnclaveError):
        return _error(error.reply)
    if isinstance(error, RequestError):
        return _error(ErrorReply(str(error), error.code, Service.ENCLAVE, hint=error.hint))
    message = f"{failure}: {error}" if failure else str(error)
    code = _CODES.get(type(error), InstanceCode.ENCLAVE_UNREADABLE)
    return _error(ErrorReply(message, code, INSTANCE_SERVICE, hint=error.hint))


def _error(reply: ErrorReply) -> JsonObject:
    return {"Status": STATUS_ERROR, **reply.to_fields()}

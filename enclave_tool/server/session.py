"""The enclave's handling of each request on a connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from enclave_tool.delivery.policy import Deliverer
from enclave_tool.errors import (
    CmsError,
    DeliveryError,
    KmsError,
    KmsUnreachableError,
    NsmError,
    ProxyUnreachableError,
    RecipientError,
    TlsError,
)
from enclave_tool.kms.caller import KmsCaller
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from vsock_wire.errors import ToolError, WireError
from vsock_wire.protocol.attestation import AttestationRequest, parse_attestation_request
from vsock_wire.protocol.delivery import DELIVERY
from vsock_wire.protocol.diagnosis import Hop, encode_diagnosis
from vsock_wire.protocol.json_codec import JsonObject, encode_base64
from vsock_wire.protocol.kms_operations import (
    KMS_OPERATIONS,
    encode_kms_result,
    parse_kms_request,
    parse_timeout_s,
)
from vsock_wire.protocol.messages import (
    ErrorReply,
    parse_operation,
    parse_region,
    parse_set_client,
)
from vsock_wire.protocol.vocabulary import (
    DEFAULT_REGION,
    OPERATIONS,
    PROTOCOL,
    PROTOCOL_VERSION,
    REGION,
    TRIES,
    EnclaveCode,
    KmstoolText,
    Operation,
    RequestError,
    Service,
)
from vsock_wire.rpc.handler import Outcome, RequestHandler

_CODES: dict[type[ToolError], EnclaveCode] = {
    ProxyUnreachableError: EnclaveCode.PROXY_UNREACHABLE,
    KmsUnreachableError: EnclaveCode.KMS_UNREACHABLE,
    TlsError: EnclaveCode.TLS_FAILED,
    RecipientError: EnclaveCode.RECIPIENT_MISSING,
    CmsError: EnclaveCode.RECIPIENT_UNREADABLE,
    WireError: EnclaveCode.INVALID_MESSAGE,
    DeliveryError: EnclaveCode.DELIVERY_FAILED,
}
_NSM_FAILED = "NsmFailed"


@dataclass(frozen=True)
class Enclave:
    """What all sessions of the process share.

    Attributes:
        kms: returns callers for credentials and regions.
        region: the region set at start, or None to let clients choose it.
        description: the reply to Describe without the uptime; contains no secrets.
        attest: returns the attestation document for a request.
        survey: checks the hops to the endpoint with the given URL.
        deliverer: turns a secret into what may leave the enclave.
    """

    kms: KmsRegions
    region: str | None
    description: Mapping[str, object]
    attest: Callable[[AttestationRequest], bytes]
    survey: Callable[[str], Iterable[Hop]]
    deliverer: Deliverer = field(default_factory=Deliverer)
    started_at: float = field(default_factory=time.monotonic)


class Session(RequestHandler):
    """One connection to the enclave. Calls to KMS that have an Id are independent of each other.

    A call uses the credentials that were set when its request arrived.
    """

    service = Service.ENCLAVE
    independent_operations = frozenset(KMS_OPERATIONS)

    def __init__(self, enclave: Enclave) -> None:
        self._enclave = enclave
        self._caller: KmsCaller | None = None

    def prepare(self, message: JsonObject) -> Callable[[], Outcome]:
        """Return a function that performs a request with the credentials that are set now."""
        caller = self._caller
        return lambda: self._perform(message, caller)

    def refuse(self, error: ToolError) -> ErrorReply:
        """Return the reply that reports ``error``."""
        return refuse(error)

    def _perform(self, message: JsonObject, caller: KmsCaller | None) -> Outcome:
        match parse_operation(message):
            case Operation.SET_CLIENT:
                return self._set_client(message)
            case Operation.DESCRIBE:
                return self._describe()
            case Operation.GET_ATTESTATION_DOCUMENT:
                return self._attest(message)
            case Operation.DIAGNOSE:
                return self._diagnose(message)
            case operation:
                return self._call_kms(operation, message, caller)

    def _set_client(self, message: JsonObject) -> JsonObject:
        request = parse_set_client(message)
        region = choose_region(self._enclave.region, request.region)
        # Only now: if SetClient fails, the client of an earlier SetClient stays in place.
        self._caller = self._enclave.kms.caller(request.credentials, region)
        return {
            PROTOCOL: PROTOCOL_VERSION,
            OPERATIONS: list(Operation),
            REGION: self._enclave.region,
            DELIVERY: self._enclave.deliverer.delivery,
        }

    def _call_kms(self, operation: Operation, message: JsonObject, caller: KmsCaller | None) -> Outcome:
        if caller is None:
            raise RequestError(
                KmstoolText.CLIENT_NOT_SET, EnclaveCode.CLIENT_NOT_SET, hint="send SetClient on this connection first"
            )
        request = parse_kms_request(operation, message)
        attempts = Attempts(parse_timeout_s(message))
        try:
            self._enclave.deliverer.check_client(operation, message)
            reply = encode_kms_result(operation, caller.call_kms(request, attempts), self._enclave.deliverer.deliver)
        except ToolError as error:
            return refuse(error, KMS_OPERATIONS[operation].failure)._replace(tries=attempts.count or None)
        return {**reply, TRIES: attempts.count} if attempts.count else reply

    def _attest(self, message: JsonObject) -> JsonObject:
        request = parse_attestation_request(message)
        return {"Document": encode_base64(self._enclave.attest(request))}

    def _diagnose(self, message: JsonObject) -> JsonObject:
        region = choose_region(self._enclave.region, parse_region(message))
        kms_url = self._enclave.kms.endpoint_url(region)
        return encode_diagnosis(kms_url.removeprefix("https://"), self._enclave.survey(kms_url))

    def _describe(self) -> JsonObject:
        uptime_s = round(time.monotonic() - self._enclave.started_at, 1)
        return {**self._enclave.description, REGION: self._enclave.region, "UptimeS": uptime_s}


def choose_region(enclave_region: str | None, requested_region: str | None) -> str:
    """Return the region that one side sets, or DEFAULT_REGION if neither does, as kmstool does (pure).

    Raises:
        RequestError: both sides set a region, even if it is the same.
    """
    if enclave_region and requested_region:
        raise RequestError(
            KmstoolText.REGION_CONFLICT,
            EnclaveCode.REGION_CONFLICT,
            hint="the enclave was started with its own region: omit --region",
        )
    return enclave_region or requested_region or DEFAULT_REGION


def refuse(error: ToolError, failure: str | None = None) -> ErrorReply:
    """Return the error reply for a failure (pure).

    Args:
        error: the failure.
        failure: the text that the Message starts with; kmstool's own text if it has one.
    """
    message = f"{failure}: {error}" if failure else str(error)
    if isinstance(error, KmsError):
        return ErrorReply(
            message,
            error.code,
            Service.KMS,
            error.http_status,
            error.request_id,
            hint=error.hint,
            reason=error.reason,
        )
    if isinstance(error, NsmError):
        return ErrorReply(message, error.code or _NSM_FAILED, Service.NSM, hint=error.hint)
    code = error.code if isinstance(error, RequestError) else _CODES.get(type(error), EnclaveCode.INTERNAL)
    return ErrorReply(message, code, Service.ENCLAVE, hint=error.hint)

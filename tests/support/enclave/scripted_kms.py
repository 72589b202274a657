"""Sessions of the enclave server with a KMS that the test controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from enclave_tool.kms.caller import KmsCaller
from enclave_tool.kms.regional import Attempts
from enclave_tool.kms.regions import KmsRegions
from enclave_tool.server.session import Enclave, Session
from tests.support.kms.decrypting import decrypt_answer
from vsock_wire.protocol.attestation import AttestationRequest
from vsock_wire.protocol.diagnosis import Hop, HopName, HopState
from vsock_wire.protocol.json_codec import encode_message
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.trace import Opened
from vsock_wire.protocol.vocabulary import EnclaveCode, KmstoolText, RequestError

SET_CLIENT = {"Operation": "SetClient", "AwsAccessKeyId": "AKIDEXAMPLE", "AwsSecretAccessKey": "theSecretAccessKey"}
DECRYPT = {"Operation": "Decrypt", "Ciphertext": "AQID"}
OPENED = Opened(493, "ab" * 32, 0.5)

Behavior = Callable[[KmsRequest], dict[str, Any]]


class ScriptedCaller(KmsCaller):
    """A KMS that the test controls."""

    def __init__(self, regions: ScriptedRegions, credentials: Credentials, region: str) -> None:
        self._regions = regions
        self._seen_as = (credentials, region)

    def call_kms(self, request: KmsRequest, attempts: Attempts) -> dict[str, Any]:
        self._regions.requests.append((*self._seen_as, request))
        self._regions.attempts.append(attempts)
        attempts.count += 1
        return self._regions.behavior(request)


class ScriptedRegions(KmsRegions):
    """Returns a ScriptedCaller for every region except ``bad_region``."""

    def __init__(self) -> None:
        self.requests: list[tuple[Credentials, str, KmsRequest]] = []
        self.attempts: list[Attempts] = []
        self.made: list[tuple[Credentials, str]] = []
        self.bad_region = "nowhere-1"
        self.behavior: Behavior = lambda request: decrypt_answer(
            b"plain " + request.parameters["CiphertextBlob"], "key-arn", "SYMMETRIC"
        )

    def endpoint_url(self, region: str) -> str:
        return f"https://kms.{region}.amazonaws.com"

    def caller(self, credentials: Credentials, region: str) -> KmsCaller:
        if region == self.bad_region:
            raise RequestError(KmstoolText.CLIENT_FAILED, EnclaveCode.CLIENT_FAILED)
        self.made.append((credentials, region))
        return ScriptedCaller(self, credentials, region)


def attest(request: AttestationRequest) -> bytes:
    return b"document of %r and %r" % (request.nonce, request.user_data)


def survey(kms_url: str) -> list[Hop]:
    return [Hop(HopName.PROXY, HopState.OK, f"on the way to {kms_url}")]


def new_session(regions: KmsRegions, region: str | None = None) -> Session:
    return Session(Enclave(regions, region, {"Version": "1", "ModuleId": "i-1-enc1"}, attest, survey))


def ask(session: Session, message: Mapping[str, object]) -> dict[str, Any]:
    return session.take(encode_message(message)).answer()


def raising(error: Exception) -> Behavior:
    def behavior(_request: KmsRequest) -> dict[str, Any]:
        raise error

    return behavior

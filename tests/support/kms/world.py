"""Shared by the tests of the simulated KMS: a clock to set, an enclave with a key, policies, and a boto3 client."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import cbor2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from nitro_simulator.errors import KmsFault
from nitro_simulator.identities import Identities
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.server import KmsServer
from nitro_simulator.kms.service import SimulatedKms
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.service import SimulatedNsm
from nitro_simulator.pki.tls import TlsAuthority
from tests.support.kms.ber_reader import read_ber
from vsock_wire.protocol.json_codec import JsonObject, encode_base64
from vsock_wire.protocol.messages import Credentials

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

REGION = "us-east-1"
ACCOUNT_ID = "111122223333"
ROLE = "EnclaveInstanceRole"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role/{ROLE}"
SESSION_ARN = f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{ROLE}/i-0123456789abcdef0"
ROOT_ARN = f"arn:aws:iam::{ACCOUNT_ID}:root"
MODULE_ID = "i-0123456789abcdef0-enc0123456789abcde"
PCRS = {index: bytes([0xA0 + index]) * 48 for index in range(16)}
PCR0 = PCRS[0].hex()


class FakeClock:
    """A clock that stands still until a test advances it."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Enclave:
    """A signed software NSM, and the RSA key of the program that uses it."""

    nsm: SimulatedNsm
    key: rsa.RSAPrivateKey

    @property
    def public_key_der(self) -> bytes:
        return self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def document(self, public_key_der: bytes | None = b"own") -> bytes:
        public_key = self.public_key_der if public_key_der == b"own" else public_key_der
        request = {"Attestation": {"user_data": None, "nonce": None, "public_key": public_key}}
        answer = cbor2.loads(self.nsm.answer(cbor2.dumps(request)))
        document = answer["Attestation"]["document"]
        assert isinstance(document, bytes)
        return document

    def recipient(self) -> Any:  # boto3-stubs want their TypedDict, most tests a dict
        return {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": self.document()}

    def recipient_json(self) -> dict[str, str]:
        """Return the Recipient as it appears in the JSON of a request."""
        fields: dict[str, Any] = self.recipient()
        return fields | {"AttestationDocument": encode_base64(fields["AttestationDocument"])}

    def open(self, ciphertext_for_recipient: bytes) -> bytes:
        return open_cms(self.key, ciphertext_for_recipient)


def open_cms(key: rsa.RSAPrivateKey, message: bytes) -> bytes:
    """Open a message of any shape; its OCTET STRINGs are the key, IV and content, in this order."""
    strings = [node.value for node in read_ber(message).walk() if node.tag == 0x04]
    encrypted_key, iv, *segments = strings
    content = b"".join(segments) or [node.value for node in read_ber(message).walk() if node.tag == 0x80][-1]
    return open_parts(key, encrypted_key, iv, content)


def open_parts(key: rsa.RSAPrivateKey, encrypted_key: bytes, iv: bytes, encrypted_content: bytes) -> bytes:
    oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    decryptor = Cipher(algorithms.AES256(key.decrypt(encrypted_key, oaep)), modes.CBC(iv)).decryptor()
    padded = decryptor.update(encrypted_content) + decryptor.finalize()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


@dataclass(frozen=True)
class KmsWorld:
    """One simulated account: its KMS, its callers, and the signer of the documents that it trusts."""

    kms: SimulatedKms
    identities: Identities
    authority: AttestationAuthority
    clock: FakeClock

    def call(self, operation: str, role: str = ROLE, /, **request: object) -> JsonObject:
        return self.kms.call(operation, dict(request), self.identities.principal(role))

    def fault(self, operation: str, role: str = ROLE, /, **request: object) -> KmsFault:
        """Call KMS and return the fault that it must raise."""
        try:
            self.call(operation, role, **request)
        except KmsFault as fault:
            return fault
        raise AssertionError(f"{operation} was not refused")

    def enclave(
        self, key: rsa.RSAPrivateKey, *, pcrs: Mapping[int, bytes] | None = None, debug: bool = False
    ) -> Enclave:
        nsm = SimulatedNsm(self.authority, module_id=MODULE_ID, pcrs=pcrs or PCRS, debug=debug, clock=self.clock)
        return Enclave(nsm, key)


def new_world(authority: AttestationAuthority, **options: Any) -> KmsWorld:
    clock = FakeClock()
    identities = Identities(ACCOUNT_ID, clock=clock)
    kms = SimulatedKms(
        region=REGION,
        attestation_root_sha256=authority.root_sha256,
        identities=identities,
        clock=clock,
        **options,
    )
    return KmsWorld(kms, identities, authority, clock)


def policy(*statements: dict[str, Any], with_administration: bool = True) -> str:
    """Return a policy with the statements and, by default, one that lets the account administer the key."""
    administration = {
        "Sid": "Administration",
        "Effect": "Allow",
        "Principal": {"AWS": ROOT_ARN},
        "Action": [
            "kms:Create*",
            "kms:Describe*",
            "kms:Enable*",
            "kms:Disable*",
            "kms:Get*",
            "kms:Put*",
            "kms:Encrypt",
        ],
        "Resource": "*",
    }
    everything = [administration, *statements] if with_administration else list(statements)
    return json.dumps({"Version": "2012-10-17", "Statement": everything})


def allow(action: str | list[str], *, condition: dict[str, Any] | None = None, principal: Any = None) -> dict[str, Any]:
    return _statement("Allow", action, condition, principal)


def deny(action: str | list[str], *, condition: dict[str, Any] | None = None, principal: Any = None) -> dict[str, Any]:
    return _statement("Deny", action, condition, principal)


def _statement(
    effect: str, action: str | list[str], condition: dict[str, Any] | None, principal: Any
) -> dict[str, Any]:
    statement = {
        "Effect": effect,
        "Principal": {"AWS": ROLE_ARN} if principal is None else principal,
        "Action": action,
        "Resource": "*",
    }
    return statement | ({"Condition": condition} if condition else {})


def attested_policy(pcr0: str = PCR0) -> str:
    condition = {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:ImageSha384": pcr0}}
    return policy(allow(["kms:Decrypt", "kms:Generate*", "kms:DeriveSharedSecret"], condition=condition))


def boto_client(
    server: KmsServer, ca_file: Path, credentials: Credentials, *, host: str = "localhost", region: str = REGION
) -> KMSClient:
    return boto3.session.Session().client(
        "kms",
        region_name=region,
        endpoint_url=f"https://{host}:{server.port}",
        verify=str(ca_file),
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=10),
    )


def ca_file(directory: Path, authority: TlsAuthority) -> Path:
    path = directory / "ca.pem"
    path.write_bytes(authority.ca_pem)
    return path


class RawClient:
    """Sends signed requests that no SDK would send, over one connection."""

    def __init__(self, server: KmsServer, ca: Path, credentials: Credentials) -> None:
        self._port = server.port
        self._credentials = BotocoreCredentials(
            credentials.access_key_id, credentials.secret_access_key, credentials.session_token
        )
        self._connection = HTTPSConnection(
            "localhost", server.port, context=ssl.create_default_context(cafile=str(ca)), timeout=10
        )

    def close(self) -> None:
        self._connection.close()

    def send(
        self, body: bytes, *, method: str = "POST", path: str = "/", target: str = "ListKeys", content_type: str = "1.1"
    ) -> tuple[int, JsonObject, dict[str, str]]:
        headers = {"X-Amz-Target": f"TrentService.{target}", "Content-Type": f"application/x-amz-json-{content_type}"}
        request = AWSRequest(method, f"https://localhost:{self._port}{path}", data=body, headers=headers)
        SigV4Auth(self._credentials, "kms", "us-east-1").add_auth(request)
        self._connection.request(method, path, body, dict(request.headers.items()))
        response = self._connection.getresponse()
        return response.status, json.loads(response.read()), dict(response.getheaders())


def denied_text(key: KmsKey, action: str = "kms:Decrypt", *, explicitly: bool = False) -> str:
    """Return KMS's text for an action that the key policy does not allow the role."""
    reason = (
        "with an explicit deny in a resource-based policy"
        if explicitly
        else f"because no resource-based policy allows the {action} action"
    )
    return f"User: {SESSION_ARN} is not authorized to perform: {action} on resource: {key.arn} {reason}"


def code_and_text(fault: KmsFault) -> tuple[str, str | None]:
    assert fault.http_status == 400
    return fault.code, fault.message

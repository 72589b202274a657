"""The trace of one call: the steps that ``--explain`` shows, and how the enclave's steps travel (pure).

Each step is recorded where it happens, with ``vsock_wire.protocol.recording``. The parent instance records
CredentialsFound, Connected, Sent, Received and Printed. The enclave records Attested, TlsConnected, KmsAnswered and
Opened, and sends them with its reply. They contain no secrets, and only the attestation document among them proves
anything.

A decrypt without ``--explain`` must not pay for loading this module: code on the instance imports the class of a step
only if ``is_recording()``. tests/system/instance/test_start_up.py checks that.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from vsock_wire.errors import WireError, quoted
from vsock_wire.protocol.json_codec import JsonObject, decode_base64, encode_base64
from vsock_wire.protocol.vocabulary import EVIDENCE

STEP = "Step"
"""The field that names a step."""
MAX_STEPS = 64
"""Maximum number of steps that a client accepts. A call has one attestation, one decryption of the response, and a
connection and a response for each of at most four attempts (botocore's three, and one more for the clock)."""
MAX_NUMBER = 2**53 - 1
"""RFC 8259 section 6: every JSON parser reads integers up to this one exactly."""
MAX_TEXT_CHARS = 256
"""Maximum length of each text of a step: more than a host name may have (RFC 1035 section 2.3.4: 255)."""


@dataclass(frozen=True)
class CredentialsFound:
    """Credentials were found.

    Attributes:
        source: where they were found, as text that is safe to show.
        elapsed_ms: how long that took, in milliseconds.
    """

    source: str
    elapsed_ms: float


@dataclass(frozen=True)
class Connected:
    """A connection was opened.

    Attributes:
        peer: the address of the peer.
        elapsed_ms: how long that took, in milliseconds.
    """

    peer: str
    elapsed_ms: float


@dataclass(frozen=True)
class Sent:
    """A request was sent.

    Attributes:
        peer: the address it was sent to.
        operation: its operation.
        fields: the names of its fields.
        sent_bytes: its size, including the NUL.
    """

    peer: str
    operation: str
    fields: tuple[str, ...]
    sent_bytes: int


@dataclass(frozen=True)
class Received:
    """The reply to a request arrived. The steps that the enclave reported come before this one.

    Attributes:
        operation: the operation of the request.
        is_ok: whether the reply has status Ok.
        fields: the names of its fields.
        delivery: the Delivery that the enclave names, or None.
        received_bytes: its size, including the NUL.
        elapsed_ms: milliseconds from the request to the end of the reply.
    """

    operation: str
    is_ok: bool
    fields: tuple[str, ...]
    delivery: str | None
    received_bytes: int
    elapsed_ms: float


@dataclass(frozen=True)
class Printed:
    """The result was written to standard output.

    Attributes:
        printed_bytes: its size.
    """

    printed_bytes: int


@dataclass(frozen=True)
class Attested:
    """The NSM signed a document for the call, or the call reused an earlier document.

    Attributes:
        document: the document that was sent to KMS.
        is_reused: whether it was made for an earlier call.
        elapsed_ms: milliseconds until the module responded.
    """

    document: bytes
    is_reused: bool
    elapsed_ms: float


@dataclass(frozen=True)
class TlsConnected:
    """The call has a TLS connection. The enclave checked its certificate and host name.

    Attributes:
        proxy: the address of the proxy.
        host: the host name that the certificate was checked against.
        version: the TLS version, such as TLSv1.3.
        cipher: the cipher suite.
        certificate_names: the DNS names in the certificate.
        certificate_issuer: the issuer of the certificate.
        is_kept: whether the connection was opened for an earlier call.
        elapsed_ms: milliseconds for connecting to the proxy and for the handshake; 0 for a kept connection.
    """

    proxy: str
    host: str
    version: str
    cipher: str
    certificate_names: str
    certificate_issuer: str
    is_kept: bool
    elapsed_ms: float


@dataclass(frozen=True)
class KmsAnswered:
    """KMS, or any server that holds its certificate, answered one HTTP request.

    Attributes:
        sent_bytes: size of the request's headers and body.
        received_bytes: size of the response's body, according to its Content-Length.
        http_status: HTTP status of the response.
        request_id: the ID by which AWS can find the request; empty if the response has none.
        elapsed_ms: milliseconds from the request to the headers of the response.
    """

    sent_bytes: int
    received_bytes: int
    http_status: int
    request_id: str
    elapsed_ms: float


@dataclass(frozen=True)
class Opened:
    """A CiphertextForRecipient was decrypted with the enclave's private key.

    Attributes:
        ciphertext_for_recipient_bytes: its size.
        key_identifier: SHA-256 of the enclave's public key, in hexadecimal. If the message names its recipient, as
            KMS's messages do, it names this key.
        elapsed_ms: milliseconds for parsing and decrypting it.
    """

    ciphertext_for_recipient_bytes: int
    key_identifier: str
    elapsed_ms: float


EnclaveStep: TypeAlias = Attested | TlsConnected | KmsAnswered | Opened
_STEPS: Mapping[str, type[EnclaveStep]] = {
    step.__name__: step for step in (Attested, TlsConnected, KmsAnswered, Opened)
}


def encode_evidence(steps: Iterable[object]) -> list[JsonObject]:
    """Return the enclave's steps among ``steps`` as messages carry them, and leave out all others."""
    return [_encode_step(step) for step in steps if isinstance(step, EnclaveStep)]


def parse_evidence(reply: JsonObject) -> list[EnclaveStep]:
    """Return the steps of a reply, or none if it has no EVIDENCE, as replies of kmstool in C.

    Ignores steps of unknown kinds, which a newer enclave may report.

    Raises:
        WireError: there are more than MAX_STEPS steps, or a step is malformed.
    """
    steps = reply.get(EVIDENCE, [])
    if not isinstance(steps, list) or len(steps) > MAX_STEPS or not all(isinstance(step, dict) for step in steps):
        raise WireError(f"reply: {EVIDENCE}: expected a list of at most {MAX_STEPS} objects")
    return [_parse_step(_STEPS[name], step) for step in steps if (name := step.get(STEP)) in tuple(_STEPS)]


def cut_text(text: object) -> str:
    """Return ``text`` truncated to the length that a step allows."""
    return str(text)[:MAX_TEXT_CHARS]


def _encode_step(step: EnclaveStep) -> JsonObject:
    fields = {_wire_name(field.name): getattr(step, field.name) for field in dataclasses.fields(step)}
    encoded = {name: encode_base64(value) if isinstance(value, bytes) else value for name, value in fields.items()}
    return {STEP: type(step).__name__, **encoded}


def _parse_step(step: type[EnclaveStep], message: JsonObject) -> EnclaveStep:
    return step(**{field.name: _parse_value(field, message) for field in dataclasses.fields(step)})


def _parse_value(field: dataclasses.Field[Any], message: JsonObject) -> Any:
    name = _wire_name(field.name)
    value = message.get(name)
    match field.type, value:
        case "bytes", str():
            with contextlib.suppress(ValueError):
                return decode_base64(value)
        case "str", str() if len(value) <= MAX_TEXT_CHARS:
            return value
        case "bool", bool():
            return value
        case "int", int() if not isinstance(value, bool) and 0 <= value <= MAX_NUMBER:
            return value
        case "float", int() | float() if not isinstance(value, bool) and 0 <= value <= MAX_NUMBER:
            return float(value)
    raise WireError(f"reply: {EVIDENCE}: {quoted(message[STEP])}: {name}: expected a value of type {field.type}")


def _wire_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))

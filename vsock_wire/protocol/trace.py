"""The trace of one call: its steps, which ``--explain`` presents, and how those of the enclave travel (pure).

Each step is recorded where it happens, with ``vsock_wire.protocol.recording``. The parent instance records
CredentialsFound, Connected, Sent, Received and Printed. The enclave records Attested, TlsConnected, KmsAnswered and
Opened, which travel with its reply; nothing in them is secret, and only the attestation document among them is proof.

A decrypt without ``--explain`` must not pay for loading this module: on the instance, code imports the class of a step
only where ``is_recording()``. tests/system/instance/test_start_up.py checks that.
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
"""The field that names one."""
MAX_STEPS = 64
"""That a client takes in. A call has one attestation, one opening, and a connection and an answer for each of at most
four attempts (botocore's three, and one more for the clock)."""
MAX_NUMBER = 2**53 - 1
"""RFC 8259 section 6: every JSON reader takes integers up to here for what they are."""
MAX_TEXT_CHARS = 256
"""Of one text in a step: longer than a host name may be (RFC 1035 section 2.3.4: 255)."""


@dataclass(frozen=True)
class CredentialsFound:
    """Credentials were found.

    Attributes:
        source: where, in words that may be shown.
        elapsed_ms: milliseconds for finding them.
    """

    source: str
    elapsed_ms: float


@dataclass(frozen=True)
class Connected:
    """A connection was opened.

    Attributes:
        peer: the address that was dialled.
        elapsed_ms: milliseconds for that.
    """

    peer: str
    elapsed_ms: float


@dataclass(frozen=True)
class Sent:
    """A request went out.

    Attributes:
        peer: the address it went to.
        operation: what it asks for.
        fields: the names of what it carries.
        sent_bytes: its size, NUL included.
    """

    peer: str
    operation: str
    fields: tuple[str, ...]
    sent_bytes: int


@dataclass(frozen=True)
class Received:
    """Its reply came; what the enclave told of its own steps stands before this one.

    Attributes:
        operation: what was asked for.
        is_ok: whether it is no error.
        fields: the names of what the reply carries.
        delivery: what the enclave says that it does with a secret; None where it says nothing.
        received_bytes: its size, NUL included.
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
    """The result went to standard output.

    Attributes:
        printed_bytes: how much of it.
    """

    printed_bytes: int


@dataclass(frozen=True)
class Attested:
    """The NSM signed a document for the call, or an earlier document served once more.

    Attributes:
        document: as it was sent to KMS.
        is_reused: whether an earlier call had it made.
        elapsed_ms: milliseconds until the module had answered.
    """

    document: bytes
    is_reused: bool
    elapsed_ms: float


@dataclass(frozen=True)
class TlsConnected:
    """The call has a TLS connection, whose certificate and host name were checked in the enclave.

    Attributes:
        proxy: what was dialled.
        host: the name that the certificate was checked for.
        version: of TLS, such as TLSv1.3.
        cipher: the cipher suite.
        certificate_names: the DNS names the certificate is for.
        certificate_issuer: who signed it.
        is_kept: whether an earlier call opened the connection.
        elapsed_ms: milliseconds for dialling the proxy and for the handshake; 0 for a kept connection.
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
    """KMS, or whoever has its certificate, answered one HTTP request.

    Attributes:
        sent_bytes: of the request, its head and body.
        received_bytes: of the answer's body, by its Content-Length.
        http_status: of the answer.
        request_id: by which AWS can find the request; empty where there was none.
        elapsed_ms: milliseconds from the request to the head of the answer.
    """

    sent_bytes: int
    received_bytes: int
    http_status: int
    request_id: str
    elapsed_ms: float


@dataclass(frozen=True)
class Opened:
    """A CiphertextForRecipient was opened with the enclave's private key.

    Attributes:
        ciphertext_for_recipient_bytes: its size.
        key_identifier: SHA-256 of the public key whose private half opened it, in hexadecimal; where the message names
            its recipient, as KMS's do, the two were compared.
        elapsed_ms: milliseconds for reading and opening it.
    """

    ciphertext_for_recipient_bytes: int
    key_identifier: str
    elapsed_ms: float


EnclaveStep: TypeAlias = Attested | TlsConnected | KmsAnswered | Opened
_STEPS: Mapping[str, type[EnclaveStep]] = {
    step.__name__: step for step in (Attested, TlsConnected, KmsAnswered, Opened)
}


def encode_evidence(steps: Iterable[object]) -> list[JsonObject]:
    """Return the steps of the enclave among ``steps`` as they travel; what else was recorded stays here."""
    return [_encode_step(step) for step in steps if isinstance(step, EnclaveStep)]


def parse_evidence(reply: JsonObject) -> list[EnclaveStep]:
    """Return the steps of a reply; none where it has no EVIDENCE, as kmstool in C has none.

    Steps of a kind that is not known here are left out: a newer enclave may have more to tell.

    Raises:
        WireError: there are more than MAX_STEPS, or one is not of its form.
    """
    steps = reply.get(EVIDENCE, [])
    if not isinstance(steps, list) or len(steps) > MAX_STEPS or not all(isinstance(step, dict) for step in steps):
        raise WireError(f"reply: {EVIDENCE}: expected a list of at most {MAX_STEPS} objects")
    return [_parse_step(_STEPS[name], step) for step in steps if (name := step.get(STEP)) in tuple(_STEPS)]


def cut_text(text: object) -> str:
    """Return ``text`` as a step may hold it."""
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

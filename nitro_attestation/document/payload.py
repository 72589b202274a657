"""The payload of an attestation document: its fields, and the limits AWS sets them (pure).

Source of every limit that names no other: AWS Nitro Enclaves user guide, "Verifying the root of trust", and the "Nitro
Enclaves Attestation Process" of aws-nitro-enclaves-nsm-api, section 3.2.2 (syntactical validation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TypeVar

from nitro_attestation.document.cbor import decode_strict_cbor
from nitro_attestation.errors import AttestationError
from nitro_attestation.quoting import quoted

MAX_PAYLOAD_BYTES = 16_384
"""Most bytes of the payload as a whole."""
DIGEST = "SHA384"
"""The only digest that is allowed."""
MAX_TIMESTAMP_MS = 253_402_300_799_999
"""The end of the year 9999: the last moment Python has a name for. The field itself holds 64 bits."""
PCR_COUNT = 32
PCR_SIZES_BYTES = (32, 48, 64)
MAX_CERTIFICATE_BYTES = 1_024
MAX_ATTESTED_BYTES = 1_024
"""public_key, user_data and nonce, each, from 0 bytes: the CDDL of section 2.2. Section 3.2.2 has 1 to 1,024 and twice
0 to 512, but genuine documents have an empty public_key and 746 bytes of user_data."""
DEBUG_PCRS = (0, 1, 2)
"""The image's own measurements; an enclave in debug mode has zeros here, so they identify nothing."""

_REQUIRED = frozenset({"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"})
_OPTIONAL = frozenset({"public_key", "user_data", "nonce"})
_NITROTPM_PCRS = "nitrotpm_pcrs"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Type = TypeVar("_Type", int, str, bytes, list[object], dict[object, object])
_TYPE_NAMES = {int: "an integer", str: "a text string", bytes: "a byte string", list: "an array", dict: "a map"}


@dataclass(frozen=True)
class AttestationDocument:
    """The fields of an attestation document; having one says nothing about who signed it.

    Attributes:
        module_id: the Nitro hypervisor's name for the enclave.
        digest: the hash behind the PCRs.
        timestamp_ms: when it was made, in milliseconds since 1970 UTC.
        pcrs: the locked measurements by their index.
        certificate_der: the X.509 certificate whose key signed the document.
        cabundle_der: the certificates above it, root first.
        public_key_der: what the enclave gave as a key of its own, or None. Any 0 to 1,024 bytes; it is not parsed here.
            What program ran in the enclave, which the measurements say, decides who has the private half.
        user_data: 0 to 1,024 bytes that the enclave had signed along, or None.
        nonce: 0 to 1,024 bytes that make it fresh for the party that chose them, or None.
    """

    module_id: str
    digest: str
    timestamp_ms: int
    pcrs: Mapping[int, bytes]
    certificate_der: bytes
    cabundle_der: tuple[bytes, ...]
    public_key_der: bytes | None
    user_data: bytes | None
    nonce: bytes | None

    @property
    def is_debug(self) -> bool:
        """Whether PCR0, 1 and 2 are all zero: a debug mode enclave, which anyone with its console can look into."""
        return not any(any(self.pcrs.get(index, b"")) for index in DEBUG_PCRS)

    @property
    def issued_at(self) -> datetime:
        """The timestamp as a time in UTC."""
        return _EPOCH + timedelta(milliseconds=self.timestamp_ms)


def parse_unverified_payload(payload: bytes) -> AttestationDocument:
    """Decode the payload's CBOR map and hold every field against its limits.

    Does not verify anything: whoever can write bytes can write these.

    Args:
        payload: 1 to MAX_PAYLOAD_BYTES bytes; the map may have a definite or an indefinite length.

    Raises:
        AttestationError: a field is missing, unknown, of another type or out of its limits.
    """
    _check_size("payload", payload, 1, MAX_PAYLOAD_BYTES)
    fields = _fields(payload)
    return AttestationDocument(
        module_id=_module_id(fields["module_id"]),
        digest=_digest(fields["digest"]),
        timestamp_ms=_timestamp_ms(fields["timestamp"]),
        pcrs=MappingProxyType(_pcrs(fields["pcrs"])),
        certificate_der=_bytes("certificate", fields["certificate"], 1, MAX_CERTIFICATE_BYTES),
        cabundle_der=_cabundle(fields["cabundle"]),
        public_key_der=_attested_bytes("public_key", fields),
        user_data=_attested_bytes("user_data", fields),
        nonce=_attested_bytes("nonce", fields),
    )


def _fields(payload: bytes) -> dict[str, object]:
    try:
        decoded = decode_strict_cbor(payload)
    except ValueError as error:
        raise AttestationError("payload", str(error)) from None
    fields: dict[str, object] = {}
    for key, value in _typed("payload", decoded, dict).items():
        if key == _NITROTPM_PCRS:
            raise AttestationError(
                _NITROTPM_PCRS,
                "expected an enclave's document, got one of an EC2 instance's NitroTPM",
                hint="only documents made by the NSM of a Nitro Enclave are verified here",
            )
        name = _typed("payload key", key, str)
        if name not in _REQUIRED | _OPTIONAL:
            raise AttestationError("payload", f"expected only the fields AWS specifies, got {quoted(name)}")
        fields[name] = value
    for name in sorted(_REQUIRED - fields.keys()):
        raise AttestationError(name, "expected this field, got a document without it")
    return fields


def _module_id(value: object) -> str:
    module_id = _typed("module_id", value, str)
    if not module_id:
        raise AttestationError("module_id", "expected at least 1 character, got none")
    return module_id


def _digest(value: object) -> str:
    digest = _typed("digest", value, str)
    if digest != DIGEST:
        raise AttestationError("digest", f"expected {DIGEST}, got {quoted(digest)}")
    return digest


def _timestamp_ms(value: object) -> int:
    timestamp_ms = _typed("timestamp", value, int)
    if not 1 <= timestamp_ms <= MAX_TIMESTAMP_MS:
        raise AttestationError("timestamp", f"expected 1 to {MAX_TIMESTAMP_MS} milliseconds, got {timestamp_ms}")
    return timestamp_ms


def _pcrs(value: object) -> dict[int, bytes]:
    entries = _typed("pcrs", value, dict)
    if not 1 <= len(entries) <= PCR_COUNT:
        raise AttestationError("pcrs", f"expected 1 to {PCR_COUNT} entries, got {len(entries)}")
    return dict(_pcr(index, digest) for index, digest in entries.items())


def _pcr(key: object, value: object) -> tuple[int, bytes]:
    index = _typed("pcrs: index", key, int)
    if not 0 <= index < PCR_COUNT:
        raise AttestationError("pcrs", f"expected indexes from 0 to {PCR_COUNT - 1}, got {index}")
    digest = _typed(f"pcrs[{index}]", value, bytes)
    if len(digest) not in PCR_SIZES_BYTES:
        raise AttestationError(f"pcrs[{index}]", f"expected 32, 48 or 64 bytes, got {len(digest)}")
    return index, digest


def _cabundle(value: object) -> tuple[bytes, ...]:
    certificates = _typed("cabundle", value, list)
    if not certificates:
        raise AttestationError("cabundle", "expected at least 1 certificate, got none")
    return tuple(
        _bytes(f"cabundle[{position}]", certificate, 1, MAX_CERTIFICATE_BYTES)
        for position, certificate in enumerate(certificates)
    )


def _attested_bytes(name: str, fields: Mapping[str, object]) -> bytes | None:
    """The specification allows no null; the NSM writes null for every field that was not given."""
    value = fields.get(name)
    return None if value is None else _bytes(name, value, 0, MAX_ATTESTED_BYTES)


def _bytes(field: str, value: object, smallest: int, largest: int) -> bytes:
    data = _typed(field, value, bytes)
    _check_size(field, data, smallest, largest)
    return data


def _check_size(field: str, data: bytes, smallest: int, largest: int) -> None:
    if not smallest <= len(data) <= largest:
        raise AttestationError(field, f"expected {smallest} to {largest} bytes, got {len(data)}")


def _typed(field: str, value: object, expected: type[_Type]) -> _Type:
    """Compare the type itself: CBOR's true is no integer, though Python's is."""
    if type(value) is not expected:
        got = _TYPE_NAMES.get(type(value), "null" if value is None else "another type")
        raise AttestationError(field, f"expected {_TYPE_NAMES[expected]}, got {got}")
    return value

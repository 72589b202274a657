"""Parse the payload of an attestation document, and check AWS's limits for its fields (pure).

Source of every limit without a source of its own: AWS Nitro Enclaves user guide, "Verifying the root of trust", and the
"Nitro Enclaves Attestation Process" of aws-nitro-enclaves-nsm-api, section 3.2.2 (syntactical validation).
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
"""Maximum size of the whole payload."""
DIGEST = "SHA384"
"""The only digest that is allowed."""
MAX_TIMESTAMP_MS = 253_402_300_799_999
"""The end of the year 9999, the last time that Python can represent. The field itself has 64 bits."""
PCR_COUNT = 32
PCR_SIZES_BYTES = (32, 48, 64)
MAX_CERTIFICATE_BYTES = 1_024
MAX_ATTESTED_BYTES = 1_024
"""Maximum size of public_key, user_data and nonce; each may be empty. Source: the CDDL of section 2.2. Section 3.2.2
says 1 to 1,024 for public_key and 0 to 512 for the others, but AWS's documents can have an empty public_key and 746
bytes of user_data."""
DEBUG_PCRS = (0, 1, 2)
"""The image's own measurements. In debug mode they are zeros, and identify nothing."""

_REQUIRED = frozenset({"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"})
_OPTIONAL = frozenset({"public_key", "user_data", "nonce"})
_NITROTPM_PCRS = "nitrotpm_pcrs"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Type = TypeVar("_Type", int, str, bytes, list[object], dict[object, object])
_TYPE_NAMES = {int: "an integer", str: "a text string", bytes: "a byte string", list: "an array", dict: "a map"}


@dataclass(frozen=True)
class AttestationDocument:
    """The fields of an attestation document. An object of this class proves nothing about who signed the document.

    Attributes:
        module_id: the Nitro hypervisor's name for the enclave.
        digest: the hash algorithm of the PCRs.
        timestamp_ms: when it was made, in milliseconds since 1970 UTC.
        pcrs: the locked PCRs by index.
        certificate_der: the X.509 certificate whose key signed the document.
        cabundle_der: the certificates above it, root first.
        public_key_der: the public key that the enclave passed to the NSM, or None. Any 0 to 1,024 bytes; not parsed
            here. Who has the private key depends on the program in the enclave, which the measurements identify.
        user_data: 0 to 1,024 bytes that the enclave added, or None.
        nonce: 0 to 1,024 bytes that show the party that chose them that the document is fresh, or None.
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
        """Whether PCR0, PCR1 and PCR2 are all zeros: in debug mode, the parent instance can read the console."""
        return not any(any(self.pcrs.get(index, b"")) for index in DEBUG_PCRS)

    @property
    def issued_at(self) -> datetime:
        """The timestamp as a UTC time."""
        return _EPOCH + timedelta(milliseconds=self.timestamp_ms)


def parse_unverified_payload(payload: bytes) -> AttestationDocument:
    """Decode the payload's CBOR map and check every field against its limits.

    Does not verify anything: anyone can write such bytes.

    Args:
        payload: 1 to MAX_PAYLOAD_BYTES bytes; the map may have a definite or an indefinite length.

    Raises:
        AttestationError: a field is missing or unknown, or has the wrong type or size.
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
                "the document comes from the NitroTPM of an EC2 instance, not from an enclave",
                hint="only documents made by the NSM of a Nitro Enclave can be verified",
            )
        name = _typed("payload key", key, str)
        if name not in _REQUIRED | _OPTIONAL:
            raise AttestationError("payload", f"unknown field {quoted(name)}")
        fields[name] = value
    for name in sorted(_REQUIRED - fields.keys()):
        raise AttestationError(name, "the document has no such field")
    return fields


def _module_id(value: object) -> str:
    module_id = _typed("module_id", value, str)
    if not module_id:
        raise AttestationError("module_id", "must not be empty")
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
        raise AttestationError("cabundle", "must not be empty")
    return tuple(
        _bytes(f"cabundle[{position}]", certificate, 1, MAX_CERTIFICATE_BYTES)
        for position, certificate in enumerate(certificates)
    )


def _attested_bytes(name: str, fields: Mapping[str, object]) -> bytes | None:
    """The specification does not allow null, but the NSM writes null for every field that the enclave did not pass."""
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
    """Compare the exact type: CBOR's true is not an integer, but Python's True is."""
    if type(value) is not expected:
        got = _TYPE_NAMES.get(type(value), "null" if value is None else "another type")
        raise AttestationError(field, f"expected {_TYPE_NAMES[expected]}, got {got}")
    return value

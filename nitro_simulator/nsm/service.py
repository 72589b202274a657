"""A Nitro Security Module in software: the requests and responses of /dev/nsm, byte for byte in its CBOR.

A request is either a text string, which names a command without arguments, or a map with one entry, which maps the name
of an operation to its arguments. ``answer`` decodes the request, calls the method with that name, and encodes what it
returns. Any error in a request ends in NsmRefusalError with one of the module's error codes, which is all that the
client sees.

The module has PCRs (``pcrs``), a leaf certificate that its authority issues and renews (``authority``), and a clock. An
attestation document is a map built from these three and signed with the leaf's key as COSE_Sign1. One lock serializes
all requests, as the device does, so that no document shows a PCR in the middle of a change.

The documents are real, but under a throwaway root, and nothing here is isolated, so they prove nothing. Sources: the
NSM's API crate aws-nitro-enclaves-nsm-api (names, types, limits, error codes, and its nsm-check for the state at boot);
where that is silent, the NSM device of QEMU's nitro-enclave machine.
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import cbor2

from nitro_attestation.document.cbor import decode_strict_cbor
from nitro_attestation.document.payload import DIGEST, PCR_COUNT
from nitro_simulator.clock import Clock, utc_now
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.pcrs import PcrBank
from vsock_wire.errors import ToolError
from vsock_wire.protocol.attestation import MAX_ATTESTED_BYTES

MAX_REQUEST_BYTES = 0x1000
MAX_RESPONSE_BYTES = 0x3000
RANDOM_BYTES = 256
"""Number of bytes in every GetRandom response."""
MAX_INDEX = 0xFFFF
"""Indexes and ranges are 16 bits wide, however many PCRs there are."""
VERSION = (1, 0, 0)
"""Major, minor and patch, as DescribeNSM returns them."""

_Arguments: TypeAlias = Mapping[object, object]
_NO_PCRS: Mapping[int, bytes] = MappingProxyType({})


class NsmErrorCode(enum.StrEnum):
    """Error codes of the NSM."""

    INVALID_ARGUMENT = "InvalidArgument"
    INVALID_INDEX = "InvalidIndex"
    INVALID_RESPONSE = "InvalidResponse"
    READ_ONLY_INDEX = "ReadOnlyIndex"
    INVALID_OPERATION = "InvalidOperation"
    BUFFER_TOO_SMALL = "BufferTooSmall"
    INPUT_TOO_LARGE = "InputTooLarge"
    INTERNAL_ERROR = "InternalError"


class NsmRefusalError(ToolError):
    """The request ends in an error code, which is all that the client sees."""

    def __init__(self, code: NsmErrorCode) -> None:
        super().__init__(f"nsm: {code}")
        self.code = code


class SimulatedNsm:
    """One enclave's NSM. Thread-safe; it answers one request at a time, as the device does.

    Args:
        authority: signs the documents.
        module_id: the enclave's name, such as "i-0123456789abcdef0-enc0123456789abcde".
        pcrs: measurements at boot, 48 bytes each, for indexes 0 to 15. Those that every real enclave has get a stand-in
            if missing: a fixed measurement for PCR0 to PCR2, that of the instance id in ``module_id`` for PCR4.
        debug: whether the enclave runs in debug mode, with zeros in PCR0 to PCR2 whatever ``pcrs`` says.
        clock: gives the current time.
        random_bytes: returns the given number of random bytes.

    Raises:
        ValueError: the module id is empty, or a PCR has another index or size.
    """

    def __init__(
        self,
        authority: AttestationAuthority,
        *,
        module_id: str,
        pcrs: Mapping[int, bytes] = _NO_PCRS,
        debug: bool = False,
        clock: Clock = utc_now,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if not module_id:
            raise ValueError("module_id: must not be empty")
        self._authority = authority
        self._module_id = module_id
        self._pcrs = PcrBank.booted(module_id=module_id, measured=pcrs, debug=debug)
        self._clock = clock
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._commands: dict[str, Callable[[], object]] = {
            "DescribeNSM": self._describe_nsm,
            "GetRandom": self._get_random,
        }
        self._operations: dict[str, Callable[[_Arguments], object]] = {
            "Attestation": self._attestation,
            "DescribePCR": self._describe_pcr,
            "ExtendPCR": self._extend_pcr,
            "LockPCR": self._lock_pcr,
            "LockPCRs": self._lock_pcrs,
        }

    def answer(self, request: bytes) -> bytes:
        """Return the response to one request; for a bad one that is an error code, never an exception.

        Args:
            request: CBOR, at most MAX_REQUEST_BYTES bytes.

        Returns:
            CBOR, at most MAX_RESPONSE_BYTES bytes.
        """
        try:
            with self._lock:
                response = cbor2.dumps(self._answer(request))
        except NsmRefusalError as refusal:
            return _encode_error(refusal.code)
        except OSError:  # from the source of random bytes
            return _encode_error(NsmErrorCode.INTERNAL_ERROR)
        return response if len(response) <= MAX_RESPONSE_BYTES else _encode_error(NsmErrorCode.BUFFER_TOO_SMALL)

    def _answer(self, request: bytes) -> object:
        if len(request) > MAX_REQUEST_BYTES:
            raise NsmRefusalError(NsmErrorCode.INPUT_TOO_LARGE)
        try:
            decoded = decode_strict_cbor(request)
        except ValueError:
            raise NsmRefusalError(NsmErrorCode.INVALID_OPERATION) from None
        match decoded:
            case str(name) if name in self._commands:
                return self._commands[name]()
            case dict() if len(decoded) == 1:
                ((name, arguments),) = decoded.items()
                if name in self._operations:
                    return self._operations[name](_arguments(arguments))
        raise NsmRefusalError(NsmErrorCode.INVALID_OPERATION)

    def _describe_nsm(self) -> object:
        major, minor, patch = VERSION
        return {
            "DescribeNSM": {
                "version_major": major,
                "version_minor": minor,
                "version_patch": patch,
                "module_id": self._module_id,
                "max_pcrs": PCR_COUNT,
                "locked_pcrs": sorted(self._pcrs.locked()),
                "digest": DIGEST,
            }
        }

    def _get_random(self) -> object:
        return {"GetRandom": {"random": self._random_bytes(RANDOM_BYTES)}}

    def _attestation(self, arguments: _Arguments) -> object:
        user_data = _attested_bytes(arguments, "user_data")
        nonce = _attested_bytes(arguments, "nonce")
        public_key = _attested_bytes(arguments, "public_key")
        now = self._clock()
        leaf = self._authority.leaf_for(self._module_id, now)
        payload = _encode_indefinite_map(
            {
                "module_id": self._module_id,
                "digest": DIGEST,
                "timestamp": int(now.timestamp() * 1_000),
                "pcrs": self._pcrs.locked(),
                "certificate": leaf.certificate_der,
                "cabundle": list(self._authority.cabundle_der),
                "public_key": public_key,
                "user_data": user_data,
                "nonce": nonce,
            }
        )
        return {"Attestation": {"document": leaf.sign(payload)}}

    def _describe_pcr(self, arguments: _Arguments) -> object:
        index = _pcr_index(arguments)
        return {"DescribePCR": {"lock": self._pcrs.is_locked(index), "data": self._pcrs.value(index)}}

    def _extend_pcr(self, arguments: _Arguments) -> object:
        index, data = _pcr_index(arguments), _bytes(arguments.get("data"))
        self._check_writable(index)
        return {"ExtendPCR": {"data": self._pcrs.extend(index, data)}}

    def _lock_pcr(self, arguments: _Arguments) -> object:
        index = _pcr_index(arguments)
        self._check_writable(index)
        self._pcrs.lock(index)
        return "LockPCR"

    def _lock_pcrs(self, arguments: _Arguments) -> object:
        """Lock all below ``range``; unlike in LockPCR, some may already be locked."""
        count = _number(arguments, "range")
        if count > PCR_COUNT:
            raise NsmRefusalError(NsmErrorCode.INVALID_INDEX)
        for index in range(count):
            self._pcrs.lock(index)
        return "LockPCRs"

    def _check_writable(self, index: int) -> None:
        if self._pcrs.is_locked(index):
            raise NsmRefusalError(NsmErrorCode.READ_ONLY_INDEX)


def _encode_error(code: NsmErrorCode) -> bytes:
    return cbor2.dumps({"Error": str(code)})


def _encode_indefinite_map(fields: Mapping[str, object]) -> bytes:
    """Encode as the NSM has done since 2025: only the outer map differs, so cbor2's option does not help."""
    return b"\xbf" + b"".join(cbor2.dumps(item) for pair in fields.items() for item in pair) + b"\xff"


def _arguments(value: object) -> _Arguments:
    if not isinstance(value, dict):
        raise NsmRefusalError(NsmErrorCode.INVALID_ARGUMENT)
    return value


def _pcr_index(arguments: _Arguments) -> int:
    index = _number(arguments, "index")
    if index >= PCR_COUNT:
        raise NsmRefusalError(NsmErrorCode.INVALID_INDEX)
    return index


def _number(arguments: _Arguments, name: str) -> int:
    value = arguments.get(name)
    if type(value) is not int or not 0 <= value <= MAX_INDEX:
        raise NsmRefusalError(NsmErrorCode.INVALID_ARGUMENT)
    return value


def _attested_bytes(arguments: _Arguments, name: str) -> bytes | None:
    """Return what a document is to carry, as given; no bytes are a value and not the same as none given."""
    value = arguments.get(name)
    if value is None:
        return None
    data = _bytes(value)
    if len(data) > MAX_ATTESTED_BYTES:
        raise NsmRefusalError(NsmErrorCode.INPUT_TOO_LARGE)
    return data


def _bytes(value: object) -> bytes:
    """Treat text as its bytes in UTF-8, as the NSM does."""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise NsmRefusalError(NsmErrorCode.INVALID_ARGUMENT)
    return value

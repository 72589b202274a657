"""Platform configuration registers of a simulated enclave (pure).

Sources: AWS Nitro Enclaves user guide, "Where to get an enclave's measurements"; for which PCRs are locked at boot,
nsm-check of aws-nitro-enclaves-nsm-api.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Self

from nitro_attestation.document.payload import DEBUG_PCRS, DIGEST, PCR_COUNT
from nitro_attestation.measurements import PCR_BYTES

LOCKED_AT_BOOT = 16
"""PCR0 to 15 belong to the hypervisor; the enclave may extend and lock the rest."""
INSTANCE_PCR = 4

_ZERO = bytes(PCR_BYTES)


def measure(data: bytes, *, before: bytes = _ZERO) -> bytes:
    """Return the value of a PCR after extending ``before`` (48 bytes) with ``data``: SHA-384 of both."""
    return hashlib.sha384(before + data).digest()


class PcrBank:
    """All PCRs, each with its value and its lock. The caller checks indexes."""

    def __init__(self, values: list[bytes]) -> None:
        self._values = values
        self._locked = set(range(LOCKED_AT_BOOT))

    @classmethod
    def booted(cls, *, module_id: str, measured: Mapping[int, bytes], debug: bool) -> Self:
        """Return the PCRs of an enclave that has just started; SimulatedNsm describes the stand-ins.

        Raises:
            ValueError: a measurement with an index above 15, or not of 48 bytes.
        """
        _check_measured(measured)
        values = [_ZERO] * PCR_COUNT
        instance_id = module_id.partition("-enc")[0]
        stand_ins = {index: measure(f"simulated PCR{index}".encode()) for index in DEBUG_PCRS}
        stand_ins[INSTANCE_PCR] = measure(instance_id.encode())
        for index, value in (stand_ins | dict(measured)).items():
            values[index] = _ZERO if debug and index in DEBUG_PCRS else value
        return cls(values)

    def value(self, index: int) -> bytes:
        """Return one PCR's value."""
        return self._values[index]

    def is_locked(self, index: int) -> bool:
        """Return whether one PCR can no longer be changed."""
        return index in self._locked

    def locked(self) -> dict[int, bytes]:
        """Return the locked PCRs and their values by ascending index, as a document contains them."""
        return {index: self._values[index] for index in sorted(self._locked)}

    def extend(self, index: int, data: bytes) -> bytes:
        """Extend one PCR, and return its new value."""
        self._values[index] = measure(data, before=self._values[index])
        return self._values[index]

    def lock(self, index: int) -> None:
        """Lock one PCR permanently."""
        self._locked.add(index)


def _check_measured(measured: Mapping[int, bytes]) -> None:
    for index, value in measured.items():
        if not 0 <= index < LOCKED_AT_BOOT:
            raise ValueError(f"pcrs: expected indexes from 0 to {LOCKED_AT_BOOT - 1}, got {index}")
        if len(value) != PCR_BYTES:
            raise ValueError(f"pcrs[{index}]: expected {PCR_BYTES} bytes ({DIGEST}), got {len(value)}")

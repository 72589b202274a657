from __future__ import annotations

from nitro_attestation.errors import AttestationError, NitroAttestationError


def test_attestation_error_names_the_field() -> None:
    error = AttestationError("pcrs[3]", "expected 48 bytes, got 3")
    assert isinstance(error, NitroAttestationError)
    assert str(error) == "attestation document: pcrs[3]: expected 48 bytes, got 3"
    assert (error.field, error.reason) == ("pcrs[3]", "expected 48 bytes, got 3")

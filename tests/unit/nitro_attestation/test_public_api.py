"""The library as a relying party uses it: by its public names only."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nitro_attestation import (
    AttestationError,
    MeasurementError,
    NitroAttestationError,
    VerificationStep,
    verify_document,
)
from tests.support.attestation.documents import (
    ADMIN_ARN,
    ROLE_ARN,
    SIGNED_PCRS,
    authority,
    make_document,
    make_fields,
    measurements,
)
from tests.support.project.doc_blocks import ROOT, read_blocks


def samples(page: str) -> list[dict[str, Any]]:
    """Return the functions of each Python sample of a page."""
    found = []
    for block in read_blocks(ROOT / page):
        if block.kind == "python":
            functions: dict[str, Any] = {"__doc__": block.text}
            exec(compile(block.text, str(block), "exec"), functions)  # noqa: S102 - the project's own text
            found.append(functions)
    return found


@pytest.fixture
def sample() -> dict[str, Any]:
    (found,) = samples("docs/how-to/verify-attestation.md")
    return found


def test_sample_of_the_documentation_does_what_it_says(sample: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    measured = json.dumps(measurements(SIGNED_PCRS)).encode()
    policy = sample["policy_for"](measured, ROLE_ARN, ADMIN_ARN)
    assert sample["is_only_for"](make_fields(pcrs=SIGNED_PCRS), policy, ROLE_ARN)
    assert not sample["is_only_for"](make_fields(), policy, ROLE_ARN)
    document = make_document(pcrs=SIGNED_PCRS, nonce=b"mine", public_key=b"a key")
    with pytest.raises(AttestationError, match="root certificate"):
        sample["verified"](document, b"mine", measured)
    trusting = functools.partial(verify_document, root=authority().root_sha256)
    monkeypatch.setitem(sample, "verify_document", trusting)
    assert sample["verified"](document, b"mine", measured).public_key_der == b"a key"
    with pytest.raises(AttestationError, match="nonce"):
        sample["verified"](document, b"another", measured)
    with pytest.raises(AttestationError, match="PCR0"):
        sample["verified"](make_document(pcrs={0: bytes([1]) * 48}, nonce=b"mine"), b"mine", measured)


def test_every_failure_is_of_one_class(sample: dict[str, Any]) -> None:
    assert issubclass(AttestationError, NitroAttestationError)
    with pytest.raises(MeasurementError) as caught:
        sample["policy_for"](b"{}", ROLE_ARN, ADMIN_ARN)
    assert isinstance(caught.value, NitroAttestationError)


def test_sample_for_services_returns_the_key_of_the_enclave_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "measurements.json").write_text(json.dumps(measurements(SIGNED_PCRS)))
    first, second = samples("docs/how-to/verify-from-python.md")
    assert len(first["__doc__"].splitlines()) <= 15
    trusting = functools.partial(verify_document, root=authority().root_sha256)
    for functions in (first, second):
        monkeypatch.setitem(functions, "verify_document", trusting)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    good: dict[str, Any] = {"pcrs": SIGNED_PCRS, "nonce": b"mine", "public_key": der}
    assert first["key_of_enclave"](make_document(**good), b"mine") == key
    for change, step in (
        ({"nonce": b"another"}, VerificationStep.NONCE),
        ({"pcrs": SIGNED_PCRS | {0: b"\x01" * 48}}, VerificationStep.MEASUREMENTS),
        ({"debug": True}, VerificationStep.MODE),
        ({"clock": lambda: datetime.now(UTC) - timedelta(minutes=6)}, VerificationStep.AGE),
    ):
        with pytest.raises(AttestationError) as caught:
            first["key_of_enclave"](make_document(**good | change), b"mine")
        assert caught.value.step is step
    pcrs = {index: SIGNED_PCRS[index] for index in (0, 8)}
    document = make_document(**good, user_data=b"deliver=exec\nmine")
    assert second["verified"](document, b"mine", pcrs).public_key_der == der
    for user_data in (None, b"mine", b"deliver=reply\nmine", b"deliver=exec\nanother"):
        with pytest.raises(AttestationError, match="user_data"):
            second["verified"](make_document(**good, user_data=user_data), b"mine", pcrs)

"""The library as a relying party uses it: by its public names only."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from nitro_attestation import AttestationError, MeasurementError, NitroAttestationError, verify_document
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


@pytest.fixture
def sample() -> dict[str, Any]:
    """The functions of the sample in the documentation."""
    (block,) = (block for block in read_blocks(ROOT / "docs/how-to/verify-attestation.md") if block.kind == "python")
    functions: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), functions)  # noqa: S102 - the project's own text
    return functions


def test_sample_of_the_documentation_does_what_it_says(sample: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    measured = json.dumps(measurements(SIGNED_PCRS)).encode()
    policy = sample["policy_for"](measured, ROLE_ARN, ADMIN_ARN)
    assert sample["is_only_for"](make_fields(pcrs=SIGNED_PCRS), policy, ROLE_ARN)
    assert not sample["is_only_for"](make_fields(), policy, ROLE_ARN)
    document = make_document(pcrs=SIGNED_PCRS, nonce=b"mine", public_key=b"a key")
    with pytest.raises(AttestationError, match="root certificate"):
        sample["verified"](document, b"mine", measured)
    trusting = functools.partial(verify_document, root_sha256=authority().root_sha256)
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

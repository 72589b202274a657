"""Everything that a relying party can expect of the good document, and the error for one that does not match."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from nitro_attestation.document.cose import parse_unverified_document
from nitro_attestation.errors import AttestationError
from nitro_attestation.verification import verify_document
from tests.support.attestation.good_document import GOOD, NONCE, NOW, ROOT

FIELDS = parse_unverified_document(GOOD)
EVERYTHING: dict[str, Any] = {
    "at": NOW + timedelta(seconds=30),
    "max_age": timedelta(minutes=1),
    "nonce": NONCE,
    "user_data": b"some data",
    "public_key": b"a key",
    "pcrs": dict(FIELDS.pcrs),
    "root": ROOT,
}


def refusal(document: bytes = GOOD, **options: Any) -> AttestationError:
    """Return the error for a document; ``changes`` replaces some of the expectations."""
    with pytest.raises(AttestationError) as caught:
        verify_document(document, **{**EVERYTHING, **options})
    return caught.value

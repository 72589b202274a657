from __future__ import annotations

import pytest

from vsock_wire.errors import WireError
from vsock_wire.protocol import vocabulary
from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.refusals.table import REFUSALS
from vsock_wire.protocol.vocabulary import (
    EnclaveCode,
    KmstoolText,
    Operation,
    RequestError,
)


def test_operations_are_those_of_kms_and_four_of_our_own() -> None:
    assert set(Operation) - set(KMS_OPERATIONS) == {"SetClient", "GetAttestationDocument", "Describe", "Diagnose"}


def test_codes_of_kms_and_of_the_enclave_differ() -> None:
    assert set(EnclaveCode).isdisjoint(code for row in REFUSALS for code in row.codes)
    assert len(set(EnclaveCode)) == len(EnclaveCode)


def test_texts_of_kmstool_are_as_kmstool_writes_them() -> None:
    assert {text.value for text in KmstoolText} == {
        "Error reading JSON object",
        "JSON is wrong type",
        "JSON structure incomplete",
        "Operation is wrong type",
        "Operation not recognized",
        "Could not read credentials",
        "Could not set region correctly, check configuration.",
        "Could not create new client",
        "Client not initialized",
        "Message does not contain a Ciphertext",
        "Ciphertext not a base64 string",
        "Could not decrypt ciphertext",
    }


def test_names_of_fields_differ() -> None:
    names = ("TRIES", "EXPLAIN", "EVIDENCE", "CREDENTIALS_HELD", "STATUS_OK", "STATUS_ERROR")
    values = [getattr(vocabulary, name) for name in names]
    assert len({*values, "Operation", "Status", "Id", "Message"}) == len(values) + 4


@pytest.mark.parametrize("code", EnclaveCode)
def test_request_error_keeps_its_code(code: EnclaveCode) -> None:
    error = RequestError("text", code, hint="hint")
    assert (str(error), error.code, error.hint) == ("text", code, "hint")
    assert isinstance(error, WireError)


def test_request_error_without_a_code_is_about_the_request() -> None:
    assert RequestError("text").code is EnclaveCode.INVALID_REQUEST
